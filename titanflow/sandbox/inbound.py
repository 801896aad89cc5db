"""What people do: write, press a button, say STOP, by the control API or by themselves after they have read."""

import base64
import binascii
import time
from dataclasses import dataclass
from typing import Any

from titanflow.sandbox.lives import Life
from titanflow.sandbox.state import Meta, Number
from titanflow.sandbox.users import name_of, user_id, wa_id
from titanflow.sandbox.webhooks import Update

_STOP_WORDS = {"stop", "unsubscribe", "sair", "parar", "baja", "cancelar", "stopp"}
_CONTENTS = ("text", "button", "interactive", "image", "video", "document", "audio", "sticker", "reaction", "location")


class BadInbound(ValueError):
    """What an inbound message lacks; the text is for people."""


@dataclass(slots=True)
class Habits:
    """What people do who get a message. stop, reply: shares of them that say STOP, or that reply."""

    reply: float = 0.0
    stop: float = 0.0
    after_s: float = 1.0
    text: str = "Thanks! 🌻"
    stop_text: str = "STOP"


class People:
    """Makes inbound messages; opens service windows; remembers who said STOP."""

    def __init__(self, meta: Meta) -> None:
        self._meta = meta
        self.habits = Habits()
        self.inbound = self.stops = 0

    def use(self, habits: Habits) -> None:
        """Change what people do from now on."""
        self.habits = habits
        active = habits.reply or habits.stop
        self._meta.webhooks.when_read = self._after_reading if active else None

    def says(self, number: Number, person: str, body: dict[str, Any], *, context: str | None = None) -> Update:
        """Return the webhook of what a person sends to a number; it counts as sent now. Raises BadInbound.

        body: text (a string), button {text, payload}, reply {id, title}, file {mime_type, base64, filename?, caption?},
        which can be fetched as Meta lets it be, or type and its content, as Meta has it; name;
        hidden (a user name instead of the phone number); user_id (with business-scoped id); preference (stop, resume).
        """
        meta = self._meta
        number.inbound.add(time.monotonic())
        number.windows[person] = meta.clock.now()
        self.inbound += 1
        portfolio_id = meta.account(number.waba_id).portfolio.id
        bsuid = user_id(person, portfolio_id)
        meta.known_user_ids[bsuid] = person
        hidden = bool(body.get("hidden"))
        contact: dict[str, Any] = {"profile": {"name": str(body.get("name") or name_of(person))}}
        message: dict[str, Any] = {"id": meta.inbound_wamid(), "timestamp": str(int(meta.clock.wall()))}
        if hidden:
            contact["profile"]["username"] = f"user{person[-4:]}"
        else:
            contact["wa_id"] = message["from"] = person
        if hidden or body.get("user_id") or meta.webhooks.looks.user_ids:
            contact["user_id"] = message["from_user_id"] = bsuid
        if context:
            message["context"] = {"from": number.display, "id": context}
        stops = _fill(message, self._with_file(number, body))
        acknowledged = None
        if stops:
            acknowledged = self._stopped(person)
        elif message.get("text"):
            meta.stopped.pop(person, None)
        value = {
            "messaging_product": "whatsapp",
            "metadata": number.metadata,
            "contacts": [contact],
            "messages": [message],
        }
        return Update(number.waba_id, "messages", value, acknowledged)

    def _with_file(self, number: Number, body: dict[str, Any]) -> dict[str, Any]:
        """Put a file where Meta would keep it for seven days, and make a message's content of it."""
        file = body.get("file")
        if not isinstance(file, dict):
            return body
        try:
            content = base64.b64decode(str(file.get("base64", "")), validate=True)
        except binascii.Error:
            raise BadInbound("file.base64 is no base64") from None
        meta = self._meta
        declared = str(file.get("mime_type", ""))
        upload = meta.media.receive(number.id, declared, content, meta.clock.now())
        digest = base64.b64encode(bytes.fromhex(upload.sha256)).decode()
        shown = {"id": upload.id, "mime_type": declared, "sha256": digest}
        extra = {name: file[name] for name in ("filename", "caption") if name in file}
        return {**body, "type": upload.kind, upload.kind: {**shown, **extra}}

    def prefers(self, number: Number, person: str, value: str) -> Update:
        """Return the webhook of a user's marketing preference: stop or resume."""
        if value not in ("stop", "resume"):
            raise BadInbound("preference is stop or resume")
        acknowledged = self._stopped(person) if value == "stop" else None
        if value == "resume":
            self._meta.stopped.pop(person, None)
        detail = f"User requested to {value} marketing messages"
        preference = {"wa_id": person, "detail": detail, "category": "marketing_messages", "value": value}
        content = {
            "messaging_product": "whatsapp",
            "metadata": number.metadata,
            "contacts": [{"profile": {"name": name_of(person)}, "wa_id": person}],
            "user_preferences": [{**preference, "timestamp": int(self._meta.clock.wall())}],
        }
        return Update(number.waba_id, "user_preferences", content, acknowledged)

    def seen_in(self, value: Any) -> None:
        """Open the service windows of an injected value's messages."""
        if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
            return
        metadata = value.get("metadata")
        number = self._meta.numbers.get(str(metadata.get("phone_number_id"))) if isinstance(metadata, dict) else None
        for message in value["messages"]:
            if number is not None and isinstance(message, dict) and message.get("from"):
                number.windows[wa_id("+" + str(message["from"]).lstrip("+"))] = self._meta.clock.now()

    def _stopped(self, person: str) -> Any:
        """Remember a STOP; from its 200 on, a marketing message to this person is the sender's fault."""
        self.stops += 1
        stopped = self._meta.stopped
        stopped.setdefault(person, False)

        def acknowledged() -> None:
            if person in stopped:
                stopped[person] = True

        return acknowledged

    def _after_reading(self, life: Life, last_s: float) -> None:
        """Let the person of a message answer it, if it is one who does."""
        habits, user = self.habits, life.user
        if user.failure is not None or user.offline or user.habit >= habits.stop + habits.reply:
            return
        text = habits.stop_text if user.habit < habits.stop else habits.text
        number = self._meta.numbers[life.number]

        def made() -> Update:
            return self.says(number, user.wa_id, {"text": text}, context=life.wamid)

        self._meta.webhooks.schedule(last_s + habits.after_s / self._meta.webhooks.speed, made)


