"""Who did what: an entry before each change that a person or a program asked for, its outcome after it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all, fetch_one


def begin(db: Database, *, who: str, what: str, target: str, detail: Mapping[str, Any]) -> int:
    """Write down what is about to be done. Returns the entry's id.

    Raises StorageUnavailable: then don't do it, since nobody would know of it.
    """
    row = fetch_one(
        db,
        "INSERT INTO audit_log (who, what, target, detail) VALUES (%(who)s, %(what)s, %(target)s, %(detail)s)"
        " RETURNING id",
        {"who": who, "what": what, "target": target, "detail": Jsonb(dict(detail))},
    )
    assert row is not None
    return int(row["id"])


def finish(db: Database, entry_id: int, *, outcome: str, detail: Mapping[str, Any]) -> None:
    """Say how it ended."""
    with db.connection() as connection:
        connection.execute(
            "UPDATE audit_log SET outcome = %(outcome)s, detail = detail || %(detail)s WHERE id = %(id)s",
            {"id": entry_id, "outcome": outcome, "detail": Jsonb(dict(detail))},
        )


_PAGE = """
    SELECT id, at, who, what, target, outcome, detail FROM audit_log
    WHERE id < %(before)s
      AND (%(who)s::text IS NULL OR starts_with(who, %(who)s))
      AND (%(what)s::text IS NULL OR starts_with(what, %(what)s))
      AND (%(target)s::text IS NULL OR starts_with(target, %(target)s))
      AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
    ORDER BY id DESC LIMIT %(limit)s
"""
_COUNT = """
    SELECT count(*) AS total FROM audit_log
    WHERE (%(who)s::text IS NULL OR starts_with(who, %(who)s))
      AND (%(what)s::text IS NULL OR starts_with(what, %(what)s))
      AND (%(target)s::text IS NULL OR starts_with(target, %(target)s))
      AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
"""


def page(
    db: Database, *, before: int, limit: int, who: str | None = None, what: str | None = None,
    target: str | None = None, since: datetime | None = None, until: datetime | None = None,
) -> tuple[list[dict[str, Any]], int]:  # fmt: skip
    """Return entries, newest first, below an id, and how many there are in all. Texts match by their beginning."""
    filters = {"who": who, "what": what, "target": target, "since": since, "until": until}
    rows = fetch_all(db, _PAGE, {**filters, "before": before, "limit": limit})
    counted = fetch_one(db, _COUNT, filters)
    return rows, int(counted["total"]) if counted else 0
