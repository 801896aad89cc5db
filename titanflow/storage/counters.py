"""A campaign's exact counts: read, and proven against the rows."""

from dataclasses import dataclass

from titanflow.storage import alarms
from titanflow.storage.alarms import Alarm
from titanflow.storage.database import Database

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

_DRIFT = f"""
    WITH truth AS (
        SELECT {STATE_OF_CONTACT} AS state, count(*) AS count
        FROM campaigns AS campaign
        JOIN contacts AS contact ON contact.campaign_id = campaign.id
        LEFT JOIN message_logs AS message
            ON message.campaign_id = campaign.id AND message.contact_id = contact.id
        WHERE campaign.id = %(id)s GROUP BY 1
    ), {COUNTED}
    SELECT state, coalesce(truth.count, 0) - coalesce(counted.count, 0)
    FROM truth FULL JOIN counted USING (state)
    WHERE coalesce(truth.count, 0) <> coalesce(counted.count, 0)
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


def heal(db: Database, campaign_id: int) -> dict[str, int]:
    """Recount a campaign from its rows and correct the counters. Returns what was wrong: {} unless there is a bug.

    The recount and the counters are read in one snapshot and the difference is added, so that changes which
    commit meanwhile stay right.
    """
    with db.transaction() as transaction:
        transaction.execute("SET LOCAL statement_timeout = '120s'")
        drift = {str(state): int(delta) for state, delta in transaction.execute(_DRIFT, {"id": campaign_id})}
        if drift:
            transaction.execute(_HEAL, {"campaign_id": campaign_id, **dict.fromkeys(STATES, 0), **drift})
            sentence = f"The counters of campaign {campaign_id} were wrong and have been corrected"
            alarm = Alarm("counter_drift", "campaign", str(campaign_id), sentence, "Report it: it is a bug.")
            alarms.raise_alarm(transaction, alarm)
    return drift
