"""Portfolios: how many different people a business may write to in 24 hours, and who counts now.

`used` is always the number of the portfolio's rows in portfolio_people; both change in one transaction, under the
lock of the portfolio's row. Claims take places (storage/budget_claims), this file gives them back, lets them expire,
and counts anew. Nothing here runs for a portfolio without a limit.
"""

from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row

from titanflow.domain import tiers
from titanflow.domain.tiers import Budget
from titanflow.storage import alarms
from titanflow.storage.alarms import Alarm
from titanflow.storage.database import Connection, Database

# A message that leaves is claimed a moment before, and Meta's clock isn't ours.
WINDOW = "interval '24 hours 1 minute'"

# A person counts for messages in these states: it may have reached them, or will be tried again soon. A refused
# message that waits for its next attempt keeps its place; who fails for good gives it back.
COUNTING = "('claimed', 'retrying', 'in_doubt', 'sent', 'delivered', 'read')"

# CTE `portfolio_rechecked` for statements that end in EFFECTS: notes whom an outcome has added or taken away.
# It only appends: the writer holds campaigns' counters by now, and claims lock portfolios before those.
RECHECK = f"""
    portfolio_rechecked AS (
        INSERT INTO portfolio_rechecks (portfolio_id, phone)
        SELECT portfolio.id, contact.phone
        FROM changed
        JOIN phone_numbers AS number ON number.id = changed.number_id
        JOIN portfolios AS portfolio
            ON portfolio.id = coalesce(number.portfolio_id, number.waba_id) AND portfolio.tier_limit IS NOT NULL
        JOIN contacts AS contact ON contact.id = changed.contact_id
        WHERE (changed.old_state IN {COUNTING}) <> (changed.new_state IN {COUNTING})
    )"""  # noqa: S608  (constants only)

_LOCK = "SELECT tier_limit, used FROM portfolios WHERE id = %(portfolio_id)s FOR NO KEY UPDATE"

_NUMBERS = "SELECT id FROM phone_numbers WHERE coalesce(portfolio_id, waba_id) = %(portfolio_id)s"

_SET_TIER = """
    INSERT INTO portfolios (id, tier, tier_limit) VALUES (%(portfolio_id)s, %(tier)s, %(limit)s)
    ON CONFLICT (id) DO UPDATE SET tier = EXCLUDED.tier, tier_limit = EXCLUDED.tier_limit, updated_at = now()
"""

# Templates of the inbox that people got outside of their service windows (storage/outbox): they count as well.
_BY_REPLIES = f"""
    SELECT conversation.phone, max(reply.claimed_at) AS counted_at
    FROM conversations AS conversation
    JOIN inbox_messages AS reply ON reply.conversation_id = conversation.id
    WHERE conversation.number_id IN ({_NUMBERS}) AND reply.direction = 'outbound' AND reply.template_id IS NOT NULL
      AND reply.claimed_at > now() - {WINDOW} AND reply.at > now() - interval '7 days'
      AND reply.state IN ('queued', 'claimed', 'in_doubt', 'sent', 'delivered', 'read')
      AND NOT EXISTS (
          SELECT FROM inbox_messages AS theirs
          WHERE theirs.conversation_id = conversation.id AND theirs.direction = 'inbound'
            AND theirs.at BETWEEN reply.claimed_at - interval '23 hours 59 minutes' AND reply.claimed_at)
"""  # noqa: S608  (constants only)

# Whoever was claimed without a count, while the portfolio had no limit or its senders did not know of it yet.
_RECOUNT = f"""
    WITH reached AS (
        SELECT contact.phone, max(message.claimed_at) AS counted_at
        FROM campaigns AS campaign
        JOIN message_logs AS message ON message.campaign_id = campaign.id
        JOIN contacts AS contact ON contact.id = message.contact_id
        WHERE (campaign.state IN ('running', 'paused') OR campaign.updated_at > now() - {WINDOW})
          AND message.claimed_at > now() - {WINDOW} AND message.state IN {COUNTING}
          AND message.number_id IN ({_NUMBERS})
        GROUP BY contact.phone
        UNION ALL
        {_BY_REPLIES} GROUP BY conversation.phone
    ), counted AS (
        INSERT INTO portfolio_people AS person (portfolio_id, phone, counted_at)
        SELECT %(portfolio_id)s, phone, max(counted_at) FROM reached GROUP BY phone
        ON CONFLICT (portfolio_id, phone) DO UPDATE
        SET counted_at = EXCLUDED.counted_at WHERE person.counted_at < EXCLUDED.counted_at
        RETURNING (xmax = 0) AS is_new
    )
    UPDATE portfolios SET used = used + (SELECT count(*) FROM counted WHERE is_new)
    WHERE id = %(portfolio_id)s
"""  # noqa: S608  (constants only)

