"""Server-sent events on the wire (WHATWG HTML, 9.2), and the ids by which a listener takes up where it was cut off."""

import re
from datetime import UTC, datetime

_ID = re.compile(r"(\d{13})(-\w{1,20})?")


def frame(event: str, data: bytes, event_id: str | None = None) -> bytes:
    """Return one event. data: JSON, which has no line breaks."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {event}\ndata: ".encode() + data + b"\n\n"


def id_at(at_ms: int, n: int | str) -> str:
    """Return the id of an event: when it was told, so that any process can tell what came after it."""
    return f"{at_ms:013d}-{n}"


def told_at(last_event_id: str | None) -> datetime | None:
    """Return when the event with this id was told; None without one, or if it is none of ours."""
    found = _ID.fullmatch(last_event_id or "")
    return datetime.fromtimestamp(int(found[1]) / 1000, UTC) if found else None
