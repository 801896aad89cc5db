"""What BufferManager reads: contacts to send, ahead of the senders, by keyset; never by OFFSET, never by a join.

The cursor moves in the transaction that reads. What a crash leaves between cursor and claim is found by `sweep`,
the one anti-join, when the cursor has reached the end.
"""

from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row

from titanflow.storage.database import Database


@dataclass(frozen=True, slots=True)
class Contact:
    """A person to send to. phone: E.164 with the plus; variables: the other columns of the row."""

    id: int
    phone: str
    variables: dict[str, Any]


_REFILL = """
    WITH cursor AS MATERIALIZED (
        SELECT contact_id FROM campaign_cursors WHERE campaign_id = %(campaign_id)s FOR UPDATE
    ), batch AS MATERIALIZED (
        SELECT id, phone, variables FROM contacts
        WHERE campaign_id = %(campaign_id)s AND excluded_reason IS NULL
          AND id > (SELECT contact_id FROM cursor)
        ORDER BY id LIMIT %(limit)s
    ), moved AS (
        UPDATE campaign_cursors SET contact_id = (SELECT max(id) FROM batch)
        WHERE campaign_id = %(campaign_id)s AND EXISTS (SELECT FROM batch)
    )
    SELECT id, phone, variables FROM batch ORDER BY id
"""

_SWEEP = """
    SELECT contact.id, contact.phone, contact.variables FROM contacts AS contact
    WHERE contact.campaign_id = %(campaign_id)s AND contact.excluded_reason IS NULL AND contact.id > %(after)s
      AND contact.id <= (SELECT contact_id FROM campaign_cursors WHERE campaign_id = %(campaign_id)s)
      AND NOT EXISTS (SELECT FROM message_logs AS message
                      WHERE message.campaign_id = %(campaign_id)s AND message.contact_id = contact.id)
    ORDER BY contact.id LIMIT %(limit)s
"""

_DUE = """
    SELECT contact.id, contact.phone, contact.variables
    FROM message_logs AS message JOIN contacts AS contact ON contact.id = message.contact_id
    WHERE message.campaign_id = %(campaign_id)s AND message.due_at <= now() AND message.state = 'retrying'
    ORDER BY message.due_at LIMIT %(limit)s
"""

# Bounded: a campaign may have a million in doubt.
_WAITING = """
    SELECT count(*), min(due_at) FROM (
        SELECT due_at FROM message_logs
        WHERE campaign_id = %(campaign_id)s AND due_at > now() AND state = 'retrying' ORDER BY due_at LIMIT %(limit)s
    ) AS later
"""
_WAITING_AT_MOST = 10_000


def refill(db: Database, campaign_id: int, *, limit: int) -> list[Contact]:
    """Return the next contacts in order and move the campaign's cursor behind them. [] at the end of the list."""
    with db.connection() as connection, connection.cursor(row_factory=class_row(Contact)) as cursor:
        return cursor.execute(_REFILL, {"campaign_id": campaign_id, "limit": limit}).fetchall()


def sweep(db: Database, campaign_id: int, *, after: int, limit: int) -> list[Contact]:
    """Return contacts before the cursor that nobody has claimed, by id, those behind `after`."""
    parameters = {"campaign_id": campaign_id, "after": after, "limit": limit}
    with db.connection() as connection, connection.cursor(row_factory=class_row(Contact)) as cursor:
        return cursor.execute(_SWEEP, parameters).fetchall()


def due(db: Database, campaign_id: int, *, limit: int) -> list[Contact]:
    """Return contacts whose message was refused for a time that is over now."""
    with db.connection() as connection, connection.cursor(row_factory=class_row(Contact)) as cursor:
        return cursor.execute(_DUE, {"campaign_id": campaign_id, "limit": limit}).fetchall()


def open_cursor(db: Database, campaign_id: int) -> None:
    """Make the campaign's cursor if it has none."""
    with db.connection() as connection:
        connection.execute(
            "INSERT INTO campaign_cursors (campaign_id) VALUES (%s) ON CONFLICT DO NOTHING", [campaign_id]
        )


def waiting(db: Database, campaign_id: int) -> str:
    """Return a sentence about those whose message may go again later: "12 wait until 14:05 UTC"; "" if nobody does."""
    with db.connection() as connection:
        row = connection.execute(_WAITING, {"campaign_id": campaign_id, "limit": _WAITING_AT_MOST}).fetchone()
    count, first_at = row or (0, None)
    if first_at is None:
        return ""
    many = f"{count:,} wait" if count < _WAITING_AT_MOST else f"more than {count:,} wait"
    return f"{many if count > 1 else '1 waits'} for another attempt, the first until {first_at:%H:%M} UTC"
