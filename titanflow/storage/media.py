"""Media files, in pieces, in PostgreSQL: every node can upload them, and no folder must be shared."""

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any, LiteralString

from titanflow.errors import Unavailable
from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all, fetch_one

PIECE_BYTES = 1024 * 1024


def insert(db: Database, values: dict[str, Any], pieces: Iterable[bytes]) -> tuple[int, bool]:
    """Keep a file, all or nothing. Returns its id, and if it is new: the same bytes are kept once."""
    with db.transaction() as transaction:
        made = transaction.execute(
            "INSERT INTO media (sha256, kind, mime_type, size_bytes, filename)"
            " VALUES (%(sha256)s, %(kind)s, %(mime_type)s, %(size_bytes)s, %(filename)s)"
            " ON CONFLICT (sha256) DO NOTHING RETURNING id",
            values,
        ).fetchone()
        if made is None:
            known = transaction.execute("SELECT id FROM media WHERE sha256 = %(sha256)s", values).fetchone()
            if known is None:  # deleted in this very moment
                raise Unavailable("The file is being deleted", fix="Upload it again.")
            return int(known[0]), False
        for position, piece in enumerate(pieces):
            transaction.execute(
                "INSERT INTO media_pieces (media_id, position, bytes) VALUES (%s, %s, %b)", [made[0], position, piece]
            )
    return int(made[0]), True


def pieces(db: Database, media_id: int) -> Iterator[bytes]:
    """Yield a file's bytes, one piece in memory at a time."""
    return in_pieces(db, "SELECT bytes FROM media_pieces WHERE media_id = %(id)s AND position = %(position)s", media_id)


def in_pieces(db: Database, statement: LiteralString, file_id: int) -> Iterator[bytes]:
    """Yield what a statement finds for %(id)s at each %(position)s from 0 on, one piece in memory at a time."""
    for position in count():
        row = fetch_one(db, statement, {"id": file_id, "position": position})
        if row is None:
            return
        yield bytes(row["bytes"])


def get(db: Database, media_id: int) -> dict[str, Any] | None:
    """Return a file's description, with where it was uploaded."""
    found = fetch_one(
        db,
        "SELECT id, kind, mime_type, size_bytes, sha256, filename, created_at FROM media WHERE id = %(id)s",
        {"id": media_id},
    )
    if found is not None:
        found["uploads"] = fetch_all(
            db,
            "SELECT number.phone_number_id, upload.meta_media_id, upload.uploaded_at, upload.expires_at, upload.error,"
            " upload.retry_at FROM media_uploads AS upload JOIN phone_numbers AS number ON number.id = upload.number_id"
            " WHERE upload.media_id = %(id)s ORDER BY number.id",
            {"id": media_id},
        )
    return found


def page(db: Database, *, after: int, limit: int) -> list[dict[str, Any]]:
    """Return files by id, each with the count of all as `total`."""
    return fetch_all(
        db,
        "SELECT id, kind, mime_type, size_bytes, sha256, filename, created_at,"
        " (SELECT count(*) FROM media) AS total FROM media WHERE id > %(after)s ORDER BY id LIMIT %(limit)s",
        {"after": after, "limit": limit},
    )


def delete(db: Database, media_id: int) -> bool:
    """Delete a file that no campaign can send any more. Returns False if one can, or there is no such file."""
    row = fetch_one(
        db,
        "DELETE FROM media WHERE id = %(id)s AND NOT EXISTS (SELECT FROM campaigns"
        " WHERE media->'media_id' = to_jsonb(%(id)s::integer) AND state NOT IN ('completed', 'cancelled', 'failed'))"
        " RETURNING id",
        {"id": media_id},
    )
    return row is not None
