"""What people ask about a campaign: stats from counters and roll-ups, rows, and the recount that proves them."""

from typing import Any

from titanflow.storage import prices
from titanflow.storage.counters import COUNTED, REASONS_DRIFT, STATE_OF_CONTACT, STATES, read
from titanflow.storage.database import Database
from titanflow.storage.prices import PRICES_DRIFT
from titanflow.storage.roll_ups import (
    FAILURES_DRIFT,
    HOURLY_AMOUNT,
    HOURLY_DRIFT,
    REPLY_TIMES_AMOUNT,
    REPLY_TIMES_DRIFT,
)
from titanflow.storage.rows import fetch_all, fetch_one


def stats(db: Database, campaign_id: int) -> dict[str, Any]:
    """Return counts, reasons and the shares of numbers and templates: counters and roll-ups, never message rows."""
    counts = read(db, campaign_id)
    reasons = fetch_all(
        db,
        "SELECT state::text AS state, reason, sum(count)::bigint AS count FROM campaign_reasons"
        " WHERE campaign_id = %(id)s GROUP BY state, reason HAVING sum(count) <> 0 ORDER BY count DESC",
        {"id": campaign_id},
    )
    numbers = fetch_all(
        db,
        "SELECT number.phone_number_id, number.display_phone_number, number.shown_state AS state,"
        " number.shown_reason AS state_reason, number.quality, number.status,"
        " coalesce(sum(sent), 0)::bigint AS sent, coalesce(sum(delivered), 0)::bigint AS delivered,"
        " coalesce(sum(read), 0)::bigint AS read, coalesce(sum(failed), 0)::bigint AS failed"
        " FROM campaign_numbers AS link JOIN phone_numbers AS number ON number.id = link.number_id"
        " LEFT JOIN stats_hourly AS hour ON hour.campaign_id = link.campaign_id AND hour.number_id = number.id"
        " WHERE link.campaign_id = %(id)s GROUP BY number.id ORDER BY number.id",
        {"id": campaign_id},
    )
    templates = fetch_all(
        db,
        "SELECT template.id, template.name, template.language, template.status,"
        " coalesce(sum(sent), 0)::bigint AS sent, coalesce(sum(delivered), 0)::bigint AS delivered,"
        " coalesce(sum(read), 0)::bigint AS read, coalesce(sum(failed), 0)::bigint AS failed"
        " FROM campaign_templates AS link JOIN templates AS template ON template.id = link.template_id"
        " LEFT JOIN stats_hourly AS hour ON hour.campaign_id = link.campaign_id AND hour.template_id = template.id"
        " WHERE link.campaign_id = %(id)s GROUP BY template.id, link.position ORDER BY link.position",
        {"id": campaign_id},
    )
    return {
        "total": counts.total,
        "counts": counts.by_state,
        "excluded": {row["reason"]: row["count"] for row in reasons if row["state"] == "excluded"},
        "failed": {row["reason"]: row["count"] for row in reasons if row["state"] == "failed"},
        "pricing": prices.of_campaign(db, campaign_id),
        "numbers": numbers,
        "templates": templates,
    }


def failures(db: Database, campaign_id: int) -> dict[str, int]:
    """Return how many have failed, by code as text; `unknown`: without one."""
    rows = fetch_all(
        db,
        "SELECT reason, sum(count)::bigint AS count FROM campaign_reasons"
        " WHERE campaign_id = %(id)s AND state = 'failed' GROUP BY reason HAVING sum(count) > 0",
        {"id": campaign_id},
    )
    return {row["reason"]: row["count"] for row in rows}


