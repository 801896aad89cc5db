"""Idempotency keys: one statement decides who works on a request; its answer is kept for 24 hours, for all processes.

A key whose process died half-way belongs to nobody: the next request with it is carried out. Whether the first one took
effect can't be known then; it answers nothing that did not happen.
"""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from titanflow.storage.database import Database

KEPT_HOURS = 24


@dataclass(frozen=True, slots=True)
class Known:
    """What is there of a key. status None: somebody works on it. is_ours: begun by this very call."""

    request: bytes | None
    created_at: datetime
    status: int | None
    location: str | None
    media_type: str | None
    body: bytes | None
    is_ours: bool


# An hour is longer than any request takes. The end of 24 hours is looked at here, so that nobody has to sweep in time.
_BEGIN = """
    WITH old AS (
        DELETE FROM idempotency_keys WHERE (owner, key) IN (
            SELECT owner, key FROM idempotency_keys
            WHERE created_at < now() - make_interval(hours => %(kept_hours)s) AND (owner, key) <> (%(owner)s, %(key)s)
            ORDER BY created_at LIMIT 20 FOR UPDATE SKIP LOCKED)
    )
    INSERT INTO idempotency_keys AS known (owner, key, request, node_id)
    VALUES (%(owner)s, %(key)s, %(request)s, %(node_id)s)
    ON CONFLICT (owner, key) DO UPDATE
    SET request = EXCLUDED.request, node_id = EXCLUDED.node_id, created_at = now(), status = NULL, location = NULL,
        media_type = NULL, body = NULL
    WHERE known.created_at < now() - make_interval(hours => %(kept_hours)s)
       OR (known.status IS NULL
           AND (known.created_at < now() - interval '1 hour'
                OR NOT EXISTS (SELECT FROM nodes WHERE nodes.id = known.node_id AND nodes.stopped_at IS NULL
                                                   AND nodes.expires_at > now())))
    RETURNING request, created_at, status, location, media_type, body, true AS is_ours
"""

_READ = """
    SELECT request, created_at, status, location, media_type, body, false AS is_ours FROM idempotency_keys
    WHERE owner = %(owner)s AND key = %(key)s
"""


def begin(db: Database, *, owner: str, key: str, request: bytes | None, node_id: int) -> Known:
    """Take a key, or return what is there of it."""
    parameters = {"owner": owner, "key": key, "request": request, "node_id": node_id, "kept_hours": KEPT_HOURS}
    with db.connection() as connection, connection.cursor(row_factory=class_row(Known)) as cursor:
        while True:
            found = cursor.execute(_BEGIN, parameters).fetchone() or cursor.execute(_READ, parameters).fetchone()
            if found is not None:  # else it was given back between the two
                return found


def finish(
    db: Database,
    *,
    owner: str,
    key: str,
    since: datetime,
    request: bytes | None,
    status: int,
    location: str | None,
    media_type: str | None,
    body: bytes,
) -> None:
    """Keep the answer to a request begun at `since`."""
    with db.connection() as connection:
        connection.execute(
            "UPDATE idempotency_keys SET request = %s, status = %s, location = %s, media_type = %s, body = %s"
            " WHERE owner = %s AND key = %s AND created_at = %s AND status IS NULL",
            [request, status, location, media_type, body, owner, key, since],
        )


def give_back(db: Database, *, owner: str, key: str, since: datetime) -> None:
    """Forget a key whose request changed nothing."""
    with db.connection() as connection:
        connection.execute(
            "DELETE FROM idempotency_keys WHERE owner = %s AND key = %s AND created_at = %s AND status IS NULL",
            [owner, key, since],
        )
