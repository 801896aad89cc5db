"""Statistics over campaigns: each answer is one query on roll-ups and counters, whatever the number of messages.

Days and hours are given as the moments at which they begin: no time zone reaches PostgreSQL.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from titanflow.storage.counters import STATES
from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all, fetch_one

# All have the parameters start, end and campaign_id (null: all campaigns).
# A quarter's figure fits an integer, and the sum of bigints would be a numeric: three times as slow.
_SUMS = """sum(roll_up.sent::integer) AS sent, sum(roll_up.delivered::integer) AS delivered,
    sum(roll_up.read::integer) AS read, sum(roll_up.failed::integer) AS failed,
    sum(roll_up.replied::integer) AS replied"""

_ALL_SUMS = """coalesce(sum(sent::integer), 0) AS sent, coalesce(sum(delivered::integer), 0) AS delivered,
    coalesce(sum(read::integer), 0) AS read, coalesce(sum(failed::integer), 0) AS failed,
    coalesce(sum(replied::integer), 0) AS replied"""
_COUNTS = "jsonb_build_object(" + ", ".join([f"'{state}', sum({state})" for state in STATES]) + ")"

# Two ways to the rows, by the primary key or by hour; written so that each is planned for itself.
_OF_ONE = """(SELECT * FROM stats_hourly
    WHERE campaign_id = %(campaign_id)s::integer AND hour >= %(start)s AND hour < %(end)s)"""
_OF_ALL = """(SELECT * FROM stats_hourly WHERE hour >= %(start)s AND hour < %(end)s)"""

_SERIES = f"""
    SELECT width_bucket(roll_up.hour, %(starts)s::timestamptz[]) AS n, {_SUMS} FROM {{rows}} AS roll_up GROUP BY n
"""  # noqa: S608  (constants only)

# Numbers and templates that are deleted keep their history: their own columns are null.
_BY_NUMBER = f"""
    SELECT number.phone_number_id, number.display_phone_number, number.name, number.shown_state AS state,
           number.shown_reason AS state_reason, number.quality, number.tier, one.sent, one.delivered, one.read,
           one.failed, one.replied
    FROM (SELECT number_id, {_SUMS} FROM {{rows}} AS roll_up GROUP BY number_id) AS one
    FULL JOIN phone_numbers AS number ON number.id = one.number_id
    ORDER BY one.sent DESC NULLS LAST, number.id
"""  # noqa: S608  (constants only)

_BY_TEMPLATE = f"""
    SELECT template.id, template.name, template.language, template.category, template.status, template.quality,
           one.sent, one.delivered, one.read, one.failed, one.replied
    FROM (SELECT template_id, {_SUMS} FROM {{rows}} AS roll_up GROUP BY template_id) AS one
    LEFT JOIN templates AS template ON template.id = one.template_id
    ORDER BY one.sent DESC, template.id
"""  # noqa: S608  (constants only)

_FAILURES = """
    SELECT code, sum(count)::bigint AS count FROM stats_failures
    WHERE {campaign} hour >= %(start)s AND hour < %(end)s
    GROUP BY code HAVING sum(count) <> 0 ORDER BY 2 DESC, code
"""

# seconds: of the slowest group they don't fit an integer; a float is exact far beyond what they can add up to.
_REPLIES = f"""
    SELECT figures.*, times.*
    FROM (SELECT {_SUMS} FROM {{rows}} AS roll_up) AS figures
    CROSS JOIN (
        SELECT coalesce(jsonb_object_agg(within_s, replied) FILTER (WHERE replied <> 0), '{{{{}}}}') AS within_s,
               sum(seconds)::bigint AS seconds
        FROM (SELECT within_s, sum(replied::integer) AS replied, sum(seconds::float8) AS seconds FROM reply_times
              WHERE {{campaign}} hour >= %(start)s AND hour < %(end)s GROUP BY within_s) AS one) AS times
"""  # noqa: S608  (constants only)

_OF_CAMPAIGN = "campaign_id = %(campaign_id)s::integer AND"
_FORMS = {
    name: {
        True: text.format(rows=_OF_ONE, campaign=_OF_CAMPAIGN),
        False: text.format(rows=_OF_ALL, campaign=""),
    }
    for name, text in {
        "series": _SERIES,
        "numbers": _BY_NUMBER,
        "templates": _BY_TEMPLATE,
        "failures": _FAILURES,
        "replies": _REPLIES,
    }.items()
}


def _parameters(start: datetime, end: datetime, campaign_id: int | None) -> dict[str, Any]:
    return {"start": start, "end": end, "campaign_id": campaign_id}


def series(
    db: Database, starts: Sequence[datetime], end: datetime, campaign_id: int | None = None
) -> list[dict[str, Any]]:
    """Return the figures between each of `starts` and the next one, or `end`: a row each, zeros included."""
    statement = _FORMS["series"][campaign_id is not None]
    found = fetch_all(db, statement, {**_parameters(starts[0], end, campaign_id), "starts": list(starts)})
    by_n = {row.pop("n"): row for row in found}
    nothing = {"sent": 0, "delivered": 0, "read": 0, "failed": 0, "replied": 0}
    return [by_n.get(n, nothing) for n in range(1, len(starts) + 1)]


def by_number(db: Database, start: datetime, end: datetime, campaign_id: int | None = None) -> list[dict[str, Any]]:
    """Return every phone number with its figures, the one that sent most first."""
    return fetch_all(db, _FORMS["numbers"][campaign_id is not None], _parameters(start, end, campaign_id))


def by_template(db: Database, start: datetime, end: datetime, campaign_id: int | None = None) -> list[dict[str, Any]]:
    """Return the templates that were used, with their figures, the one that was sent most first."""
    return fetch_all(db, _FORMS["templates"][campaign_id is not None], _parameters(start, end, campaign_id))


def failures(db: Database, start: datetime, end: datetime, campaign_id: int | None = None) -> list[dict[str, Any]]:
    """Return {"code", "count"} by Meta's code as text (`unknown`: without one), the most frequent first."""
    return fetch_all(db, _FORMS["failures"][campaign_id is not None], _parameters(start, end, campaign_id))