_EXPIRE = f"""
    WITH expired AS (
        DELETE FROM portfolio_people
        WHERE (portfolio_id, phone) IN (
            SELECT portfolio_id, phone FROM portfolio_people
            WHERE portfolio_id = %(portfolio_id)s AND counted_at <= now() - {WINDOW}
            ORDER BY counted_at LIMIT %(limit)s)
        RETURNING phone
    ), freed AS (
        UPDATE portfolios SET used = used - (SELECT count(*) FROM expired)
        WHERE id = %(portfolio_id)s AND EXISTS (SELECT FROM expired)
    )
    SELECT count(*) FROM expired
"""  # noqa: S608  (constants only)

# What is true of a person is read from the messages, so that it doesn't matter what exactly happened, how often it was
# noted, or whether another campaign has reached them as well.
_RECHECK = f"""
    WITH noted AS (
        DELETE FROM portfolio_rechecks
        WHERE id IN (SELECT id FROM portfolio_rechecks WHERE portfolio_id = %(portfolio_id)s
                     ORDER BY id LIMIT %(limit)s)
        RETURNING phone
    ), truth AS MATERIALIZED (
        SELECT one.phone, greatest((
            SELECT max(message.claimed_at)
            FROM contacts AS contact
            JOIN message_logs AS message
                ON message.campaign_id = contact.campaign_id AND message.contact_id = contact.id
            WHERE contact.phone = one.phone AND message.claimed_at > now() - {WINDOW}
              AND message.state IN {COUNTING} AND message.number_id IN ({_NUMBERS})
        ), (
            SELECT reached.counted_at FROM ({_BY_REPLIES} AND conversation.phone = one.phone
                                            GROUP BY conversation.phone) AS reached
        )) AS counted_at
        FROM (SELECT DISTINCT phone FROM noted) AS one
    ), given_back AS (
        DELETE FROM portfolio_people AS person USING truth
        WHERE person.portfolio_id = %(portfolio_id)s AND person.phone = truth.phone AND truth.counted_at IS NULL
        RETURNING person.phone
    ), counted AS (
        INSERT INTO portfolio_people (portfolio_id, phone, counted_at)
        SELECT %(portfolio_id)s, phone, counted_at FROM truth WHERE counted_at IS NOT NULL
        ON CONFLICT (portfolio_id, phone) DO UPDATE SET counted_at = EXCLUDED.counted_at
        RETURNING (xmax = 0) AS is_new
    ), moved AS (
        UPDATE portfolios
        SET used = used - (SELECT count(*) FROM given_back) + (SELECT count(*) FROM counted WHERE is_new)
        WHERE id = %(portfolio_id)s
    )
    SELECT count(*) FROM given_back
"""  # noqa: S608  (constants only)

_WORK = f"""
    SELECT id AS portfolio_id,
           EXISTS (SELECT FROM portfolio_people AS person WHERE person.portfolio_id = portfolio.id
                   AND person.counted_at <= now() - {WINDOW}) AS expire,
           EXISTS (SELECT FROM portfolio_rechecks AS noted WHERE noted.portfolio_id = portfolio.id) AS recheck,
           coalesce(recount_at <= now(), false) AS recount
    FROM portfolios AS portfolio WHERE tier_limit IS NOT NULL OR used > 0 ORDER BY id
"""  # noqa: S608  (constants only)

_BUDGETS = f"""
    SELECT portfolio.id AS portfolio_id, portfolio.tier_limit AS limit, portfolio.used,
           (SELECT min(counted_at) + {WINDOW} FROM portfolio_people AS person
            WHERE person.portfolio_id = portfolio.id) AS next_free_at
    FROM portfolios AS portfolio WHERE portfolio.tier_limit IS NOT NULL
"""  # noqa: S608  (constants only)

_OF_ONE = _BUDGETS + " AND portfolio.id = %(portfolio_id)s"

_OF_CAMPAIGN = (
    _BUDGETS  # noqa: S608  (constants only)
    + " AND portfolio.id IN (SELECT coalesce(number.portfolio_id, number.waba_id) FROM campaign_numbers AS link"
    " JOIN phone_numbers AS number ON number.id = link.number_id WHERE link.campaign_id = %(campaign_id)s)"
    " ORDER BY portfolio.id"
)

# How soon after a limit came into force every sender surely knows of it: a round of the Reconciler, and a claim.
_SENDERS_KNOW_S = 60
_BATCH = 5_000


def set_tier(db: Database, portfolio_id: str, tier: str | int) -> int | None:
    """Keep the limit that Meta reports for a portfolio, in any spelling. Returns the limit; None is unlimited.

    "Not set" leaves what is known, and means the smallest limit if nothing is. When a limit comes into force, the
    people reached in the last 24 hours are counted. Nudge the Reconciler afterwards: a sender learns of a change
    within its next round. Raises ValueError for what is no tier.
    """
    limit = tiers.limit_of(tier)
    with db.transaction() as transaction:
        known = transaction.execute(_LOCK, {"portfolio_id": portfolio_id}).fetchone()
        if limit == "not_set":
            if known is not None:
                return None if known[0] is None else int(known[0])
            limit = tiers.SMALLEST
        parameters = {"portfolio_id": portfolio_id, "tier": tiers.spelling(limit), "limit": limit}
        if known is not None and known[0] == limit:
            return limit
        transaction.execute(_SET_TIER, parameters)
        if limit is not None and (known is None or known[0] is None):
            _recount(transaction, portfolio_id)
            transaction.execute(
                "UPDATE portfolios SET recount_at = now() + make_interval(secs => %s) WHERE id = %s",
                [_SENDERS_KNOW_S, portfolio_id],
            )
    return limit


