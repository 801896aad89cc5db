"""Use cases around media: take a file in, checked as it comes; describe it; delete it."""

import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from titanflow.domain.media import HEAD_BYTES, BadMedia, MediaType, type_of
from titanflow.errors import Conflict, InvalidInput, NotFound
from titanflow.services.imports import Readable
from titanflow.storage import media
from titanflow.storage.database import Database
from titanflow.supervision import sleep_ms

_PIECE = 64 * 1024
_TURN = 4 * _PIECE


def receive(db: Database, data_dir: Path, stream: Readable, *, declared: str, filename: str | None) -> dict[str, Any]:
    """Keep a file of a type and size that Meta takes. Returns it; `created` says if it wasn't known before.

    It gathers in a file of its own first, so that a slow client holds no transaction open; nothing is left of one that
    can't be used. Raises InvalidInput: 413 for one that is too large, 415 for a wrong type.
    """
    folder = data_dir / "uploads"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{secrets.token_hex(16)}.media"
    try:
        kind, size, sha256 = _save(stream, path, declared)
        values = {
            "sha256": sha256,
            "kind": kind.kind,
            "mime_type": kind.mime_type,
            "size_bytes": size,
            "filename": _clean(filename),
        }
        media_id, created = media.insert(db, values, _pieces(path))
    finally:
        path.unlink(missing_ok=True)
    return {**get(db, media_id), "created": created}


def get(db: Database, media_id: int) -> dict[str, Any]:
    """Return a file's description. Raises NotFound."""
    found = media.get(db, media_id)
    if found is None:
        raise NotFound(f"There is no media {media_id}", code="media_not_found")
    return found


def delete(db: Database, media_id: int) -> None:
    """Delete a file. Raises Conflict while a campaign may still send it."""
    get(db, media_id)
    if not media.delete(db, media_id):
        raise Conflict(f"A campaign uses media {media_id}", code="in_use", fix="Take it out of the campaign first.")


def _save(stream: Readable, path: Path, declared: str) -> tuple[MediaType, int, str]:
    head = b""
    while len(head) < HEAD_BYTES and (piece := stream.read(_PIECE)):
        head += piece
    try:
        kind = type_of(head[:HEAD_BYTES], declared)
    except BadMedia as bad:
        raise InvalidInput("The file can't be used", why=str(bad), code="unsupported_media", status=415) from None
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        path.chmod(0o600)
        piece = head
        while piece:
            size += len(piece)
            if size > kind.limit:
                megabytes = kind.limit // 1024**2
                raise InvalidInput(
                    f"The {kind.kind} is too large", why=f"Meta takes {megabytes} MB", code="too_large", status=413
                )
            digest.update(piece)
            file.write(piece)
            if size % _TURN < _PIECE:
                sleep_ms(1)  # a client on this network never makes us wait: let the senders have their turn
            piece = stream.read(_PIECE)
    return kind, size, digest.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(media.PIECE_BYTES):
            yield piece


def _clean(filename: str | None) -> str | None:
    if filename is None:
        return None
    name = "".join(char for char in filename.replace("\\", "/").rpartition("/")[2] if char.isprintable()).strip()
    return name[:200] or None