def replies(db: Database, start: datetime, end: datetime, campaign_id: int | None = None) -> dict[str, Any]:
    """Return the sums, with `within_s` (upper bound of seconds as text -> replies) and all their `seconds`."""
    row = fetch_one(db, _FORMS["replies"][campaign_id is not None], _parameters(start, end, campaign_id))
    assert row is not None
    return row


_COMPARE = f"""
    SELECT campaign.id, campaign.name, campaign.state, campaign.created_at, campaign.started_at, campaign.completed_at,
           counted.counts, rolled_up.*,
           (SELECT coalesce(jsonb_object_agg(reason, count), '{{}}') FROM (
                SELECT reason, sum(count)::bigint AS count FROM campaign_reasons
                WHERE campaign_id = campaign.id AND state = 'failed' GROUP BY reason HAVING sum(count) <> 0
            ) AS one) AS failures,
           (SELECT coalesce(jsonb_object_agg(within_s, replied), '{{}}') FROM (
                SELECT within_s, sum(replied)::bigint AS replied FROM reply_times
                WHERE campaign_id = campaign.id GROUP BY within_s HAVING sum(replied) <> 0) AS one) AS within_s
    FROM campaigns AS campaign
    CROSS JOIN LATERAL (
        SELECT {_COUNTS} AS counts FROM campaign_counters WHERE campaign_id = campaign.id) AS counted
    CROSS JOIN LATERAL (
        SELECT {_SUMS}, min(hour) FILTER (WHERE roll_up.sent > 0) AS first_sent_hour,
               max(hour) FILTER (WHERE roll_up.sent > 0) AS last_sent_hour
        FROM stats_hourly AS roll_up WHERE campaign_id = campaign.id) AS rolled_up
    WHERE campaign.id = ANY(%(ids)s::integer[])
    ORDER BY array_position(%(ids)s::integer[], campaign.id)
"""  # noqa: S608  (constants only)


def compare(db: Database, campaign_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return campaigns beside each other, in the order of their ids as given; unknown ones are missing."""
    return fetch_all(db, _COMPARE, {"ids": list(campaign_ids)})


# in_doubt: over all campaigns, ended ones too, since somebody should say what becomes of them.
_DASHBOARD = f"""
    WITH today AS (
        SELECT number_id, {_SUMS} FROM stats_hourly AS roll_up
        WHERE hour >= %(today)s AND hour < %(tomorrow)s GROUP BY number_id
    ), until_quarter AS (
        SELECT {_ALL_SUMS}
        FROM stats_hourly WHERE hour >= %(today)s AND hour < %(quarter)s
    ), week_before AS (
        SELECT {_ALL_SUMS}
        FROM stats_hourly WHERE hour >= %(week_before)s AND hour < %(week_before_end)s
    ), active AS (
        SELECT campaign.id, campaign.name, campaign.state, campaign.state_by, campaign.state_reason,
               campaign.started_at, counted.counts
        FROM campaigns AS campaign
        CROSS JOIN LATERAL (
            SELECT {_COUNTS} AS counts FROM campaign_counters WHERE campaign_id = campaign.id) AS counted
        WHERE campaign.state IN ('running', 'paused')
        ORDER BY campaign.state = 'running' DESC, campaign.id DESC LIMIT 50
    )
    SELECT (SELECT to_jsonb(one) FROM (SELECT {_ALL_SUMS} FROM today) AS one) AS today,
           (SELECT to_jsonb(until_quarter) FROM until_quarter) AS until_quarter,
           (SELECT to_jsonb(week_before) FROM week_before) AS week_before,
           (SELECT coalesce(jsonb_agg(to_jsonb(active)), '[]') FROM active) AS campaigns,
           (SELECT coalesce(jsonb_object_agg(state, count), '{{}}')
            FROM (SELECT state, count(*) AS count FROM campaigns GROUP BY state) AS one) AS campaigns_by_state,
           (SELECT coalesce(sum(in_doubt), 0)::bigint FROM campaign_counters) AS in_doubt,
           (SELECT count(*) FROM alarms WHERE cleared_at IS NULL) AS open_alarms,
           (SELECT coalesce(jsonb_agg(to_jsonb(one)), '[]') FROM (
                SELECT number.phone_number_id, number.display_phone_number, number.name, number.shown_state AS state,
                       number.shown_reason AS state_reason, number.quality, number.tier, number.max_mps,
                       coalesce(today.sent, 0) AS sent, coalesce(today.delivered, 0) AS delivered,
                       coalesce(today.read, 0) AS read, coalesce(today.failed, 0) AS failed,
                       coalesce(today.replied, 0) AS replied
                FROM phone_numbers AS number LEFT JOIN today ON today.number_id = number.id
                ORDER BY number.id) AS one) AS numbers
"""  # noqa: S608  (constants only)


def dashboard(db: Database, bounds: dict[str, datetime]) -> dict[str, Any]:
    """Return what a dashboard shows. bounds: today, tomorrow, quarter (the one under way), week_before and its end.

    numbers: all, each with today's figures; those of deleted numbers are in no row. campaigns: running, then paused,
    at most 50, each with its counts.
    """
    row = fetch_one(db, _DASHBOARD, bounds)
    assert row is not None
    return row
