"""Changes of campaigns' states, noted by a trigger: told to listeners, and again to those who were cut off."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from titanflow.storage.counters import STATES
from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all

_TAKE = """
    UPDATE campaign_changes SET announced = true
    WHERE id IN (SELECT id FROM campaign_changes WHERE NOT announced ORDER BY id LIMIT 200 FOR UPDATE SKIP LOCKED)
    RETURNING id, campaign_id, state, state_by, state_reason, at
"""


def take_unannounced(db: Database) -> list[dict[str, Any]]:
    """Return changes that nobody has been told of, in order; each is returned to one node only."""
    with db.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return sorted(cursor.execute(_TAKE).fetchall(), key=lambda row: int(row["id"]))


def since(db: Database, at: datetime, *, campaign_id: int | None, limit: int = 500) -> list[dict[str, Any]]:
    """Return the changes after a moment, in order; of all campaigns if campaign_id is None."""
    return fetch_all(
        db,
        "SELECT id, campaign_id, state, state_by, state_reason, at FROM campaign_changes"
        " WHERE at > %(at)s AND (%(campaign_id)s::integer IS NULL OR campaign_id = %(campaign_id)s)"
        " ORDER BY at, id LIMIT %(limit)s",
        {"at": at, "campaign_id": campaign_id, "limit": limit},
    )


def states_now(db: Database, *, campaign_id: int | None, limit: int = 200) -> list[dict[str, Any]]:
    """Return how one campaign stands, or all that have begun or will and are not over, the newest first."""
    return fetch_all(
        db,
        "SELECT id AS campaign_id, state, state_by, state_reason, updated_at AS at FROM campaigns"
        " WHERE CASE WHEN %(campaign_id)s::integer IS NULL"
        " THEN state IN ('running', 'paused', 'scheduled', 'importing')"
        " ELSE id = %(campaign_id)s END ORDER BY id DESC LIMIT %(limit)s",
        {"campaign_id": campaign_id, "limit": limit},
    )


def counts_of(db: Database, campaign_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """Return how many contacts of each campaign are in which state, from the counters."""
    rows = fetch_all(
        db,
        "SELECT campaign_id, sum(pending)::bigint AS pending, sum(claimed)::bigint AS claimed,"
        " sum(retrying)::bigint AS retrying, sum(in_doubt)::bigint AS in_doubt, sum(excluded)::bigint AS excluded,"
        " sum(cancelled)::bigint AS cancelled, sum(sent)::bigint AS sent, sum(delivered)::bigint AS delivered,"
        " sum(read)::bigint AS read, sum(failed)::bigint AS failed"
        " FROM campaign_counters WHERE campaign_id = ANY(%(ids)s) GROUP BY campaign_id",
        {"ids": list(campaign_ids)},
    )
    return {row["campaign_id"]: {state: int(row[state]) for state in STATES} for row in rows}


def targets_of(db: Database, campaign_id: int) -> frozenset[str]:
    """Return whose alarms concern a campaign, as `scope:target`: itself, its numbers, their accounts."""
    rows = fetch_all(
        db,
        "SELECT phone_number_id, waba_id FROM campaign_numbers JOIN phone_numbers ON phone_numbers.id = number_id"
        " WHERE campaign_id = %(id)s",
        {"id": campaign_id},
    )
    numbers = {f"number:{row['phone_number_id']}" for row in rows} | {f"account:{row['waba_id']}" for row in rows}
    return frozenset({f"campaign:{campaign_id}", *numbers})
