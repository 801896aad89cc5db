"""Claims for a number whose portfolio has a messaging limit: a place in the budget is taken with the claim.

Two statements in one transaction, sent together: the portfolio's row is locked first, so that the claim itself sees
what the claims before it have counted. Locks are taken in the order portfolio, lease, campaign, messages, counters;
whoever writes down outcomes never locks a portfolio (storage/portfolios).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from titanflow.storage.claims import (
    CANDIDATE,
    CANDIDATE_AGAIN,
    CLAIMED,
    CLAIMED_AGAIN,
    RESULT,
    RESULT_AGAIN,
    Claim,
    Sender,
    claim_parameters,
    exclude_suppressed,
)
from titanflow.storage.database import Database
from titanflow.storage.portfolios import WINDOW

_LOCK = "SELECT FROM portfolios WHERE id = %(portfolio_id)s FOR NO KEY UPDATE"

# Free pass: who counts already (the count is prolonged), and who has written to this number within 24 hours.
# Whoever counted longer ago than the window needs a place like everybody, though the row is still there.
_TAKEN = """
    person AS MATERIALIZED (
        SELECT candidate.id, candidate.phone, conversation.id IS NOT NULL AS may_answer,
               counted.phone IS NOT NULL OR conversation.id IS NOT NULL AS is_free
        FROM candidate
        LEFT JOIN portfolio_people AS counted
            ON counted.portfolio_id = %(portfolio_id)s AND counted.phone = candidate.phone
            AND counted.counted_at > now() - {window}
        LEFT JOIN conversations AS conversation
            ON conversation.phone = candidate.phone AND conversation.number_id = %(number_id)s
            AND conversation.last_inbound_at > now() - interval '23 hours 59 minutes'
        WHERE candidate.suppressed IS NULL AND {unclaimed}
    ), placed AS (
        SELECT id, phone, may_answer FROM person WHERE NOT is_free ORDER BY id
        LIMIT (SELECT CASE WHEN tier_limit IS NOT NULL THEN greatest(tier_limit - used, 0) END
               FROM portfolios WHERE id = %(portfolio_id)s)  -- null: unlimited since
    ), taken AS MATERIALIZED (
        SELECT id, phone, may_answer FROM person WHERE is_free
        UNION ALL
        SELECT id, phone, may_answer FROM placed
    )"""

# clock_timestamp: the transaction may have waited for the lock since now().
_COUNTED = """
    people AS (
        INSERT INTO portfolio_people (portfolio_id, phone, counted_at)
        SELECT %(portfolio_id)s, taken.phone, clock_timestamp()
        FROM claimed JOIN taken ON taken.id = claimed.{id} WHERE NOT taken.may_answer
        ON CONFLICT (portfolio_id, phone) DO UPDATE SET counted_at = EXCLUDED.counted_at
        RETURNING (xmax = 0) AS is_new
    ), used AS (
        UPDATE portfolios SET used = used + (SELECT count(*) FROM people WHERE is_new)
        WHERE id = %(portfolio_id)s AND EXISTS (SELECT FROM people WHERE is_new)
    )"""

_UNCLAIMED = """
    NOT EXISTS (SELECT FROM message_logs AS message
                WHERE message.campaign_id = %(campaign_id)s AND message.contact_id = candidate.id)"""

_TAKEN_NEW = _TAKEN.replace("{unclaimed}", _UNCLAIMED).replace("{window}", WINDOW)
_TAKEN_AGAIN = _TAKEN.replace("{unclaimed}", "true").replace("{window}", WINDOW)

_CLAIM = f"""{CANDIDATE}, {_TAKEN_NEW}, {CLAIMED}, {_COUNTED.replace("{id}", "contact_id")} {RESULT}
    UNION ALL
    SELECT id, NULL, 1, NULL FROM person WHERE id NOT IN (SELECT id FROM taken)
"""  # noqa: S608  (constants only)

# A refused message keeps its place while it waits, so that few come here without one: those of a portfolio that has
# the number since, or whose wait was longer than the window. They are due again later, else they would be read at once.
_CLAIM_AGAIN = f"""{CANDIDATE_AGAIN}, {_TAKEN_AGAIN}, {CLAIMED_AGAIN}, {_COUNTED.replace("{id}", "id")}, postponed AS (
        UPDATE message_logs AS message SET due_at = now() + interval '60 seconds'
        FROM person WHERE message.id = person.id AND person.id NOT IN (SELECT id FROM taken)
    ) {RESULT_AGAIN}
    UNION ALL
    SELECT contact_id, NULL, 0, NULL FROM candidate WHERE suppressed IS NULL AND id NOT IN (SELECT id FROM taken)
"""  # noqa: S608  (constants only)


@dataclass(frozen=True, slots=True)
class Taken:
    """claims: those taken. without_place: contacts that no budget is left for; they may be claimed later."""

    claims: list[Claim]
    without_place: list[int]


def claim_within_budget(
    db: Database,
    contact_ids: Sequence[int],
    *,
    portfolio_id: str,
    campaign_id: int,
    template_id: int,
    sender: Sender,
    again: bool = False,
) -> Taken:
    """Take contacts for sending as `claims.claim` does, as far as the portfolio's budget allows.

    Places and claims are one commit. For messages tried again, those without a place are put off by a minute.
    Raises StorageUnavailable: what was claimed, if anything, will be found in doubt, and stays counted.
    """
    parameters = claim_parameters(contact_ids, campaign_id=campaign_id, template_id=template_id, sender=sender)
    parameters["portfolio_id"] = portfolio_id
    with db.connection() as connection, connection.cursor(row_factory=class_row(Claim)) as cursor:
        with connection.pipeline(), connection.transaction():
            connection.execute(_LOCK, parameters)
            cursor.execute(_CLAIM_AGAIN if again else _CLAIM, parameters)
        rows = cursor.fetchall()
    exclude_suppressed(db, rows, parameters)
    return Taken(
        [row for row in rows if row.log_id is not None],
        [row.contact_id for row in rows if row.log_id is None and row.suppressed is None],
    )
