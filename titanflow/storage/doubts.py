"""Messages in doubt: listed, resolved by an operator's word, sent again by a campaign's policy.

Only the two statements of this file, and a settlement that proves a refusal, ever take a message out of doubt to be
sent again. The earlier attempt moves to message_attempts with the next claim; until then Meta's report on it still
counts, and a late `delivered` stops the new attempt.
"""

from collections.abc import Sequence
from typing import Any, Literal

from psycopg.types.json import Jsonb

from titanflow.storage.campaigns import lock_state, reopen
from titanflow.storage.database import Database
from titanflow.storage.earlier_attempts import SUPPRESSED
from titanflow.storage.effects import EFFECTS
from titanflow.storage.roll_ups import OLD_TIMES, TIMES
from titanflow.storage.rows import fetch_all

Verdict = Literal["failed", "sent", "resend"]
_STATES = {"failed": "failed", "sent": "sent", "resend": "retrying"}

_LIST = """
    SELECT message.id AS log_id, message.contact_id, contact.phone, message.attempt, number.phone_number_id,
           template.name AS template, message.due_at AS since, message.claimed_at, message.incarnation,
           extract(epoch FROM now() - message.due_at)::float8 AS age_seconds, message.error_code,
           message.error_detail, coalesce(lease.epoch <> message.incarnation, true) AS sender_is_gone,
           now() AS now
    FROM message_logs AS message
    JOIN contacts AS contact ON contact.id = message.contact_id
    JOIN phone_numbers AS number ON number.id = message.number_id
    JOIN templates AS template ON template.id = message.template_id
    LEFT JOIN leases AS lease ON lease.kind = 'number' AND lease.resource_id = message.number_id
    WHERE message.campaign_id = %(campaign_id)s AND message.due_at IS NOT NULL AND message.state = 'in_doubt'
      AND message.id > %(after)s
    ORDER BY message.id LIMIT %(limit)s
"""

_MOVED = f"""
    changed AS (
        UPDATE message_logs AS message
        SET state = %(state)s::message_state,
            due_at = CASE WHEN %(state)s = 'retrying' THEN now() END,
            doubted_at = CASE WHEN %(state)s = 'retrying' THEN message.due_at END,
            sent_at = CASE WHEN %(state)s = 'sent' THEN coalesce(message.sent_at, message.claimed_at)
                           ELSE message.sent_at END,
            failed_at = CASE WHEN %(state)s = 'failed' THEN now() ELSE message.failed_at END,
            error_code = CASE WHEN %(state)s = 'failed' THEN %(code)s::integer ELSE message.error_code END,
            error_detail = CASE WHEN %(state)s = 'failed'
                                THEN left(concat_ws('; before: ', %(detail)s::text, message.error_detail), 300)
                                ELSE message.error_detail END
        FROM locked WHERE message.id = locked.id
        RETURNING message.campaign_id, message.contact_id, message.number_id, message.template_id,
                  locked.old_state, message.state AS new_state, locked.old_code, message.error_code AS new_code,
                  false AS newly_failed, {TIMES}
    ), {EFFECTS}
    SELECT count(*) FROM changed
"""  # noqa: S608  (constants only)

_LOCKED = f"""
    SELECT message.id, message.state AS old_state, message.error_code AS old_code, {OLD_TIMES}"""

_RESOLVE = f"""
    WITH locked AS MATERIALIZED (
        {_LOCKED}
        FROM message_logs AS message
        WHERE message.campaign_id = %(campaign_id)s AND message.due_at IS NOT NULL AND message.state = 'in_doubt'
          AND (message.id = ANY(%(log_ids)s::bigint[])
               OR message.due_at < now() - make_interval(hours => %(older_than_hours)s::integer))
        ORDER BY message.id
        FOR UPDATE OF message
    ), {_MOVED}
"""

# never_resend is a null: there is no number of hours that this comparison could be true for.
_RESEND_BY_POLICY = f"""
    WITH campaign AS MATERIALIZED (
        SELECT id, resend_after_hours FROM campaigns
        WHERE state = 'running' AND resend_after_hours IS NOT NULL
        ORDER BY id FOR SHARE
    ), locked AS MATERIALIZED (
        {_LOCKED}
        FROM campaign JOIN message_logs AS message ON message.campaign_id = campaign.id
        WHERE message.due_at < now() - make_interval(hours => campaign.resend_after_hours)
          AND message.state = 'in_doubt' AND NOT {SUPPRESSED}
        ORDER BY message.id LIMIT 1000
        FOR UPDATE OF message
    ), {_MOVED}
"""  # noqa: S608  (constants only)


def page(db: Database, campaign_id: int, *, after: int, limit: int) -> list[dict[str, Any]]:
    """Return messages in doubt by log id, those behind `after`, with what is known of their sender."""
    return fetch_all(db, _LIST, {"campaign_id": campaign_id, "after": after, "limit": limit})


def resolve(
    db: Database,
    campaign_id: int,
    *,
    verdict: Verdict,
    log_ids: Sequence[int],
    older_than_hours: int | None,
    who: str,
    code: int,
    detail: str,
) -> int | None:
    """Carry out an operator's word about doubts, with an entry in audit_log. Returns how many were in doubt.

    code, detail: kept with those that count as failed. `resend` lets a completed campaign run again; None: the
    campaign's state forbids that, or it is closed.
    """
    parameters = {
        "node_id": 0,
        "campaign_id": campaign_id,
        "state": _STATES[verdict],
        "log_ids": list(log_ids),
        "older_than_hours": older_than_hours,
        "code": code,
        "detail": detail,
    }
    with db.transaction() as transaction:
        transaction.execute("SET LOCAL statement_timeout = '120s'")
        state = lock_state(transaction, campaign_id)
        if state == "closed" or (verdict == "resend" and state not in ("running", "paused", "completed")):
            return None
        row = transaction.execute(_RESOLVE, parameters).fetchone()
        count = int(row[0]) if row else 0
        if count:
            told = {
                "as": verdict,
                "count": count,
                "log_ids": list(log_ids)[:1000],
                "older_than_hours": older_than_hours,
            }
            transaction.execute(
                "INSERT INTO audit_log (who, what, target, detail) VALUES (%s, 'doubts.resolved', %s, %s)",
                [who, f"campaign {campaign_id}", Jsonb(told)],
            )
            if verdict == "resend" and state == "completed":
                reopen(transaction, campaign_id, by=who)
    return count


def resend_by_policy(db: Database, *, node_id: int) -> int:
    """Let doubts older than their running campaign's policy allows be sent again. Returns how many, at most 1,000."""
    parameters = {"node_id": node_id, "state": "retrying", "code": None, "detail": None}
    with db.connection() as connection:
        row = connection.execute(_RESEND_BY_POLICY, parameters).fetchone()
    return int(row[0]) if row else 0
