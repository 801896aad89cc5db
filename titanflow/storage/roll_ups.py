"""stats_hourly and stats_failures: message_logs grouped by what happened in which quarter of an hour.

Changed in the transaction that changes the rows, by the rows' own times, so that every figure of every quarter can be
recounted from the rows. A person counts once: what a further attempt takes back is taken back in the quarter in which
it was counted. docs/decisions/0018-roll-ups.md says why quarters. Those of replies: storage/replies.
"""

from typing import LiteralString

from titanflow.domain.replies import WITHIN_S


def _quarter(at: LiteralString) -> LiteralString:
    return f"date_bin('15 minutes', {at}, 'epoch')"


# What CTE `locked` must have of message_logs AS message, and what `changed` returns of both (storage/effects).
OLD_TIMES = """
    message.sent_at AS old_sent_at, message.delivered_at AS old_delivered_at, message.read_at AS old_read_at,
    message.failed_at AS old_failed_at"""
TIMES = """
    message.sent_at, message.delivered_at, message.read_at, message.failed_at,
    locked.old_sent_at, locked.old_delivered_at, locked.old_read_at, locked.old_failed_at"""

# Needs a CTE `event` (campaign_id, hour, number_id, template_id, sent, delivered, read, failed, code): what to add, or
# to take back. Rows are locked in order; and PostgreSQL runs CTEs that nothing reads last to first: keep it behind
# counters and reasons, everywhere.
ROLLED_UP = """
    rolled_up AS (
        INSERT INTO stats_hourly AS roll_up (campaign_id, hour, number_id, template_id, sent, delivered, read, failed)
        SELECT campaign_id, hour, number_id, template_id, sum(sent), sum(delivered), sum(read), sum(failed)
        FROM event GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (campaign_id, hour, number_id, template_id) DO UPDATE
        SET sent = roll_up.sent + EXCLUDED.sent, delivered = roll_up.delivered + EXCLUDED.delivered,
            read = roll_up.read + EXCLUDED.read, failed = roll_up.failed + EXCLUDED.failed
    ), failures_rolled_up AS (
        INSERT INTO stats_failures AS roll_up (campaign_id, hour, code, count)
        SELECT campaign_id, hour, coalesce(code::text, 'unknown'), sum(failed)
        FROM event WHERE failed <> 0 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (campaign_id, hour, code) DO UPDATE SET count = roll_up.count + EXCLUDED.count
    )"""


def _moves(figures: LiteralString, *, old: LiteralString, new: LiteralString) -> LiteralString:
    """What a figure gains and loses in which quarter, where that differs. old, new: when it was, is counted; or null.

    A time becomes an earlier one when Meta's reports come in another order: mostly within the same quarter.
    """
    was, now = _quarter(old), _quarter(new)
    row = "SELECT campaign_id, {hour} AS hour, number_id, template_id, {figures}"
    gain, loss = row.replace("{hour}", now), row.replace("{hour}", was)
    plus, minus = figures.replace("{n}", "1"), figures.replace("{n}", "-1").replace("new_code", "old_code")
    return f"""
        {gain.replace("{figures}", plus)} FROM changed WHERE {new} IS NOT NULL AND {was} IS DISTINCT FROM {now}
        UNION ALL
        {loss.replace("{figures}", minus)} FROM changed WHERE {old} IS NOT NULL AND {was} IS DISTINCT FROM {now}"""


# The events of CTE `changed` (storage/effects). A failure's code is settled when it enters `failed`.
_EVENTS = " UNION ALL ".join(
    (
        _moves(
            "{n} AS sent, 0 AS delivered, 0 AS read, 0 AS failed, NULL::integer AS code",
            old="old_sent_at",
            new="sent_at",
        ),
        _moves(
            "0, {n}, 0, 0, NULL",
            old="CASE WHEN old_state IN ('delivered', 'read') THEN old_delivered_at END",
            new="CASE WHEN new_state IN ('delivered', 'read') THEN delivered_at END",
        ),
        _moves(
            "0, 0, {n}, 0, NULL",
            old="CASE WHEN old_state = 'read' THEN old_read_at END",
            new="CASE WHEN new_state = 'read' THEN read_at END",
        ),
        _moves(
            "0, 0, 0, {n}, new_code",
            old="CASE WHEN old_state = 'failed' THEN old_failed_at END",
            new="CASE WHEN new_state = 'failed' THEN failed_at END",
        ),
    )
)
EVENT = f"event AS MATERIALIZED ({_EVENTS})"

