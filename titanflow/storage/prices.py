"""stats_pricing: what Meta charges, from message_logs.pricing, each message once (storage/statuses writes both)."""

from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all

# CTE `prices_drift`: what the roll-up of campaign %(id)s lacks, in one snapshot. By number, not by hour: a price has no
# time of its own.
PRICES_DRIFT = """
    prices_drift AS (
        SELECT number_id, pricing, sum(count)::bigint AS delta FROM (
            SELECT number_id, pricing, count(*) AS count FROM message_logs
            WHERE campaign_id = %(id)s AND pricing IS NOT NULL GROUP BY 1, 2
            UNION ALL
            SELECT number_id, pricing, -count FROM stats_pricing WHERE campaign_id = %(id)s
        ) AS one GROUP BY 1, 2 HAVING sum(count) <> 0
    )"""

HEAL_PRICES = f"""
    WITH {PRICES_DRIFT}, healed AS (
        INSERT INTO stats_pricing AS roll_up (campaign_id, hour, number_id, pricing, count)
        SELECT %(id)s, date_trunc('hour', now()), number_id, pricing, delta FROM prices_drift ORDER BY 3, 4
        ON CONFLICT (campaign_id, hour, number_id, pricing) DO UPDATE SET count = roll_up.count + EXCLUDED.count
    )
    SELECT coalesce(sum(abs(delta)), 0)::bigint FROM prices_drift
"""  # noqa: S608  (constants only)


def of_campaign(db: Database, campaign_id: int) -> dict[str, int]:
    """Return how many delivered messages Meta charges as what, in Meta's words (domain/pricing), the most first."""
    rows = fetch_all(
        db,
        "SELECT pricing, sum(count)::bigint AS count FROM stats_pricing WHERE campaign_id = %(id)s"
        " GROUP BY pricing HAVING sum(count) <> 0 ORDER BY count DESC, pricing",
        {"id": campaign_id},
    )
    return {row["pricing"]: row["count"] for row in rows}
