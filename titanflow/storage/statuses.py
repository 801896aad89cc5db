"""Statuses from Meta's webhooks: applied once, by rank, whatever order they come in.

One UPDATE a batch decides: the order of the type message_state is the rank, and greatest(old, new) never lowers; each
time is the earliest that was told; a failure is noted whatever the state. So every order ends in the same row
(docs/decisions/0014). A message is found by its echo (our log id and attempt) first, by its wamid second. What can't
be found is parked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from titanflow.storage import arrays
from titanflow.storage.database import Connection, Database
from titanflow.storage.effects import EFFECTS
from titanflow.storage.roll_ups import OLD_TIMES, TIMES


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One status. log_id and attempt: from the echo, both or neither. status: sent, delivered, read or failed.

    pricing: what Meta charges, as one text (domain/pricing).
    """

    wamid: str
    status: str
    at: datetime
    log_id: int | None = None
    attempt: int | None = None
    error_code: int | None = None
    error_detail: str | None = None
    pricing: str | None = None


@dataclass(frozen=True, slots=True)
class Reported:
    """What Meta has just reported of one campaign, number and template, and of how many messages.

    error_code: they failed with it; None: they were delivered or read. contact_ids: of those that failed, in order.
    """

    campaign_id: int
    number_id: int
    template_id: int
    error_code: int | None
    count: int
    contact_ids: list[int] | None = None


_APPLY = f"""
    WITH update AS MATERIALIZED (
        SELECT * FROM unnest(%(log_ids)s::bigint[], %(attempts)s::smallint[], %(wamids)s::text[],
                             %(statuses)s::message_state[], %(ats)s::timestamptz[], %(error_codes)s::integer[],
                             %(error_details)s::text[], %(pricings)s::text[])
            WITH ORDINALITY AS update (log_id, attempt, wamid, status, at, error_code, error_detail, pricing, n)
    ), matched AS MATERIALIZED (
        -- Another wamid under our echo is another environment's message on the same account.
        SELECT message.id, update.* FROM update
        JOIN message_logs AS message ON message.id = update.log_id AND message.attempt = update.attempt
            AND (message.wamid IS NULL OR message.wamid = update.wamid)
        UNION ALL
        SELECT message.id, update.* FROM update
        JOIN message_logs AS message ON message.wamid = update.wamid
        WHERE update.log_id IS NULL
    ), news AS (
        SELECT id, max(status) AS status, max(wamid) AS wamid,
               min(at) FILTER (WHERE status <> 'failed') AS sent_at,
               min(at) FILTER (WHERE status IN ('delivered', 'read')) AS delivered_at,
               min(at) FILTER (WHERE status = 'read') AS read_at,
               min(at) FILTER (WHERE status = 'failed') AS failed_at,
               min(error_code) AS error_code, min(error_detail) AS error_detail,
               -- `sent` only announces a price: it is charged on delivery.
               min(pricing) FILTER (WHERE status IN ('delivered', 'read')) AS pricing
        FROM matched GROUP BY id
    ), locked AS MATERIALIZED (
        SELECT news.*, message.state AS old_state, message.error_code AS old_code, {OLD_TIMES},
               -- A failure that is being retried is known already: what Meta repeats of it is no news.
               CASE WHEN message.state = 'retrying' AND message.failed_at IS NOT NULL AND news.status <= 'failed'
                    THEN message.state ELSE greatest(message.state, news.status) END AS new_state,
               message.sent_at IS NULL AND news.sent_at IS NOT NULL AS newly_sent,
               message.failed_at IS NULL AND news.failed_at IS NOT NULL AS newly_failed,
               message.pricing IS NULL AND news.pricing IS NOT NULL AS newly_priced,
               -- Not where it is updated: that looks at the row as it was before this statement waited for its lock.
               news.sent_at < message.sent_at OR news.delivered_at < message.delivered_at
                   OR news.read_at < message.read_at OR news.failed_at < message.failed_at AS earlier
        FROM news JOIN message_logs AS message ON message.id = news.id
        ORDER BY message.id
        FOR UPDATE OF message
    ), changed AS (
        UPDATE message_logs AS message
        SET state = locked.new_state,
            wamid = coalesce(message.wamid, locked.wamid),
            due_at = CASE WHEN locked.new_state = 'retrying' THEN message.due_at END,
            sent_at = least(message.sent_at, locked.sent_at),
            delivered_at = least(message.delivered_at, locked.delivered_at),
            read_at = least(message.read_at, locked.read_at),
            failed_at = least(message.failed_at, locked.failed_at),
            -- The report's own code takes the place of a doubt's, never that of an earlier failure.
            error_code = CASE WHEN locked.newly_failed THEN coalesce(locked.error_code, message.error_code)
                              ELSE message.error_code END,
            error_detail = CASE WHEN locked.newly_failed THEN coalesce(locked.error_detail, message.error_detail)
                                ELSE message.error_detail END,
            pricing = coalesce(message.pricing, locked.pricing)
        FROM locked
        WHERE message.id = locked.id
          AND (locked.new_state <> locked.old_state OR locked.newly_sent OR locked.newly_failed OR locked.newly_priced
               OR locked.earlier OR message.wamid IS NULL)
        RETURNING message.campaign_id, message.contact_id, message.number_id, message.template_id,
                  locked.old_state, locked.new_state, locked.old_code, message.error_code AS new_code,
                  locked.newly_failed, locked.newly_priced, message.pricing, {TIMES}
    ), earlier AS (
        -- A late word about an attempt that was followed by another one: kept with that attempt, changes no state.
        UPDATE message_attempts AS attempt
        SET state = greatest(attempt.state, update.status), wamid = coalesce(attempt.wamid, update.wamid),
            ended_at = now()
        FROM update
        WHERE attempt.log_id = update.log_id AND attempt.attempt = update.attempt
        RETURNING update.n
    ), parked AS (
        INSERT INTO parked_statuses (wamid, status, at, error_code, error_detail, pricing)
        SELECT wamid, status, at, error_code, error_detail, pricing FROM update
        WHERE n NOT IN (SELECT n FROM matched) AND n NOT IN (SELECT n FROM earlier)
    ), priced AS (
        INSERT INTO stats_pricing AS roll_up (campaign_id, hour, number_id, pricing, count)
        SELECT campaign_id, date_trunc('hour', now()), number_id, pricing, count(*) FROM changed WHERE newly_priced
        GROUP BY campaign_id, number_id, pricing ORDER BY campaign_id, number_id, pricing
        ON CONFLICT (campaign_id, hour, number_id, pricing) DO UPDATE SET count = roll_up.count + EXCLUDED.count
    ), {EFFECTS}
    SELECT campaign_id, number_id, template_id, CASE WHEN newly_failed THEN new_code END AS error_code,
           count(*)::integer AS count,
           array_agg(contact_id ORDER BY contact_id) FILTER (WHERE newly_failed) AS contact_ids
    FROM changed
    WHERE (newly_failed AND new_code IS NOT NULL) OR (new_state <> old_state AND new_state IN ('delivered', 'read'))
    GROUP BY 1, 2, 3, 4
"""  # noqa: S608  (constants only)