# The events of rows of message_logs in CTE `{rows}`, those that are `failed` again.
_FAILED_AGAIN = """
    event AS (
        SELECT campaign_id, date_bin('15 minutes', failed_at, 'epoch') AS hour, number_id, template_id, 0 AS sent,
               0 AS delivered, 0 AS read, 1 AS failed, error_code AS code
        FROM {rows} WHERE state = 'failed'
    )"""
FAILED_AGAIN_IN_SETTLED = _FAILED_AGAIN.replace("{rows}", "settled")
FAILED_AGAIN_IN_WITHDRAWN = _FAILED_AGAIN.replace("{rows}", "withdrawn")

# What the next attempt takes back of the one before, from CTE `candidate` and those of it in `taken`.
SENT_AGAIN = f"""
    taken_back AS (
        INSERT INTO stats_hourly AS roll_up (campaign_id, hour, number_id, template_id, sent)
        SELECT %(campaign_id)s, {_quarter("sent_at")}, number_id, template_id, -count(*)
        FROM candidate JOIN taken USING (id) WHERE sent_at IS NOT NULL GROUP BY 2, 3, 4 ORDER BY 2, 3, 4
        ON CONFLICT (campaign_id, hour, number_id, template_id) DO UPDATE SET sent = roll_up.sent + EXCLUDED.sent
    )"""  # noqa: S608  (constants only)

# The rows' own account of themselves, for a recount of campaign %(id)s. replies has a row for each message answered.
_TRUTH = f"""
    SELECT {_quarter("at")} AS hour, number_id, template_id, sum(one.sent)::bigint AS sent,
           sum(one.delivered)::bigint AS delivered, sum(one.read)::bigint AS read, sum(one.failed)::bigint AS failed,
           0::bigint AS replied
    FROM message_logs AS message, LATERAL (VALUES
        (message.sent_at, 1, 0, 0, 0),
        (CASE WHEN message.state IN ('delivered', 'read') THEN message.delivered_at END, 0, 1, 0, 0),
        (CASE WHEN message.state = 'read' THEN message.read_at END, 0, 0, 1, 0),
        (CASE WHEN message.state = 'failed' THEN message.failed_at END, 0, 0, 0, 1)
    ) AS one (at, sent, delivered, read, failed)
    WHERE message.campaign_id = %(id)s AND at IS NOT NULL GROUP BY 1, 2, 3
    UNION ALL
    SELECT {_quarter("at")}, number_id, template_id, 0, 0, 0, 0, count(*)
    FROM replies WHERE campaign_id = %(id)s GROUP BY 1, 2, 3
"""  # noqa: S608  (constants only)

# CTE `hourly_drift`: what rows of stats_hourly lack, in one snapshot.
HOURLY_DRIFT = f"""
    hourly_drift AS (
        SELECT hour, number_id, template_id, sum(sent)::bigint AS sent, sum(delivered)::bigint AS delivered,
               sum(read)::bigint AS read, sum(failed)::bigint AS failed, sum(replied)::bigint AS replied
        FROM (
            {_TRUTH}
            UNION ALL
            SELECT hour, number_id, template_id, -sent, -delivered, -read, -failed, -replied
            FROM stats_hourly WHERE campaign_id = %(id)s
        ) AS one GROUP BY 1, 2, 3
        HAVING (sum(sent), sum(delivered), sum(read), sum(failed), sum(replied)) <> (0, 0, 0, 0, 0)
    )"""  # noqa: S608  (constants only)

HOURLY_AMOUNT = "coalesce(sum(abs(sent) + abs(delivered) + abs(read) + abs(failed) + abs(replied)), 0)::bigint"

