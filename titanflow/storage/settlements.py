"""Settlements: what became of claims, written in batches, in one commit with counters and roll-ups.

A settlement never lowers what a webhook has said before it: the webhook may be faster than Meta's answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from titanflow.storage.database import Database
from titanflow.storage.earlier_attempts import DOUBTED_BEFORE
from titanflow.storage.effects import EFFECTS
from titanflow.storage.roll_ups import OLD_TIMES, TIMES

SettledState = Literal["sent", "failed", "retrying", "in_doubt"]


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of one attempt. due_in_s: for `retrying`, when it may go again."""

    log_id: int
    attempt: int
    state: SettledState
    wamid: str | None = None
    error_code: int | None = None
    error_detail: str | None = None
    due_in_s: float = 0.0


# A message may only become `retrying` while its campaign can still send it; the lock makes a cancellation wait.
_LOCK_CAMPAIGNS = """
    SELECT FROM campaigns
    WHERE id IN (SELECT campaign_id FROM message_logs WHERE id = ANY(%(again)s))
    ORDER BY id FOR SHARE
"""

_SETTLE = f"""
    WITH outcome AS (
        SELECT * FROM unnest(%(log_ids)s::bigint[], %(attempts)s::smallint[], %(states)s::message_state[],
                             %(wamids)s::text[], %(error_codes)s::integer[], %(error_details)s::text[],
                             %(due_in_s)s::float8[])
            AS outcome (log_id, attempt, state, wamid, error_code, error_detail, due_in_s)
    ), locked AS MATERIALIZED (
        SELECT message.id, message.state AS old_state, message.error_code AS old_code,
               message.failed_at IS NULL AS unfailed, {OLD_TIMES}, outcome.*,
               CASE
                   WHEN outcome.state IN ('sent', 'failed') THEN greatest(message.state, outcome.state)
                   WHEN message.state NOT IN ('claimed', 'in_doubt') THEN message.state
                   WHEN outcome.state = 'retrying' AND campaign.state IN ('cancelled', 'completed', 'failed')
                       THEN CASE WHEN {DOUBTED_BEFORE} THEN 'in_doubt'::message_state ELSE 'cancelled' END
                   ELSE outcome.state
               END AS new_state
        FROM message_logs AS message
        JOIN outcome ON outcome.log_id = message.id AND outcome.attempt = message.attempt
        JOIN campaigns AS campaign ON campaign.id = message.campaign_id
        ORDER BY message.id
        FOR UPDATE OF message
    ), changed AS (
        UPDATE message_logs AS message
        SET state = locked.new_state,
            wamid = coalesce(message.wamid, locked.wamid),
            due_at = CASE locked.new_state
                         WHEN 'retrying' THEN now() + make_interval(secs => locked.due_in_s)
                         WHEN 'in_doubt' THEN now()
                     END,
            -- A failure that a webhook has told already keeps its own code, be it none: the reasons were counted by it.
            error_code = CASE WHEN locked.unfailed THEN coalesce(message.error_code, locked.error_code)
                              ELSE message.error_code END,
            error_detail = CASE WHEN locked.unfailed THEN coalesce(message.error_detail, locked.error_detail)
                                ELSE message.error_detail END,
            -- When it left, to Meta's grain of a second: the earliest of all words on it, so that its webhooks, which
            -- come before or after this, have nothing to correct.
            sent_at = CASE WHEN locked.state = 'sent'
                           THEN least(message.sent_at, date_trunc('second', message.claimed_at))
                           ELSE message.sent_at END,
            failed_at = CASE WHEN locked.state = 'failed' THEN least(message.failed_at, now())
                             ELSE message.failed_at END
        FROM locked WHERE message.id = locked.id
        RETURNING message.campaign_id, message.contact_id, message.number_id, message.template_id,
                  locked.old_state, locked.new_state, locked.old_code, message.error_code AS new_code,
                  locked.state = 'failed' AND locked.unfailed AS newly_failed, {TIMES}
    ), {EFFECTS}
    SELECT count(*) FROM changed
"""  # noqa: S608  (constants only)


def settle(db: Database, settlements: Sequence[Settlement], *, node_id: int) -> int:
    """Write what became of at most 1,000 attempts. Returns how many rows it concerned; repeating it is harmless.

    An outcome of an earlier attempt, or of a row that is gone, changes nothing.
    Raises StorageUnavailable: whether it was written is unknown, so settle the same batch again.
    """
    batch = sorted(settlements, key=lambda settlement: settlement.log_id)
    parameters = {
        "node_id": node_id,
        "log_ids": [one.log_id for one in batch],
        "attempts": [one.attempt for one in batch],
        "states": [one.state for one in batch],
        "wamids": [one.wamid for one in batch],
        "error_codes": [one.error_code for one in batch],
        "error_details": [one.error_detail for one in batch],
        "due_in_s": [one.due_in_s for one in batch],
    }
    again = [one.log_id for one in batch if one.state == "retrying"]
    if not again:
        with db.connection() as connection:
            row = connection.execute(_SETTLE, parameters).fetchone()
    else:
        with db.transaction() as transaction:
            transaction.execute(_LOCK_CAMPAIGNS, {"again": again})
            row = transaction.execute(_SETTLE, parameters).fetchone()
    return int(row[0]) if row else 0