def assign(db: Database, waba_id: str, portfolio_id: str) -> None:
    """Keep that an account's numbers belong to a portfolio. Its budget is counted from the messages again."""
    with db.transaction() as transaction:
        moved = transaction.execute(
            "UPDATE phone_numbers SET portfolio_id = %(portfolio_id)s, updated_at = now()"
            " WHERE waba_id = %(waba_id)s AND portfolio_id IS DISTINCT FROM %(portfolio_id)s",
            {"waba_id": waba_id, "portfolio_id": portfolio_id},
        ).rowcount
        if moved:
            transaction.execute(
                "UPDATE portfolios SET recount_at = now() WHERE id = %s AND tier_limit IS NOT NULL", [portfolio_id]
            )


def budget(db: Database, portfolio_id: str) -> Budget | None:
    """Return a portfolio's budget at this moment; None if it has no limit."""
    with db.connection() as connection, connection.cursor(row_factory=class_row(Budget)) as cursor:
        return cursor.execute(_OF_ONE, {"portfolio_id": portfolio_id}).fetchone()


def budgets_of_campaign(db: Database, campaign_id: int) -> list[Budget]:
    """Return the budgets that a campaign's numbers draw on; [] if none has a limit."""
    with db.connection() as connection, connection.cursor(row_factory=class_row(Budget)) as cursor:
        return cursor.execute(_OF_CAMPAIGN, {"campaign_id": campaign_id}).fetchall()


@dataclass(frozen=True, slots=True)
class _Work:
    portfolio_id: str
    expire: bool
    recheck: bool
    recount: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """What one round of keeping did. given_back: places of people whom nothing reached; expired: after 24 hours."""

    given_back: int
    expired: int


def keep(db: Database) -> Kept:
    """Give places back, let them expire, and count anew where that is due: a bounded batch a portfolio.

    Costs one look at the portfolios when there is nothing to do. Any number of nodes may do it at once.
    """
    with db.connection() as connection, connection.cursor(row_factory=class_row(_Work)) as cursor:
        work = cursor.execute(_WORK).fetchall()
    given_back = expired = 0
    for one in work:
        if not (one.expire or one.recheck or one.recount):
            continue
        parameters = {"portfolio_id": one.portfolio_id, "limit": _BATCH}
        with db.transaction() as transaction:
            transaction.execute(_LOCK, parameters)  # first, and alone: what follows must see what claims have written
            if one.recount:
                _recount(transaction, one.portfolio_id)
                transaction.execute("UPDATE portfolios SET recount_at = NULL WHERE id = %(portfolio_id)s", parameters)
            if one.recheck:
                given_back += _count(transaction, _RECHECK, parameters)
            if one.expire:
                expired += _count(transaction, _EXPIRE, parameters)
    return Kept(given_back, expired)


def drift(db: Database) -> dict[str, int]:
    """Return the portfolios whose `used` isn't their number of people, and by how much: {} unless there is a bug."""
    with db.connection() as connection:
        rows = connection.execute(
            "SELECT portfolio.id, portfolio.used - count(person.phone) FROM portfolios AS portfolio"
            " LEFT JOIN portfolio_people AS person ON person.portfolio_id = portfolio.id"
            " GROUP BY portfolio.id HAVING portfolio.used <> count(person.phone)"
        ).fetchall()
    return {str(portfolio_id): int(difference) for portfolio_id, difference in rows}


def heal(db: Database) -> dict[str, int]:
    """Correct budgets that are not their number of people, with an alarm. Returns them: {} unless there is a bug."""
    wrong = drift(db)
    for portfolio_id in wrong:
        with db.transaction() as transaction:
            transaction.execute(_LOCK, {"portfolio_id": portfolio_id})
            transaction.execute(
                "UPDATE portfolios SET used ="
                " (SELECT count(*) FROM portfolio_people WHERE portfolio_id = %(id)s) WHERE id = %(id)s",
                {"id": portfolio_id},
            )
            sentence = f"The daily budget of portfolio {portfolio_id} was wrong and has been corrected"
            alarm = Alarm("budget_drift", "portfolio", portfolio_id, sentence, "Report it: it is a bug.")
            alarms.raise_alarm(transaction, alarm)
    return wrong


def _recount(transaction: Connection, portfolio_id: str) -> None:
    transaction.execute("SET LOCAL statement_timeout = '120s'")
    transaction.execute(_RECOUNT, {"portfolio_id": portfolio_id})


def _count(transaction: Connection, statement: Any, parameters: dict[str, Any]) -> int:
    row = transaction.execute(statement, parameters).fetchone()
    return int(row[0]) if row else 0