HEAL_HOURLY = f"""
    WITH {HOURLY_DRIFT}, healed AS (
        INSERT INTO stats_hourly AS roll_up
            (campaign_id, hour, number_id, template_id, sent, delivered, read, failed, replied)
        SELECT %(id)s, hour, number_id, template_id, sent, delivered, read, failed, replied
        FROM hourly_drift ORDER BY 2, 3, 4
        ON CONFLICT (campaign_id, hour, number_id, template_id) DO UPDATE
        SET sent = roll_up.sent + EXCLUDED.sent, delivered = roll_up.delivered + EXCLUDED.delivered,
            read = roll_up.read + EXCLUDED.read, failed = roll_up.failed + EXCLUDED.failed,
            replied = roll_up.replied + EXCLUDED.replied
    )
    SELECT {HOURLY_AMOUNT} FROM hourly_drift
"""  # noqa: S608  (constants only)

_WITHIN_S = f"ARRAY[{', '.join(str(bound) for bound in WITHIN_S)}]"

# CTE `reply_times_drift`: the same for how fast people answered.
REPLY_TIMES_DRIFT = f"""
    reply_times_drift AS (
        SELECT hour, number_id, template_id, within_s, sum(replied)::bigint AS replied, sum(seconds)::bigint AS seconds
        FROM (
            SELECT {_quarter("at")} AS hour, number_id, template_id,
                   (SELECT min(bound) FROM unnest({_WITHIN_S}) AS bound WHERE bound >= seconds) AS within_s,
                   1 AS replied, seconds::bigint AS seconds
            FROM replies WHERE campaign_id = %(id)s
            UNION ALL
            SELECT hour, number_id, template_id, within_s, -replied, -seconds
            FROM reply_times WHERE campaign_id = %(id)s
        ) AS one GROUP BY 1, 2, 3, 4
        HAVING (sum(replied), sum(seconds)) <> (0, 0)
    )"""  # noqa: S608  (constants only)

REPLY_TIMES_AMOUNT = "coalesce(sum(greatest(abs(replied), 1)), 0)::bigint"

HEAL_REPLY_TIMES = f"""
    WITH {REPLY_TIMES_DRIFT}, healed AS (
        INSERT INTO reply_times AS roll_up (campaign_id, hour, number_id, template_id, within_s, replied, seconds)
        SELECT %(id)s, hour, number_id, template_id, within_s, replied, seconds
        FROM reply_times_drift ORDER BY 2, 3, 4, 5
        ON CONFLICT (campaign_id, hour, number_id, template_id, within_s) DO UPDATE
        SET replied = roll_up.replied + EXCLUDED.replied, seconds = roll_up.seconds + EXCLUDED.seconds
    )
    SELECT {REPLY_TIMES_AMOUNT} FROM reply_times_drift
"""  # noqa: S608  (constants only)

FAILURES_DRIFT = f"""
    failures_drift AS (
        SELECT hour, code, coalesce(truth.count, 0) - coalesce(counted.count, 0) AS delta
        FROM (SELECT {_quarter("failed_at")} AS hour, coalesce(error_code::text, 'unknown') AS code,
                     count(*) AS count
              FROM message_logs WHERE campaign_id = %(id)s AND state = 'failed' GROUP BY 1, 2) AS truth
        FULL JOIN (SELECT hour, code, count FROM stats_failures WHERE campaign_id = %(id)s) AS counted
            USING (hour, code)
        WHERE coalesce(truth.count, 0) <> coalesce(counted.count, 0)
    )"""  # noqa: S608  (constants only)

HEAL_FAILURES = f"""
    WITH {FAILURES_DRIFT}, healed AS (
        INSERT INTO stats_failures AS roll_up (campaign_id, hour, code, count)
        SELECT %(id)s, hour, code, delta FROM failures_drift ORDER BY hour, code
        ON CONFLICT (campaign_id, hour, code) DO UPDATE SET count = roll_up.count + EXCLUDED.count
    )
    SELECT coalesce(sum(abs(delta)), 0)::bigint FROM failures_drift
"""  # noqa: S608  (constants only)
