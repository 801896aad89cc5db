"""Files that people send, handed out so that a browser runs none of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from titanflow.errors import Conflict, NotFound
from titanflow.storage import inbound_media
from titanflow.storage.database import Database

# What a browser only shows or plays. Whatever else people send, whatever it claims to be, is a file to be saved.
_SHOWN = frozenset(
    (
        "image/jpeg", "image/png", "image/webp", "image/gif",
        "audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg",
        "video/mp4", "video/3gpp",
    )
)  # fmt: skip
_EXTENSIONS = {"image/jpeg": "jpg", "audio/mpeg": "mp3", "audio/mp4": "m4a", "video/3gpp": "3gp"}

_WHY = {
    "pending": "it is being fetched from Meta",
    "expired": "it was kept as long as files are kept",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file to be handed out."""

    content_type: str
    filename: str
    is_shown: bool
    size_bytes: int
    pieces: Iterator[bytes]


def get(db: Database, message_id: int) -> File:
    """Return the file of a message. Raises NotFound, Conflict `media_not_ready` with its `state`."""
    found = inbound_media.get(db, message_id)
    if found is None:
        raise NotFound(f"Message {message_id} has no file", code="media_not_found")
    if found["state"] != "stored":
        why = _WHY.get(found["state"]) or found["error"] or "Meta didn't give it"
        raise Conflict("The file isn't here", why=why, code="media_not_ready", state=found["state"])
    declared = found["mime_type"].partition(";")[0].strip().lower()
    is_shown = declared in _SHOWN
    extension = _EXTENSIONS.get(declared, declared.partition("/")[2]) if is_shown else "bin"
    return File(
        declared if is_shown else "application/octet-stream",
        _clean(found["filename"]) or f"message-{message_id}.{extension}",
        is_shown,
        found["size_bytes"],
        inbound_media.pieces(db, message_id),
    )


def _clean(filename: str | None) -> str:
    name = (filename or "").replace("\\", "/").rpartition("/")[2]
    return "".join(char for char in name if char.isprintable()).strip(". ")[:200]
