"""Alarms: what somebody should know about, one open row a key however often it happens.

Raised in the transaction of what they tell about. Cleared when their cause is gone, or by an operator.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from titanflow.storage.database import Connection, Database
from titanflow.storage.rows import fetch_all, fetch_one


@dataclass(frozen=True, slots=True)
class Alarm:
    """kind: stable, for programs. scope: what the target is. sentence: without a full stop; fix: what to do."""

    kind: str
    scope: str
    target: str
    sentence: str
    fix: str


_RAISE = """
    INSERT INTO alarms AS open (key, kind, scope, target, sentence, fix, count)
    VALUES (%(key)s, %(kind)s, %(scope)s, %(target)s, %(sentence)s, %(fix)s, %(count)s)
    ON CONFLICT (key) WHERE cleared_at IS NULL DO UPDATE
    SET count = open.count + EXCLUDED.count, last_seen_at = now(), sentence = EXCLUDED.sentence, fix = EXCLUDED.fix,
        announced = false
"""


def raise_alarm(connection: Connection, alarm: Alarm, *, count: int = 1) -> None:
    """Open an alarm, or count an open one of the same kind and target up."""
    connection.execute(
        _RAISE,
        {
            "key": _key(alarm.kind, alarm.target),
            "kind": alarm.kind,
            "scope": alarm.scope,
            "target": alarm.target,
            "sentence": alarm.sentence,
            "fix": alarm.fix,
            "count": count,
        },
    )


_CLEAR_GONE = """
    UPDATE alarms SET cleared_at = now(), cleared_by = 'engine', announced = false
    WHERE cleared_at IS NULL AND CASE kind
        WHEN 'number_blocked' THEN NOT EXISTS
            (SELECT FROM phone_numbers WHERE phone_number_id = target AND shown_state = 'blocked')
        WHEN 'number_paused' THEN NOT EXISTS
            (SELECT FROM phone_numbers WHERE phone_number_id = target AND shown_state IN ('paused', 'blocked'))
        WHEN 'account_blocked' THEN NOT EXISTS
            (SELECT FROM phone_numbers WHERE waba_id = target AND shown_state = 'blocked')
        WHEN 'account_paused' THEN NOT EXISTS
            (SELECT FROM phone_numbers WHERE waba_id = target AND shown_state IN ('paused', 'blocked'))
        WHEN 'number_quality' THEN NOT EXISTS
            (SELECT FROM phone_numbers WHERE phone_number_id = target AND quality = 'RED')
        WHEN 'campaign_paused' THEN NOT EXISTS
            (SELECT FROM campaigns WHERE id::text = target AND state = 'paused' AND state_by = 'engine')
        ELSE false END
"""


def clear_gone(db: Database) -> int:
    """Clear the alarms whose cause is gone: the number sends again, the campaign goes on. Returns how many."""
    with db.connection() as connection:
        return connection.execute(_CLEAR_GONE).rowcount


def clear_of(db: Database, kind: str, target: str, *, by: str) -> None:
    """Clear the open alarm of a kind and target, if there is one."""
    with db.connection() as connection:
        connection.execute(
            "UPDATE alarms SET cleared_at = now(), cleared_by = %s, announced = false"
            " WHERE key = %s AND cleared_at IS NULL",
            [by, _key(kind, target)],
        )


_ANNOUNCE = """
    UPDATE alarms SET announced = true
    WHERE id IN (SELECT id FROM alarms WHERE NOT announced ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED)
    RETURNING id, kind, scope, target, sentence, fix, count, first_seen_at, last_seen_at, cleared_at, cleared_by
"""


def take_unannounced(db: Database) -> list[dict[str, Any]]:
    """Return alarms that changed since they were last published; each change is returned to one node only."""
    with db.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_ANNOUNCE).fetchall()


def page(db: Database, *, state: str, before: int, limit: int) -> list[dict[str, Any]]:
    """Return alarms, the newest first, with the count of all as `total`. state: open, cleared or all."""
    return fetch_all(
        db,
        "WITH chosen AS (SELECT * FROM alarms WHERE %(state)s = 'all' OR (cleared_at IS NULL) = (%(state)s = 'open'))"
        " SELECT id, kind, scope, target, sentence, fix, count, first_seen_at, last_seen_at, cleared_at, cleared_by,"
        " (SELECT count(*) FROM chosen) AS total FROM chosen WHERE id < %(before)s ORDER BY id DESC LIMIT %(limit)s",
        {"state": state, "before": before, "limit": limit},
    )


def since(db: Database, at: datetime | None, *, limit: int = 200) -> list[dict[str, Any]]:
    """Return the alarms that changed after a moment, in order; None: those that are open."""
    return fetch_all(
        db,
        "SELECT id, kind, scope, target, sentence, fix, count, first_seen_at, last_seen_at, cleared_at, cleared_by"
        " FROM alarms WHERE CASE WHEN %(at)s::timestamptz IS NULL THEN cleared_at IS NULL"
        " ELSE greatest(last_seen_at, cleared_at) > %(at)s END"
        " ORDER BY greatest(last_seen_at, cleared_at) LIMIT %(limit)s",
        {"at": at, "limit": limit},
    )


def clear(db: Database, alarm_id: int, *, by: str) -> bool:
    """Clear an alarm by an operator's word. Returns False if there is no such alarm; a cleared one stays as it is."""
    row = fetch_one(
        db,
        "UPDATE alarms SET cleared_at = coalesce(cleared_at, now()), cleared_by = coalesce(cleared_by, %(by)s),"
        " announced = announced AND cleared_at IS NOT NULL WHERE id = %(id)s RETURNING id",
        {"id": alarm_id, "by": by},
    )
    return row is not None


def _key(kind: str, target: str) -> str:
    return f"{kind}:{target}"
