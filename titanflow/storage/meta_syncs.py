"""What is to be asked at Meta, and when: templates of an account, fields of a number. One node at a time asks.

Whoever sees a need says `want_...` in its own transaction: a crash forgets none. A need that comes up while somebody
asks is asked about again afterwards, since its answer may be older than the news.
"""

from collections.abc import Collection
from typing import Any, Literal

from titanflow.storage.database import Connection, Database
from titanflow.storage.rows import fetch_all

Subject = Literal["templates", "number"]

# Longer than anybody may ask: then it is free for another node.
_RUNNING_S = 90

_WANT_TEMPLATES = """
    INSERT INTO meta_syncs AS known (subject, key)
    SELECT DISTINCT 'templates', waba_id FROM phone_numbers WHERE waba_id = ANY(%s) ORDER BY waba_id
    ON CONFLICT (subject, key) DO UPDATE SET due_at = least(known.due_at, now())
"""

_WANT_NUMBERS = """
    INSERT INTO meta_syncs AS known (subject, key)
    SELECT 'number', phone_number_id FROM phone_numbers WHERE waba_id = ANY(%s) ORDER BY phone_number_id
    ON CONFLICT (subject, key) DO UPDATE SET due_at = least(known.due_at, now())
"""

_TAKE = {
    "templates": """
        WITH discovered AS (
            INSERT INTO meta_syncs (subject, key)
            SELECT DISTINCT 'templates', waba_id FROM phone_numbers
            WHERE waba_id NOT IN (SELECT key FROM meta_syncs WHERE subject = 'templates')
            ON CONFLICT DO NOTHING
        ), due AS (
            SELECT key FROM meta_syncs
            WHERE subject = 'templates' AND due_at <= now() AND (running_until IS NULL OR running_until < now())
              AND key IN (SELECT waba_id FROM phone_numbers)
            ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        UPDATE meta_syncs AS sync
        SET running_until = now() + make_interval(secs => %(running_s)s),
            due_at = now() + make_interval(secs => %(every_s)s)
        FROM due WHERE sync.subject = 'templates' AND sync.key = due.key
        RETURNING sync.key
    """,
    "number": """
        WITH discovered AS (
            INSERT INTO meta_syncs (subject, key)
            SELECT 'number', phone_number_id FROM phone_numbers
            WHERE phone_number_id NOT IN (SELECT key FROM meta_syncs WHERE subject = 'number')
            ON CONFLICT DO NOTHING
        ), due AS (
            SELECT key FROM meta_syncs
            WHERE subject = 'number' AND due_at <= now() AND (running_until IS NULL OR running_until < now())
              AND key IN (SELECT phone_number_id FROM phone_numbers)
            ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        UPDATE meta_syncs AS sync
        SET running_until = now() + make_interval(secs => %(running_s)s),
            due_at = now() + make_interval(secs => %(every_s)s)
        FROM due WHERE sync.subject = 'number' AND sync.key = due.key
        RETURNING sync.key
    """,
}


def want_templates(connection: Connection, waba_ids: Collection[str]) -> None:
    """Have these accounts' templates read again, as soon as may be."""
    if waba_ids:
        connection.execute(_WANT_TEMPLATES, [list(waba_ids)])


def want_numbers(connection: Connection, waba_ids: Collection[str]) -> None:
    """Have all numbers of these accounts read again, as soon as may be."""
    if waba_ids:
        connection.execute(_WANT_NUMBERS, [list(waba_ids)])


def take(db: Database, subject: Subject, *, every_s: float, limit: int) -> list[str]:
    """Take what is due, at most `limit`: nobody else asks about it meanwhile. It is due again in every_s."""
    with db.connection() as connection:
        rows = connection.execute(
            _TAKE[subject], {"limit": limit, "every_s": every_s, "running_s": _RUNNING_S}
        ).fetchall()
    return [str(row[0]) for row in rows]


def finish(db: Database, subject: Subject, key: str, *, error: str | None = None) -> None:
    """Say that it was asked, or why it couldn't be; then it is tried again after 15 s, doubled each time."""
    with db.connection() as connection:
        connection.execute(
            "UPDATE meta_syncs SET running_until = NULL, error = %(error)s,"
            " synced_at = CASE WHEN %(error)s::text IS NULL THEN now() ELSE synced_at END,"
            " failures = CASE WHEN %(error)s::text IS NULL THEN 0 ELSE failures + 1 END,"
            " due_at = CASE WHEN %(error)s::text IS NULL THEN due_at"
            " ELSE least(due_at, now() + make_interval(secs => 15 * 2 ^ least(failures, 10))) END"
            " WHERE subject = %(subject)s AND key = %(key)s",
            {"subject": subject, "key": key, "error": error},
        )


def accounts(db: Database, waba_id: str | None = None) -> list[dict[str, Any]]:
    """Return one number of each account, or of one, with its encrypted token: enough to ask about the account.

    A number that may send is preferred: its token is known to work.
    """
    return fetch_all(
        db,
        "SELECT DISTINCT ON (waba_id) waba_id, phone_number_id, access_token FROM phone_numbers"
        " WHERE %(waba_id)s::text IS NULL OR waba_id = %(waba_id)s ORDER BY waba_id, shown_state = 'blocked', id",
        {"waba_id": waba_id},
    )
