"""Reads what Meta's webhooks say, each update on its own: an odd one is kept aside and never costs its neighbours.

Source: Meta's "Webhooks overview" and "Status messages webhook reference". Pure; never raises.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast

import orjson

from titanflow.domain import echo, pricing

Status = Literal["sent", "delivered", "read", "failed"]

_STATUSES = ("sent", "delivered", "read", "failed")
_WITHOUT_CONSEQUENCE = ("played", "deleted", "warning")
_MAX_TEXT = 300
_LATEST = 253402300799  # year 9999
_DEEPEST = 50  # deeper JSON is nobody's message; Python's stack and PostgreSQL's have an end
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
    """An update that could not be read, and why."""

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


class _Unreadable(Exception):
    """Why one update could not be read."""


class _Reader:
    def __init__(self) -> None:
        self.statuses: list[StatusUpdate] = []
        self.messages: list[InboundMessage] = []
        self.preferences: list[Preference] = []
        self.template_events: list[TemplateEvent] = []
        self.account_events: list[AccountEvent] = []
        self.quarantined: list[Quarantined] = []

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
            self.quarantined.append(Quarantined(None, "no list of entries", _clean(body)))
            return
        for entry in entries:
            changes = entry.get("changes") if isinstance(entry, dict) else None
            if not isinstance(changes, list):
                self.quarantined.append(Quarantined(None, "an entry without a list of changes", _clean(entry)))
                continue
            for change in changes:
                self.change(_id(entry.get("id")), change, _time_or_none(entry.get("time")))

    def body_of_text(self, text: str) -> None:
        """What orjson refuses as a whole: half an emoji in one person's name must not cost a thousand others."""
        try:
            parsed = json.loads(text, parse_int=_int)
        except (ValueError, RecursionError):
            kept = text[:20_000].replace("\x00", "\ufffd")
            self.quarantined.append(Quarantined(None, NOT_JSON, {"text": kept}))
            return
        self.body(_clean(parsed))

    def change(self, waba_id: str, change: Any, at: datetime | None) -> None:
        value = change.get("value") if isinstance(change, dict) else None
        if not isinstance(value, dict):
            self.quarantined.append(Quarantined(None, "a change without a value", _clean(change)))
            return
        name = _id(change.get("field"))
        try:
            match name:
                case "messages":
                    self.messages_field(waba_id, value, at)
                case "user_preferences":
                    user_ids = _user_ids(value.get("contacts"))
                    self.each(name, value.get("user_preferences"), lambda one: self.preference(user_ids, one))
                case "message_template_status_update":
                    self.template_events.append(_template_event(waba_id, value))
                case _ if name in _ACCOUNT_FIELDS:
                    self.account_events.append(AccountEvent(waba_id, name, _clean(value), at))
                case _:
                    raise _Unreadable("an unknown field")
        except _Unreadable as why:
            self.quarantined.append(Quarantined(name, str(why), _clean(value)))

    def messages_field(self, waba_id: str, value: dict[str, Any], at: datetime | None) -> None:
        self.each("messages", value.get("statuses"), self.status)
        if value.get("messages"):
            metadata, contacts = value.get("metadata"), value.get("contacts")
            number = _id(metadata.get("phone_number_id")) if isinstance(metadata, dict) else ""
            names, user_ids = _profile_names(contacts), _user_ids(contacts)
            self.each("messages", value["messages"], lambda one: self.message(number, names, user_ids, one))
        errors = value.get("errors")
        if isinstance(errors, list) and errors:
            told = {"errors": _clean(errors), "metadata": _clean(value.get("metadata"))}
            self.account_events.append(AccountEvent(waba_id, "errors", told, at))

    def each(self, name: str, items: Any, read: Any) -> None:
        if items is not None and not isinstance(items, list):
            self.quarantined.append(Quarantined(name, "updates that are no list", _clean(items)))
            return
        for item in items or ():
            try:
                if not isinstance(item, dict):
                    raise _Unreadable("an update that is no object")
                read(item)
            except _Unreadable as why:
                self.quarantined.append(Quarantined(name, str(why), _clean(item)))

    def status(self, one: dict[str, Any]) -> None:
        status = one.get("status")
        if status in _WITHOUT_CONSEQUENCE:
            return
        if status not in _STATUSES:
            raise _Unreadable("an unknown status")
        wamid = _text(one.get("id"), "the message id")
        echoed = one.get("biz_opaque_callback_data")
        code, detail = _error(one.get("errors")) if status == "failed" else (None, None)
        log_id, attempt = echo.decode(echoed) or (None, None)
        reply_id = None
        if log_id is None:
            reply_id, attempt = echo.decode_reply(echoed) or (None, None)
        at = _time(one.get("timestamp"))
        price = pricing.word(one.get("pricing"))
        self.statuses.append(
            StatusUpdate(wamid, cast("Status", status), at, log_id, attempt, code, detail, reply_id, price)
        )

    def message(self, number: str, names: dict[str, str], user_ids: dict[str, str], one: dict[str, Any]) -> None:
        wamid = _text(one.get("id"), "the message id")
        phone = one.get("from")
        user_id = _user_id(one.get("from_user_id")) or user_ids.get(_id(phone))
        sender = _phone(phone) or _text(user_id, "the sender")
        self.messages.append(
            InboundMessage(
                number,
                wamid,
                sender,
                names.get(_id(phone)) or names.get(_id(user_id)),
                _id(one.get("type"))[:32] or "unsupported",
                _clean(one),
                _time(one.get("timestamp")),
                user_id,
            )
        )

    def preference(self, user_ids: dict[str, str], one: dict[str, Any]) -> None:
        value = one.get("value")
        if value not in ("stop", "resume"):
            raise _Unreadable("an unknown preference")
        user_id = _user_id(one.get("user_id")) or user_ids.get(_id(one.get("wa_id")))
        person = _phone(one.get("wa_id")) or _text(user_id, "the person")
        wish = cast("Literal['stop', 'resume']", value)
        self.preferences.append(Preference(person, wish, _time(one.get("timestamp")), user_id))


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


