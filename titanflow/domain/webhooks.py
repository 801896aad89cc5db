"""Reads what Meta's webhooks say, each update on its own: an odd one is kept aside and never costs its neighbours.

Source: Meta's "Webhooks overview" and "Status messages webhook reference". Pure; never raises.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast

import orjson

from titanflow.domain import echo, pricing
from titanflow.domain.webhook_values import (
    Unreadable,
    clean,
    error_of,
    id_of,
    int_of,
    phone_of,
    profile_names,
    shallow,
    text_of,
    time_of,
    time_or_none,
    user_id_of,
    user_ids_of,
)

Status = Literal["sent", "delivered", "read", "failed"]

_STATUSES = ("sent", "delivered", "read", "failed")
_WITHOUT_CONSEQUENCE = ("played", "deleted", "warning")
NOT_JSON = "not JSON"


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """One status of one message. log_id and attempt: from our echo, both or neither.

    reply_id: in place of log_id, if it is a reply of the inbox. pricing: what Meta charges (domain/pricing).
    """

    wamid: str
    status: Status
    at: datetime
    log_id: int | None
    attempt: int | None
    error_code: int | None
    error_detail: str | None
    reply_id: int | None = None
    pricing: str | None = None


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """What a person wrote. sender: E.164 with the plus, or a business-scoped user id if the phone is hidden.

    user_id: the person's business-scoped user id, where Meta told it.
    """

    phone_number_id: str
    wamid: str
    sender: str
    profile_name: str | None
    type: str
    content: dict[str, Any]
    at: datetime
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Preference:
    """A person's own switch for marketing messages. phone: or a business-scoped user id if the phone is hidden."""

    phone: str
    value: Literal["stop", "resume"]
    at: datetime
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class TemplateEvent:
    """News about a template's status. Events come in any order: only a stop may be believed as it comes."""

    waba_id: str
    meta_template_id: str
    name: str
    language: str
    event: str
    reason: str
    value: dict[str, Any] = field(default_factory=dict, compare=False)  # all that was told, for people


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """News about an account or a number, kept for people. at: Meta's time, None if the entry had none."""

    waba_id: str
    field: str
    value: dict[str, Any]
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An update that could not be read, and why. body: a webhook with this update alone, for `again`."""

    field: str | None
    reason: str
    body: Any


@dataclass(frozen=True, slots=True)
class WebhookBatch:
    """Updates of one or many webhooks."""

    statuses: tuple[StatusUpdate, ...] = ()
    messages: tuple[InboundMessage, ...] = ()
    preferences: tuple[Preference, ...] = ()
    template_events: tuple[TemplateEvent, ...] = ()
    account_events: tuple[AccountEvent, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()

    def __len__(self) -> int:
        return (
            len(self.statuses)
            + len(self.messages)
            + len(self.preferences)
            + len(self.template_events)
            + len(self.account_events)
            + len(self.quarantined)
        )

    def singles(self) -> Iterator["WebhookBatch"]:
        """Yield each update as a batch of its own."""
        yield from (WebhookBatch(statuses=(one,)) for one in self.statuses)
        yield from (WebhookBatch(messages=(one,)) for one in self.messages)
        yield from (WebhookBatch(preferences=(one,)) for one in self.preferences)
        yield from (WebhookBatch(template_events=(one,)) for one in self.template_events)
        yield from (WebhookBatch(account_events=(one,)) for one in self.account_events)
        yield from (WebhookBatch(quarantined=(one,)) for one in self.quarantined)


def merged(batches: list[WebhookBatch]) -> WebhookBatch:
    """Return one batch with all updates of many."""
    return WebhookBatch(
        tuple(one for batch in batches for one in batch.statuses),
        tuple(one for batch in batches for one in batch.messages),
        tuple(one for batch in batches for one in batch.preferences),
        tuple(one for batch in batches for one in batch.template_events),
        tuple(one for batch in batches for one in batch.account_events),
        tuple(one for batch in batches for one in batch.quarantined),
    )


class _Reader:
    def __init__(self) -> None:
        self.statuses: list[StatusUpdate] = []
        self.messages: list[InboundMessage] = []
        self.preferences: list[Preference] = []
        self.template_events: list[TemplateEvent] = []
        self.account_events: list[AccountEvent] = []
        self.quarantined: list[Quarantined] = []
        self._entry: dict[str, Any] = {}  # whose changes are being read

    def batch(self) -> WebhookBatch:
        return WebhookBatch(
            tuple(self.statuses),
            tuple(self.messages),
            tuple(self.preferences),
            tuple(self.template_events),
            tuple(self.account_events),
            tuple(self.quarantined),
        )

    def body(self, body: Any) -> None:
        entries = body.get("entry") if isinstance(body, dict) else None
        if not isinstance(entries, list):
            self.quarantined.append(Quarantined(None, "no list of entries", clean(body)))
            return
        for entry in entries:
            changes = entry.get("changes") if isinstance(entry, dict) else None
            if not isinstance(changes, list):
                alone = {"entry": [clean(entry)]}
                self.quarantined.append(Quarantined(None, "an entry without a list of changes", alone))
                continue
            self._entry = {"id": id_of(entry.get("id")), "time": clean(entry.get("time"))}
            for change in changes:
                self.change(self._entry["id"], change, time_or_none(entry.get("time")))

    def aside(self, field: str | None, reason: str, change: Any) -> None:
        """Keep one change of the entry."""
        body = {"entry": [{**self._entry, "changes": [clean(change)]}]}
        self.quarantined.append(Quarantined(field, reason, body))

    def body_of_text(self, text: str) -> None:
        """What orjson refuses as a whole: half an emoji in one person's name must not cost a thousand others."""
        try:
            try:
                parsed = json.loads(text, parse_int=int_of)
            except RecursionError:
                parsed = json.loads(shallow(text), parse_int=int_of)
        except ValueError:
            kept = text[:20_000].replace("\x00", "\ufffd")
            self.quarantined.append(Quarantined(None, NOT_JSON, {"text": kept}))
            return
        self.body(clean(parsed))

    def change(self, waba_id: str, change: Any, at: datetime | None) -> None:
        value = change.get("value") if isinstance(change, dict) else None
        if not isinstance(value, dict):
            self.aside(None, "a change without a value", change)
            return
        name = id_of(change.get("field"))
        try:
            match name:
                case "messages":
                    self.messages_field(waba_id, value, at)
                case "user_preferences":
                    user_ids = user_ids_of(value.get("contacts"))
                    self.each(name, value, "user_preferences", lambda one: self.preference(user_ids, one))
                case "message_template_status_update":
                    self.template_events.append(_template_event(waba_id, value))
                case _ if name in _ACCOUNT_FIELDS:
                    self.account_events.append(AccountEvent(waba_id, name, clean(value), at))
                case _:
                    raise Unreadable("an unknown field")
        except Unreadable as why:
            self.aside(name, str(why), change)

    def messages_field(self, waba_id: str, value: dict[str, Any], at: datetime | None) -> None:
        self.each("messages", value, "statuses", self.status)
        if value.get("messages"):
            metadata, contacts = value.get("metadata"), value.get("contacts")
            number = id_of(metadata.get("phone_number_id")) if isinstance(metadata, dict) else ""
            names, user_ids = profile_names(contacts), user_ids_of(contacts)
            self.each("messages", value, "messages", lambda one: self.message(number, names, user_ids, one))
        errors = value.get("errors")
        if isinstance(errors, list) and errors:
            told = {"errors": clean(errors), "metadata": clean(value.get("metadata"))}
            self.account_events.append(AccountEvent(waba_id, "errors", told, at))

    def each(self, field: str, value: dict[str, Any], key: str, read: Any) -> None:
        """Read each of a change's updates; keep aside the ones that can't be."""
        items = value.get(key)
        if items is not None and not isinstance(items, list):
            self.aside(field, "updates that are no list", {"field": field, "value": {key: items}})
            return
        for item in items or ():
            try:
                if not isinstance(item, dict):
                    raise Unreadable("an update that is no object")
                read(item)
            except Unreadable as why:
                alone = {"metadata": value.get("metadata"), key: [item]}
                if key != "statuses" and isinstance(contacts := value.get("contacts"), list):
                    alone["contacts"] = contacts[:20]
                self.aside(field, str(why), {"field": field, "value": alone})

    def status(self, one: dict[str, Any]) -> None:
        status = one.get("status")
        if status in _WITHOUT_CONSEQUENCE:
            return
        if status not in _STATUSES:
            raise Unreadable("an unknown status")
        wamid = text_of(one.get("id"), "the message id")
        echoed = one.get("biz_opaque_callback_data")
        code, detail = error_of(one.get("errors")) if status == "failed" else (None, None)
        log_id, attempt = echo.decode(echoed) or (None, None)
        reply_id = None
        if log_id is None:
            reply_id, attempt = echo.decode_reply(echoed) or (None, None)
        at = time_of(one.get("timestamp"))
        price = pricing.word(one.get("pricing"))
        self.statuses.append(
            StatusUpdate(wamid, cast("Status", status), at, log_id, attempt, code, detail, reply_id, price)
        )

    def message(self, number: str, names: dict[str, str], user_ids: dict[str, str], one: dict[str, Any]) -> None:
        wamid = text_of(one.get("id"), "the message id")
        phone = one.get("from")
        user_id = user_id_of(one.get("from_user_id")) or user_ids.get(id_of(phone))
        sender = phone_of(phone) or text_of(user_id, "the sender")
        self.messages.append(
            InboundMessage(
                number,
                wamid,
                sender,
                names.get(id_of(phone)) or names.get(id_of(user_id)),
                id_of(one.get("type"))[:32] or "unsupported",
                clean(one),
                time_of(one.get("timestamp")),
                user_id,
            )
        )

    def preference(self, user_ids: dict[str, str], one: dict[str, Any]) -> None:
        value = one.get("value")
        if value not in ("stop", "resume"):
            raise Unreadable("an unknown preference")
        user_id = user_id_of(one.get("user_id")) or user_ids.get(id_of(one.get("wa_id")))
        person = phone_of(one.get("wa_id")) or text_of(user_id, "the person")
        wish = cast("Literal['stop', 'resume']", value)
        self.preferences.append(Preference(person, wish, time_of(one.get("timestamp")), user_id))


