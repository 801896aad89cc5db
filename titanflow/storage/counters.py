"""A campaign's exact counts: read, and proven against the rows."""

from dataclasses import dataclass

from titanflow.storage import alarms
from titanflow.storage.alarms import Alarm
from titanflow.storage.database import Connection, Database
from titanflow.storage.prices import HEAL_PRICES
from titanflow.storage.roll_ups import HEAL_FAILURES, HEAL_HOURLY, HEAL_REPLY_TIMES

STATES = (
    "pending",
    "claimed",
    "retrying",
    "in_doubt",
    "excluded",
    "cancelled",
    "sent",
    "delivered",
    "read",
    "failed",
)


def shard_of(number_id: int) -> int:
    """Return the shard of the counters (their column node_id) that a number's sender writes to.

    Whoever counts keeps the row locked until its commit is on the disk. With one row a node, forty numbers of a
    campaign waited for each other at every claim. The node's own id is the shard of its webhooks, 0 that of services.
    """
    return -number_id


_READ = """
    SELECT sum(pending)::bigint, sum(claimed)::bigint, sum(retrying)::bigint, sum(in_doubt)::bigint,
           sum(excluded)::bigint, sum(cancelled)::bigint, sum(sent)::bigint, sum(delivered)::bigint,
           sum(read)::bigint, sum(failed)::bigint
    FROM campaign_counters WHERE campaign_id = %s
"""

# A contact's state, from the rows alone; needs campaign, contact and message (its log, if any) in FROM.
STATE_OF_CONTACT = """
    coalesce(message.state::text, CASE WHEN contact.excluded_reason IS NOT NULL THEN 'excluded'
        WHEN campaign.state = 'cancelled' THEN 'cancelled' ELSE 'pending' END)"""

# CTE `counted` (state, count): what the counters say of campaign %(id)s.
COUNTED = """
    counted AS (
        SELECT state, sum(count)::bigint AS count
        FROM campaign_counters AS counter, LATERAL (VALUES
            ('pending', counter.pending), ('claimed', counter.claimed), ('retrying', counter.retrying),
            ('in_doubt', counter.in_doubt), ('excluded', counter.excluded), ('cancelled', counter.cancelled),
            ('sent', counter.sent), ('delivered', counter.delivered), ('read', counter.read),
            ('failed', counter.failed)) AS one (state, count)
        WHERE counter.campaign_id = %(id)s GROUP BY state
    )"""

# CTE `recounted` (state, count): the truth of campaign %(id)s, from its rows.
RECOUNTED = f"""
    recounted AS (
        SELECT {STATE_OF_CONTACT} AS state, count(*) AS count
        FROM campaigns AS campaign
        JOIN contacts AS contact ON contact.campaign_id = campaign.id
        LEFT JOIN message_logs AS message
            ON message.campaign_id = campaign.id AND message.contact_id = contact.id
        WHERE campaign.id = %(id)s GROUP BY 1
    )"""  # noqa: S608  (constants only)

_DRIFT = f"""
    WITH {RECOUNTED}, {COUNTED}
    SELECT state, coalesce(recounted.count, 0) - coalesce(counted.count, 0)
    FROM recounted FULL JOIN counted USING (state)
    WHERE coalesce(recounted.count, 0) <> coalesce(counted.count, 0)
"""  # noqa: S608  (constants only)

# CTE `reasons_drift` (state, reason, delta): what the reasons of campaign %(id)s lack. Whoever was excluded
# while a retry waited, and was reached by the attempt before after all, keeps a reason that no longer counts.
REASONS_DRIFT = """
    reasons_drift AS (
        SELECT state, reason, coalesce(recounted.count, 0) - coalesce(counted.count, 0) AS delta
        FROM (
            SELECT 'failed'::message_state AS state, coalesce(error_code::text, 'unknown') AS reason, count(*) AS count
            FROM message_logs WHERE campaign_id = %(id)s AND state = 'failed' GROUP BY 2
            UNION ALL
            SELECT 'excluded', excluded_reason, count(*)
            FROM contacts AS contact WHERE campaign_id = %(id)s AND excluded_reason IS NOT NULL
              AND NOT EXISTS (SELECT FROM message_logs AS message WHERE message.campaign_id = %(id)s
                              AND message.contact_id = contact.id AND message.state <> 'excluded')
            GROUP BY 2
        ) AS recounted
        FULL JOIN (SELECT state, reason, sum(count)::bigint AS count FROM campaign_reasons
                   WHERE campaign_id = %(id)s GROUP BY state, reason) AS counted USING (state, reason)
        WHERE coalesce(recounted.count, 0) <> coalesce(counted.count, 0)
    )"""

