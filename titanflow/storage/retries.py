"""Failed messages that an operator lets be tried again: the same row, as a new attempt with its next claim."""

from collections.abc import Mapping
from datetime import datetime
from typing import LiteralString

from titanflow.domain.retries import UNKNOWN
from titanflow.storage.campaigns import lock_state, reopen
from titanflow.storage.database import Database
from titanflow.storage.effects import EFFECTS
from titanflow.storage.roll_ups import OLD_TIMES, TIMES

_BATCH = 5_000

# Never by absence: only a row whose recorded outcome is `failed`. failed_at stays, so that a late report of the same
# failure is known as old news (storage/statuses). Whoever is suppressed for a time waits until that is over.
_TEXT = """
    WITH locked AS MATERIALIZED (
        SELECT message.id, message.state AS old_state, message.error_code AS old_code, {old_times},
               greatest(now(), message.failed_at + make_interval(secs => rule.wait_s), suppression.expires_at) AS due_at
        FROM unnest(%(codes)s::integer[], %(waits_s)s::float8[]) AS rule (code, wait_s)
        JOIN message_logs AS message ON {match}
        JOIN contacts AS contact ON contact.id = message.contact_id
        LEFT JOIN suppressions AS suppression ON suppression.phone = contact.phone AND suppression.expires_at > now()
        WHERE message.campaign_id = %(campaign_id)s AND message.state = 'failed' AND contact.phone NOT LIKE 'erased:%%'
        ORDER BY message.id LIMIT %(limit)s
        FOR UPDATE OF message
    ), changed AS (
        UPDATE message_logs AS message
        SET state = 'retrying', due_at = locked.due_at
        FROM locked WHERE message.id = locked.id
        RETURNING message.campaign_id, message.contact_id, message.number_id, message.template_id, message.due_at,
                  locked.old_state, message.state AS new_state, locked.old_code, message.error_code AS new_code,
                  false AS newly_failed, {times}
    ), {effects}
    SELECT count(*), max(due_at) FROM changed
"""
_BY_CODE = _TEXT.format(match="message.error_code = rule.code", effects=EFFECTS, old_times=OLD_TIMES, times=TIMES)
_WITHOUT_CODE = _TEXT.format(
    match="message.error_code IS NULL AND rule.code IS NULL", effects=EFFECTS, old_times=OLD_TIMES, times=TIMES
)


def retry(
    db: Database, campaign_id: int, waits_s: Mapping[str, float], *, by: str
) -> tuple[int, datetime | None] | None:
    """Let a campaign's failures with these codes be tried again, not before so many seconds after they failed.

    A completed campaign runs again. Returns how many, and when the last of them is due; None: the campaign is neither
    completed nor running nor paused. In batches, so that a pause never waits long; repeating it finds nobody twice.
    """
    total, last_due_at = 0, None
    known = {int(code): wait_s for code, wait_s in waits_s.items() if code != UNKNOWN}
    work: list[tuple[LiteralString, list[int | None], list[float]]] = []
    if known:
        work.append((_BY_CODE, list(known), list(known.values())))
    if UNKNOWN in waits_s:
        work.append((_WITHOUT_CODE, [None], [waits_s[UNKNOWN]]))
    for statement, codes, waits in work:
        parameters = {
            "node_id": 0, "campaign_id": campaign_id, "codes": codes, "waits_s": waits, "limit": _BATCH,
        }  # fmt: skip
        count = _BATCH
        while count == _BATCH:
            with db.transaction() as transaction:
                transaction.execute("SET LOCAL statement_timeout = '120s'")
                state = lock_state(transaction, campaign_id)
                if state not in ("completed", "running", "paused"):
                    return None
                row = transaction.execute(statement, parameters).fetchone()
                assert row is not None
                count = int(row[0])
                if count and state == "completed":
                    reopen(transaction, campaign_id, by=by)
            total += count
            last_due_at = max(filter(None, (last_due_at, row[1])), default=None)
    return total, last_due_at