def apply(transaction: Connection, statuses: Sequence[StatusRow], *, node_id: int) -> list[Reported]:
    """Apply a batch of statuses of any order, inside the caller's transaction. Repeating it changes nothing.

    Returns what it changed, for the circuit breakers.
    """
    with transaction.cursor(row_factory=class_row(Reported)) as cursor:
        return cursor.execute(_APPLY, _parameters(statuses, node_id)).fetchall()


def _parameters(statuses: Sequence[StatusRow], node_id: int) -> dict[str, Any]:
    return {
        "node_id": node_id,
        "log_ids": arrays.numbers([one.log_id for one in statuses]),
        "attempts": arrays.numbers([one.attempt for one in statuses]),
        "wamids": arrays.texts([one.wamid for one in statuses]),
        "statuses": arrays.texts([one.status for one in statuses]),
        "ats": arrays.times([one.at for one in statuses]),
        "error_codes": arrays.numbers([one.error_code for one in statuses]),
        "error_details": arrays.texts([one.error_detail for one in statuses]),
        "pricings": arrays.texts([one.pricing for one in statuses]),
    }


# The newest, whose message is just being settled, and a piece of all others: with the traffic of another tool on the
# account there may be a million of them, none of which is ever ours.
_UNPARK = """
    WITH looked_at AS MATERIALIZED (
        (SELECT id, wamid FROM parked_statuses ORDER BY id DESC LIMIT %(limit)s)
        UNION
        (SELECT id, wamid FROM parked_statuses WHERE id > %(after)s ORDER BY id LIMIT %(limit)s)
    ), known AS MATERIALIZED (
        SELECT id FROM looked_at
        WHERE EXISTS (SELECT FROM message_logs AS message WHERE message.wamid = looked_at.wamid)
    )
    DELETE FROM parked_statuses WHERE id IN (SELECT id FROM known)
    RETURNING wamid, status::text AS status, at, NULL::bigint AS log_id, NULL::smallint AS attempt,
              error_code, error_detail, pricing
"""

_NEXT_PIECE = "SELECT id FROM parked_statuses WHERE id > %(after)s ORDER BY id OFFSET %(limit)s - 1 LIMIT 1"


def unpark(transaction: Connection, *, node_id: int, after: int = 0, limit: int = 1000) -> tuple[list[Reported], int]:
    """Apply parked statuses whose message is known by now, inside the caller's transaction.

    Looks at the newest `limit` and at as many behind the id `after`. Returns what they changed, and the `after` of the
    next round: whoever passes it on has looked at all of them before it is 0 again.
    """
    parameters = {"limit": limit, "after": after}
    last = transaction.execute(_NEXT_PIECE, parameters).fetchone()
    with transaction.cursor(row_factory=class_row(StatusRow)) as cursor:
        rows = cursor.execute(_UNPARK, parameters).fetchall()
    return apply(transaction, rows, node_id=node_id) if rows else [], int(last[0]) if last else 0


def forget_parked(db: Database, *, older_than_days: int = 7, limit: int = 5000) -> int:
    """Delete parked statuses that nobody will ever claim, at most `limit`. Returns how many."""
    with db.connection() as connection:
        return connection.execute(
            "DELETE FROM parked_statuses WHERE id IN (SELECT id FROM parked_statuses"
            " WHERE parked_at < now() - make_interval(days => %s) ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)",
            [older_than_days, limit],
        ).rowcount