_HEAL_REASONS = f"""
    WITH {REASONS_DRIFT}, healed AS (
        INSERT INTO campaign_reasons AS counter (campaign_id, node_id, state, reason, count)
        SELECT %(id)s, 0, state, reason, delta FROM reasons_drift ORDER BY state, reason
        ON CONFLICT (campaign_id, node_id, state, reason) DO UPDATE SET count = counter.count + EXCLUDED.count
    )
    SELECT state || ': ' || reason, delta FROM reasons_drift
"""  # noqa: S608  (constants only)

_HEAL = """
    INSERT INTO campaign_counters AS counter
        (campaign_id, node_id, pending, claimed, retrying, in_doubt, excluded, cancelled, sent, delivered, read, failed)
    VALUES (%(campaign_id)s, 0, %(pending)s, %(claimed)s, %(retrying)s, %(in_doubt)s, %(excluded)s, %(cancelled)s,
            %(sent)s, %(delivered)s, %(read)s, %(failed)s)
    ON CONFLICT (campaign_id, node_id) DO UPDATE
    SET pending = counter.pending + EXCLUDED.pending, claimed = counter.claimed + EXCLUDED.claimed,
        retrying = counter.retrying + EXCLUDED.retrying, in_doubt = counter.in_doubt + EXCLUDED.in_doubt,
        excluded = counter.excluded + EXCLUDED.excluded, cancelled = counter.cancelled + EXCLUDED.cancelled,
        sent = counter.sent + EXCLUDED.sent, delivered = counter.delivered + EXCLUDED.delivered,
        read = counter.read + EXCLUDED.read, failed = counter.failed + EXCLUDED.failed
"""


_ROLL_UPS = (
    ("stats_hourly", HEAL_HOURLY),
    ("stats_failures", HEAL_FAILURES),
    ("reply_times", HEAL_REPLY_TIMES),
    ("stats_pricing", HEAL_PRICES),
)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many contacts are in which state. `total` is their sum, by definition of the books."""

    by_state: dict[str, int]

    @property
    def total(self) -> int:
        """The audience."""
        return sum(self.by_state.values())

    @property
    def unfinished(self) -> int:
        """Those that will still be sent to, or are on their way."""
        return sum(self.by_state[state] for state in ("pending", "claimed", "retrying"))


def read(db: Database, campaign_id: int) -> Counts:
    """Return the counts of a campaign: one row a node, summed."""
    with db.connection() as connection:
        row = connection.execute(_READ, [campaign_id]).fetchone()
    assert row is not None
    return Counts({state: int(count or 0) for state, count in zip(STATES, row, strict=True)})


# Beside the row's own lock, which a pause must not wait for.
_CLOSING_LOCK = 771303


def closing(transaction: Connection, campaign_id: int) -> None:
    """Wait for a recount under way, and let none begin until the transaction ends: the campaign is being closed."""
    transaction.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_CLOSING_LOCK, campaign_id])


def _is_open(transaction: Connection, campaign_id: int) -> bool:
    transaction.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", [_CLOSING_LOCK, campaign_id])
    row = transaction.execute("SELECT closed_at IS NULL FROM campaigns WHERE id = %s", [campaign_id]).fetchone()
    return row is not None and bool(row[0])


def heal(db: Database, campaign_id: int, *, roll_ups: bool = True) -> dict[str, int]:
    """Recount a campaign from its rows and correct counters, reasons and roll-ups; never one that is closed.

    Returns what was wrong, {} unless there is a bug: what states and reasons ("failed: 131026") lacked, and by how many
    messages roll-ups differed. Each recount and its counters are read in one snapshot and the difference is added, so
    that changes which commit meanwhile stay right. roll_ups: those too, which takes several times as long.
    """
    campaign = {"id": campaign_id}
    with db.transaction() as transaction:
        transaction.execute("SET LOCAL statement_timeout = '120s'")
        if not _is_open(transaction, campaign_id):  # its rows are being deleted: the counters are all there is
            return {}
        drift = {str(state): int(delta) for state, delta in transaction.execute(_DRIFT, campaign)}
        if drift:
            transaction.execute(_HEAL, {"campaign_id": campaign_id, **dict.fromkeys(STATES, 0), **drift})
        drift |= {str(reason): int(delta) for reason, delta in transaction.execute(_HEAL_REASONS, campaign)}
        for table, statement in _ROLL_UPS if roll_ups else ():
            row = transaction.execute(statement, campaign).fetchone()
            if row and row[0]:
                drift[table] = int(row[0])
        if drift:
            sentence = f"The counters of campaign {campaign_id} were wrong and have been corrected"
            alarm = Alarm("counter_drift", "campaign", str(campaign_id), sentence, "Report it: it is a bug.")
            alarms.raise_alarm(transaction, alarm)
    return drift
