"""Single values of Meta's JSON, as they should be: each function takes whatever came, and never trusts it."""

import re
from datetime import UTC, datetime
from typing import Any

_MAX_TEXT = 300
_LATEST = 253402300799  # year 9999
_DEEPEST = 50  # deeper JSON is nobody's message; Python's stack and PostgreSQL's have an end


class Unreadable(Exception):
    """Why one update could not be read."""


def profile_names(contacts: Any) -> dict[str, str]:
    names: dict[str, str] = {}
    for contact in contacts if isinstance(contacts, list) else []:
        profile = contact.get("profile") if isinstance(contact, dict) else None
        name = profile.get("name") if isinstance(profile, dict) else None
        if isinstance(name, str) and name:
            for key in ("wa_id", "user_id"):
                names[id_of(contact.get(key))] = name[:200].replace("\x00", "")
    return names


def user_ids_of(contacts: Any) -> dict[str, str]:
    """The user id of each person whose phone is told too, by the phone as Meta writes it."""
    found: dict[str, str] = {}
    for contact in contacts if isinstance(contacts, list) else []:
        user_id = user_id_of(contact.get("user_id")) if isinstance(contact, dict) else None
        if user_id:
            found[id_of(contact.get("wa_id"))] = user_id
    return found


def phone_of(value: Any) -> str | None:
    """A phone as we write it; None if it is none."""
    digits = value.lstrip("+") if isinstance(value, str) else ""
    return "+" + digits if digits.isascii() and digits.isdigit() and len(digits) <= 20 else None


def user_id_of(value: Any) -> str | None:
    """A business-scoped user id such as US.1349120865530274191; None if it is none."""
    if isinstance(value, str) and 2 < len(value) <= 160 and value.isascii() and value.isprintable() and "." in value:
        return value
    return None


def error_of(errors: Any) -> tuple[int | None, str | None]:
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    data = first.get("error_data")
    detail = data.get("details") if isinstance(data, dict) else data
    shown = next((text for text in (detail, first.get("message"), first.get("title")) if isinstance(text, str)), None)
    code = first.get("code")
    if isinstance(code, str) and code.isdigit():
        code = int(code)
    number = code if isinstance(code, int) and not isinstance(code, bool) and 0 <= code < 2**31 else None
    return number, shown[:_MAX_TEXT].replace("\x00", "") if shown else None


def text_of(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value or len(value) > 512 or "\x00" in value:
        raise Unreadable(f"{what} is missing or unusable")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unreadable(f"{what} is no valid text") from None
    return value


def id_of(value: Any) -> str:
    """An id of Meta's: an integer in some places, a string in others."""
    return str(value)[:64].replace("\x00", "") if isinstance(value, int | str) else ""


def int_of(digits: str) -> int | float:
    """What JSON and jsonb can hold."""
    return int(digits) if len(digits) < 19 else float(digits)


_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def shallow(text: str) -> str:
    """JSON with null in place of what lies too deep, for parsers whose stack would end: it has neighbours."""
    kept, depth, from_here = [], 0, 0
    for found in _STRING_OR_BRACKET.finditer(text):
        match found[0]:
            case "[" | "{":
                if depth == _DEEPEST:
                    kept.append(text[from_here : found.start()])
                depth += 1
            case "]" | "}":
                depth -= 1
                if depth == _DEEPEST:
                    kept.append("null")
                    from_here = found.end()
    return "".join(kept) + (text[from_here:] if depth <= _DEEPEST else "")


def time_or_none(value: Any) -> datetime | None:
    try:
        return time_of(value)
    except Unreadable:
        return None


def time_of(value: Any) -> datetime:
    try:
        seconds = int(value)
    except (TypeError, ValueError, OverflowError):
        raise Unreadable("the time can't be read") from None
    if not 0 <= seconds <= _LATEST:
        raise Unreadable("the time can't be read")
    return datetime.fromtimestamp(seconds, UTC)


def clean(value: Any, depth: int = 0) -> Any:
    """The value without what PostgreSQL's jsonb refuses: NUL characters, halves of characters, no end of nesting."""
    if isinstance(value, str):
        text = value.replace("\x00", "\ufffd")
        return text if text.isascii() else text.encode("utf-8", "replace").decode()
    if depth >= _DEEPEST:
        return "..."
    if isinstance(value, dict):
        return {clean(key): clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item, depth + 1) for item in value]
    return value
