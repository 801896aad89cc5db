"""Files that people send: what is still to be fetched, and the bytes, in pieces, beside the message.

An attempt is numbered. Whoever was overtaken by another attempt writes nothing any more, so pieces are of one fetch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row

from titanflow.storage.database import Database
from titanflow.storage.media import in_pieces
from titanflow.storage.rows import fetch_one

# An attempt whose node has died is begun again after so long; it is prolonged piece by piece.
_FETCHING_S = 60
MOST_ATTEMPTS = 6


@dataclass(frozen=True, slots=True)
class Job:
    """One file to be fetched. access_token: encrypted."""

    message_id: int
    attempt: int
    meta_media_id: str
    phone_number_id: str
    access_token: bytes


_TAKE = """
    WITH due AS (
        SELECT message_id FROM inbound_media WHERE due_at <= now()
        ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE inbound_media AS file
        SET attempts = attempts + 1, due_at = now() + make_interval(secs => %(fetching_s)s)
        FROM due WHERE file.message_id = due.message_id
        RETURNING file.message_id, file.attempts AS attempt, file.meta_media_id, file.number_id
    ), emptied AS (
        DELETE FROM inbound_media_pieces AS piece USING taken WHERE piece.message_id = taken.message_id
    )
    SELECT message_id, attempt, meta_media_id, number.phone_number_id, number.access_token
    FROM taken JOIN phone_numbers AS number ON number.id = taken.number_id
"""


def take(db: Database, *, limit: int) -> list[Job]:
    """Take files that are to be fetched now, at most `limit`."""
    with db.connection() as connection, connection.cursor(row_factory=class_row(Job)) as cursor:
        return cursor.execute(_TAKE, {"limit": limit, "fetching_s": _FETCHING_S}).fetchall()


_KEEP = """
    WITH still AS (
        UPDATE inbound_media SET due_at = now() + make_interval(secs => %(fetching_s)s)
        WHERE message_id = %(message_id)s AND attempts = %(attempt)s AND state = 'pending'
        RETURNING message_id
    )
    INSERT INTO inbound_media_pieces (message_id, position, bytes)
    SELECT message_id, %(position)s, %(bytes)b FROM still
"""


def keep(db: Database, job: Job, position: int, piece: bytes) -> bool:
    """Keep a piece, and say that the fetch goes on. False: another attempt has taken over."""
    parameters = {
        "message_id": job.message_id,
        "attempt": job.attempt,
        "position": position,
        "bytes": piece,
        "fetching_s": _FETCHING_S,
    }
    with db.connection() as connection:
        return connection.execute(_KEEP, parameters).rowcount == 1


def finish(db: Database, job: Job, *, size_bytes: int) -> None:
    """Say that all pieces are there."""
    with db.connection() as connection:
        connection.execute(
            "UPDATE inbound_media SET state = 'stored', size_bytes = %s, stored_at = now(), due_at = NULL, error = NULL"
            " WHERE message_id = %s AND attempts = %s AND state = 'pending'",
            [size_bytes, job.message_id, job.attempt],
        )


_FAIL = """
    WITH failed AS (
        UPDATE inbound_media
        SET error = %(error)s, state = CASE WHEN %(last)s THEN 'failed' ELSE state END,
            due_at = CASE WHEN NOT %(last)s THEN now() + make_interval(secs => %(again_in_s)s) END
        WHERE message_id = %(message_id)s AND attempts = %(attempt)s AND state = 'pending'
        RETURNING message_id
    )
    DELETE FROM inbound_media_pieces WHERE message_id IN (SELECT message_id FROM failed)
"""


def fail(db: Database, job: Job, *, error: str, for_good: bool) -> None:
    """Keep why an attempt failed. It is tried again after 5 s, longer each time, MOST_ATTEMPTS in all."""
    parameters = {
        "message_id": job.message_id,
        "attempt": job.attempt,
        "error": error[:300],
        "last": for_good or job.attempt >= MOST_ATTEMPTS,
        "again_in_s": 5.0 * 5 ** min(job.attempt - 1, 4),
    }
    with db.connection() as connection:
        connection.execute(_FAIL, parameters)


def get(db: Database, message_id: int) -> dict[str, Any] | None:
    """Return how a message's file stands."""
    return fetch_one(
        db,
        "SELECT state, mime_type, filename, size_bytes, error FROM inbound_media WHERE message_id = %(id)s",
        {"id": message_id},
    )


def pieces(db: Database, message_id: int) -> Iterator[bytes]:
    """Yield a file's bytes, one piece in memory at a time."""
    return in_pieces(
        db, "SELECT bytes FROM inbound_media_pieces WHERE message_id = %(id)s AND position = %(position)s", message_id
    )


_EXPIRE = """
    WITH old AS (
        SELECT message_id FROM inbound_media
        WHERE state = 'stored' AND stored_at < now() - make_interval(days => %(days)s)
        ORDER BY stored_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), emptied AS (
        DELETE FROM inbound_media_pieces AS piece USING old WHERE piece.message_id = old.message_id
    )
    UPDATE inbound_media AS file SET state = 'expired' FROM old WHERE file.message_id = old.message_id
"""


def expire(db: Database, *, older_than_days: int, limit: int) -> int:
    """Give up the bytes of files that have been kept long enough; their messages stay. Returns how many."""
    with db.connection() as connection:
        return connection.execute(_EXPIRE, {"days": older_than_days, "limit": limit}).rowcount