def inbound_of(people: People, meta: Meta, body: Any) -> Update:
    """Return the update of a control request: {number, from, ...}. Raises BadInbound, Refusal for an unknown number."""
    if not isinstance(body, dict) or not body.get("from") or not body.get("number"):
        raise BadInbound("number and from are needed")
    number, person = meta.number(str(body["number"])), wa_id("+" + str(body["from"]).lstrip("+"))
    if "preference" in body:
        return people.prefers(number, person, str(body["preference"]))
    context = body.get("context")
    return people.says(number, person, body, context=None if context is None else str(context))


def _fill(message: dict[str, Any], body: dict[str, Any]) -> bool:
    """Put the content into a message. Returns True if it says STOP."""
    kind = body.get("type")
    if kind is not None:
        message["type"] = str(kind)
        message[str(kind)] = body.get(str(kind), {})
        if "errors" in body:
            message["errors"] = body["errors"]
        return False
    if "button" in body:
        button = body["button"] if isinstance(body["button"], dict) else {"text": str(body["button"])}
        message["type"] = "button"
        message["button"] = {"payload": str(button.get("payload", button.get("text"))), "text": str(button.get("text"))}
        return str(message["button"]["payload"]).lower().startswith("stop")
    if "reply" in body:
        message["type"] = "interactive"
        message["interactive"] = {"type": "button_reply", "button_reply": body["reply"]}
        return False
    if "text" not in body:
        raise BadInbound(f"text, button, reply, file, or type with one of {', '.join(_CONTENTS)} is needed")
    message["type"], message["text"] = "text", {"body": str(body["text"])}
    return str(body["text"]).strip().strip(".!").lower() in _STOP_WORDS