_AUDIT = f"""
    WITH one AS (
        SELECT {STATE_OF_CONTACT} AS state, contact.phone, message.wamid, message.due_at
        FROM campaigns AS campaign
        JOIN contacts AS contact ON contact.campaign_id = campaign.id
        LEFT JOIN message_logs AS message
            ON message.campaign_id = campaign.id AND message.contact_id = contact.id
        WHERE campaign.id = %(id)s
    ), truth AS (
        SELECT state, count(*) AS count FROM one GROUP BY state
    ), {COUNTED}, {REASONS_DRIFT}, {HOURLY_DRIFT}, {FAILURES_DRIFT}, {REPLY_TIMES_DRIFT},
    {PRICES_DRIFT}
    SELECT (SELECT jsonb_object_agg(state, count) FROM truth) AS counts,
           (SELECT coalesce(sum(abs(coalesce(truth.count, 0) - coalesce(counted.count, 0))), 0)::bigint
            FROM truth FULL JOIN counted USING (state))
             + (SELECT coalesce(sum(abs(delta)), 0)::bigint FROM reasons_drift)
             + (SELECT {HOURLY_AMOUNT} FROM hourly_drift) + (SELECT {REPLY_TIMES_AMOUNT} FROM reply_times_drift)
             + (SELECT coalesce(sum(abs(delta)), 0)::bigint FROM failures_drift)
             + (SELECT coalesce(sum(abs(delta)), 0)::bigint FROM prices_drift) AS counter_drift,
           (SELECT count(*) - count(DISTINCT phone) FROM one)
             + (SELECT count(wamid) - count(DISTINCT wamid) FROM one)
             + (SELECT count(*) FROM message_logs AS message WHERE message.campaign_id = %(id)s
                AND NOT EXISTS (SELECT FROM contacts WHERE id = message.contact_id)) AS duplicates,
           (SELECT count(*) FROM contacts WHERE campaign_id = %(id)s) AS total,
           (SELECT extract(epoch FROM now() - min(due_at))::float8 FROM one WHERE state = 'in_doubt')
             AS in_doubt_oldest_seconds,
           (SELECT coalesce(sum(abs(portfolio.used - (SELECT count(*) FROM portfolio_people AS person
                                                      WHERE person.portfolio_id = portfolio.id))), 0)::bigint
            FROM portfolios AS portfolio
            WHERE portfolio.id IN (SELECT coalesce(number.portfolio_id, number.waba_id)
                                   FROM campaign_numbers AS link JOIN phone_numbers AS number
                                   ON number.id = link.number_id WHERE link.campaign_id = %(id)s)) AS budget_drift,
           (SELECT closed_at FROM campaigns WHERE id = %(id)s) AS closed_at,
           (SELECT jsonb_object_agg(state, count) FROM counted) AS counted
"""  # noqa: S608  (constants only)


def audit(db: Database, campaign_id: int) -> dict[str, Any]:
    """Recount a campaign from its rows, in one snapshot, and compare with the counters.

    Of a closed one the rows are being deleted: what can be said is that its counters are possible ones.
    """
    with db.transaction() as transaction:
        transaction.execute("SET LOCAL statement_timeout = '120s'")
        row = transaction.execute(_AUDIT, {"id": campaign_id}).fetchone()
    assert row is not None
    closed_at = row[6]
    if closed_at is not None:
        counts = {state: int((row[7] or {}).get(state, 0)) for state in STATES}
        return {
            "total": sum(counts.values()),
            "counts": counts,
            "balanced": min(counts.values()) >= 0,
            "duplicates": 0,
            "counter_drift": 0,
            "in_doubt_oldest_seconds": None,
            "budget_drift": int(row[5]),
            "closed_at": closed_at,
        }
    counts = {state: int((row[0] or {}).get(state, 0)) for state in STATES}
    return {
        "total": int(row[3]),
        "counts": counts,
        "balanced": sum(counts.values()) == int(row[3]),
        "duplicates": int(row[2]),
        "counter_drift": int(row[1]),
        "in_doubt_oldest_seconds": round(row[4], 1) if row[4] is not None else None,
        "budget_drift": int(row[5]),
        "closed_at": None,
    }


def campaign_ids(db: Database) -> list[int]:
    """Return the ids of all campaigns."""
    return [row["id"] for row in fetch_all(db, "SELECT id FROM campaigns ORDER BY id", {})]


def nodes(db: Database) -> list[dict[str, Any]]:
    """Return the living nodes with their leases."""
    return fetch_all(
        db,
        "SELECT node.id, node.host, node.pid, node.version, node.started_at, node.expires_at,"
        " coalesce(jsonb_agg(jsonb_build_object('kind', lease.kind, 'id', lease.resource_id, 'epoch', lease.epoch))"
        " FILTER (WHERE lease.epoch IS NOT NULL), '[]') AS leases"
        " FROM nodes AS node LEFT JOIN leases AS lease ON lease.node_id = node.id AND lease.expires_at > now()"
        " WHERE node.stopped_at IS NULL AND node.expires_at > now() GROUP BY node.id ORDER BY node.id",
        {},
    )


def import_running(db: Database, campaign_id: int) -> bool:
    """True while contacts are being imported into a campaign."""
    row = fetch_one(
        db, "SELECT id FROM imports WHERE campaign_id = %(id)s AND state = 'running' LIMIT 1", {"id": campaign_id}
    )
    return row is not None