_ACCOUNT_FIELDS = {
    "message_template_quality_update",
    "template_category_update",
    "phone_number_quality_update",
    "phone_number_name_update",
    "business_capability_update",
    "account_update",
    "account_alerts",
    "account_review_update",
    "message_template_components_update",
    "security",
}


def parse(body: bytes) -> WebhookBatch:
    """Return all updates of one webhook's body. What can't be read is in `quarantined`."""
    reader = _Reader()
    try:
        reader.body(orjson.loads(body))
    except orjson.JSONDecodeError:
        reader.body_of_text(body.decode("utf-8", "replace"))
    return reader.batch()


def homeless(message: InboundMessage) -> Quarantined:
    """A message to a number that isn't registered here, as it is kept aside until it is."""
    told = {"profile": {"name": message.profile_name}, "wa_id": message.content.get("from"), "user_id": message.user_id}
    metadata = {"phone_number_id": message.phone_number_id}
    value = {"metadata": metadata, "contacts": [told], "messages": [message.content]}
    body = {"entry": [{"id": "", "changes": [{"field": "messages", "value": value}]}]}
    return Quarantined("messages", "a message to a number that is not registered here", body)


def again(body: Any) -> WebhookBatch:
    """Read what was kept aside once more, as a later version may: the `body` of a Quarantined."""
    if isinstance(body, dict) and set(body) == {"text"} and isinstance(body["text"], str):
        return parse(body["text"].encode("utf-8", "replace"))
    reader = _Reader()
    reader.body(body)
    return reader.batch()


def _template_event(waba_id: str, value: dict[str, Any]) -> TemplateEvent:
    meta_id = id_of(value.get("message_template_id"))
    name, language = value.get("message_template_name"), value.get("message_template_language")
    return TemplateEvent(
        waba_id,
        meta_id,
        text_of(name, "the template's name") if name or not meta_id else "",
        text_of(language, "the template's language") if language or not meta_id else "",
        text_of(value.get("event"), "the event").upper(),
        id_of(value.get("reason")),
        clean(value),
    )
