"""webhook_quarantine: updates that could not be read, each a webhook of its own, until a later version can."""

from collections.abc import Sequence
from typing import Any

from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all


def page(db: Database, *, field: str | None, limit: int) -> list[dict[str, Any]]:
    """Return the newest of what is kept aside: id, received_at, field, reason, body."""
    return fetch_all(
        db,
        "SELECT id, received_at, field, reason, body FROM webhook_quarantine"
        " WHERE %(field)s::text IS NULL OR field = %(field)s ORDER BY id DESC LIMIT %(limit)s",
        {"field": field, "limit": limit},
    )


def count(db: Database) -> int:
    """Return how many are kept aside."""
    [row] = fetch_all(db, "SELECT count(*) AS count FROM webhook_quarantine", {})
    return int(row["count"])


def newest_id(db: Database) -> int:
    """Return the id of the latest one, 0 if there is none."""
    [row] = fetch_all(db, "SELECT coalesce(max(id), 0) AS id FROM webhook_quarantine", {})
    return int(row["id"])


def between(db: Database, *, after: int, until: int, limit: int) -> list[dict[str, Any]]:
    """Return id and body of the next ones by id: behind `after`, up to `until`."""
    return fetch_all(
        db,
        "SELECT id, body FROM webhook_quarantine WHERE id > %(after)s AND id <= %(until)s ORDER BY id LIMIT %(limit)s",
        {"after": after, "until": until, "limit": limit},
    )


def remove(db: Database, ids: Sequence[int]) -> None:
    """Forget those that were read after all."""
    with db.connection() as connection:
        connection.execute("DELETE FROM webhook_quarantine WHERE id = ANY(%s)", [list(ids)])


def forget(db: Database, *, older_than_days: int, limit: int) -> int:
    """Delete those that nobody could read for so long, at most `limit`. Returns how many."""
    with db.connection() as connection:
        return connection.execute(
            "DELETE FROM webhook_quarantine WHERE id IN (SELECT id FROM webhook_quarantine"
            " WHERE received_at < now() - make_interval(days => %s) ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)",
            [older_than_days, limit],
        ).rowcount