def _template_event(waba_id: str, value: dict[str, Any]) -> TemplateEvent:
    meta_id = _id(value.get("message_template_id"))
    name, language = value.get("message_template_name"), value.get("message_template_language")
    return TemplateEvent(
        waba_id,
        meta_id,
        _text(name, "the template's name") if name or not meta_id else "",
        _text(language, "the template's language") if language or not meta_id else "",
        _text(value.get("event"), "the event").upper(),
        _id(value.get("reason")),
        _clean(value),
    )


def _profile_names(contacts: Any) -> dict[str, str]:
    names: dict[str, str] = {}
    for contact in contacts if isinstance(contacts, list) else []:
        profile = contact.get("profile") if isinstance(contact, dict) else None
        name = profile.get("name") if isinstance(profile, dict) else None
        if isinstance(name, str) and name:
            for key in ("wa_id", "user_id"):
                names[_id(contact.get(key))] = name[:200].replace("\x00", "")
    return names


def _user_ids(contacts: Any) -> dict[str, str]:
    """The user id of each person whose phone is told too, by the phone as Meta writes it."""
    found: dict[str, str] = {}
    for contact in contacts if isinstance(contacts, list) else []:
        user_id = _user_id(contact.get("user_id")) if isinstance(contact, dict) else None
        if user_id:
            found[_id(contact.get("wa_id"))] = user_id
    return found


def _phone(value: Any) -> str | None:
    """A phone as we write it; None if it is none."""
    digits = value.lstrip("+") if isinstance(value, str) else ""
    return "+" + digits if digits.isascii() and digits.isdigit() and len(digits) <= 20 else None


def _user_id(value: Any) -> str | None:
    """A business-scoped user id such as US.1349120865530274191; None if it is none."""
    if isinstance(value, str) and 2 < len(value) <= 160 and value.isascii() and value.isprintable() and "." in value:
        return value
    return None


def _error(errors: Any) -> tuple[int | None, str | None]:
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    data = first.get("error_data")
    detail = data.get("details") if isinstance(data, dict) else data
    shown = next((text for text in (detail, first.get("message"), first.get("title")) if isinstance(text, str)), None)
    code = first.get("code")
    if isinstance(code, str) and code.isdigit():
        code = int(code)
    number = code if isinstance(code, int) and not isinstance(code, bool) and 0 <= code < 2**31 else None
    return number, shown[:_MAX_TEXT].replace("\x00", "") if shown else None


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value or len(value) > 512 or "\x00" in value:
        raise _Unreadable(f"{what} is missing or unusable")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Unreadable(f"{what} is no valid text") from None
    return value


def _id(value: Any) -> str:
    """An id of Meta's: an integer in some places, a string in others."""
    return str(value)[:64].replace("\x00", "") if isinstance(value, int | str) else ""


def _int(digits: str) -> int | float:
    """What JSON and jsonb can hold."""
    return int(digits) if len(digits) < 19 else float(digits)


def _time_or_none(value: Any) -> datetime | None:
    try:
        return _time(value)
    except _Unreadable:
        return None


def _time(value: Any) -> datetime:
    try:
        seconds = int(value)
    except (TypeError, ValueError, OverflowError):
        raise _Unreadable("the time can't be read") from None
    if not 0 <= seconds <= _LATEST:
        raise _Unreadable("the time can't be read")
    return datetime.fromtimestamp(seconds, UTC)


def _clean(value: Any, depth: int = 0) -> Any:
    """The value without what PostgreSQL's jsonb refuses: NUL characters, halves of characters, no end of nesting."""
    if isinstance(value, str):
        text = value.replace("\x00", "\ufffd")
        return text if text.isascii() else text.encode("utf-8", "replace").decode()
    if depth >= _DEEPEST:
        return "..."
    if isinstance(value, dict):
        return {_clean(key): _clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    return value
