"""The end of a campaign, proven from the rows."""

from titanflow.storage.campaigns import lock_state
from titanflow.storage.database import Database
from titanflow.storage.earlier_attempts import SUPPRESSED

_WAITS_FOR_DOUBTS = f"""
    SELECT EXISTS (
        SELECT FROM campaigns AS campaign JOIN message_logs AS message ON message.campaign_id = campaign.id
        WHERE campaign.id = %(campaign_id)s AND campaign.resend_after_hours IS NOT NULL
          AND message.due_at IS NOT NULL AND message.state = 'in_doubt' AND NOT {SUPPRESSED})
"""  # noqa: S608  (constants only)

_COMPLETE = f"""
    UPDATE campaigns AS campaign SET state = 'completed', state_by = 'engine', state_reason = %(reason)s,
        completed_at = now(), updated_at = now(), window_turns_at = NULL
    WHERE id = %(campaign_id)s AND state = 'running'
      AND NOT EXISTS (SELECT FROM message_logs AS message
                      WHERE message.campaign_id = %(campaign_id)s AND message.due_at IS NOT NULL
                        AND (message.state IN ('claimed', 'retrying')
                             OR (message.state = 'in_doubt' AND campaign.resend_after_hours IS NOT NULL
                                 AND NOT {SUPPRESSED})))
      AND NOT EXISTS (SELECT FROM contacts AS contact WHERE contact.campaign_id = %(campaign_id)s
                      AND contact.excluded_reason IS NULL
                      AND NOT EXISTS (SELECT FROM message_logs AS message
                                      WHERE message.campaign_id = %(campaign_id)s
                                        AND message.contact_id = contact.id))
    RETURNING id
"""  # noqa: S608  (constants only)


def waits_for_doubts(db: Database, campaign_id: int) -> bool:
    """True if messages in doubt will be sent again by the campaign's policy: it can't complete before."""
    with db.connection() as connection:
        row = connection.execute(_WAITS_FOR_DOUBTS, {"campaign_id": campaign_id}).fetchone()
    return row is not None and bool(row[0])


def complete(db: Database, campaign_id: int, *, reason: str | None) -> bool:
    """Complete a campaign if nobody is pending, claimed, retrying or to be sent again. Returns if it did."""
    with db.transaction() as transaction:
        transaction.execute("SET LOCAL statement_timeout = '120s'")
        # A statement of its own: the proof's snapshot must be younger than any retry that made somebody wait again.
        if lock_state(transaction, campaign_id) != "running":
            return False
        parameters = {"campaign_id": campaign_id, "reason": reason}
        return transaction.execute(_COMPLETE, parameters).fetchone() is not None
