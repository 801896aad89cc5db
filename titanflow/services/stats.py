"""What dashboards ask for, put together: figures with percentages and their base, and how campaigns stand."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from titanflow.domain import periods, shares, standing
from titanflow.domain.periods import Period
from titanflow.errors import NotFound
from titanflow.meta.error_policy import rule_for
from titanflow.services import campaigns
from titanflow.storage import stats
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy


def dashboard(db: Database, fast_copy: FastCopy, zone: ZoneInfo, now: datetime) -> dict[str, Any]:
    """Return today's figures beside those of the same hours a week before, active campaigns, numbers, alarms."""
    local = now.astimezone(zone).date()
    quarter = periods.quarter_before(now)
    bounds = {
        "today": periods.midnight(local, zone),
        "tomorrow": periods.midnight(local + timedelta(days=1), zone),
        "quarter": quarter,
        "week_before": periods.midnight(local - timedelta(days=7), zone),
        "week_before_end": periods.a_week_before(quarter, zone),
    }
    found = stats.dashboard(db, bounds)
    return {
        "timezone": zone.key,
        "now": now,
        "today": {"from": bounds["today"], "to": now, **shares.with_shares(found["today"])},
        "week_before": {
            "from": bounds["week_before"],
            "to": bounds["week_before_end"],
            **shares.with_shares(found["week_before"]),
        },
        "change_pct": {
            name: shares.change_percent(found["until_quarter"][name], found["week_before"][name])
            for name in ("sent", "delivered", "read", "failed", "replied")
        },
        "campaigns": [_active(fast_copy, one) for one in found["campaigns"]],
        "campaigns_by_state": found["campaigns_by_state"],
        "in_doubt": found["in_doubt"],
        "open_alarms": found["open_alarms"],
        "numbers": [_split(one) for one in found["numbers"]],
    }


def _active(fast_copy: FastCopy, one: dict[str, Any]) -> dict[str, Any]:
    counts = {state: count or 0 for state, count in one["counts"].items()}
    live = campaigns.live(fast_copy, one["id"]) if one["state"] == "running" else None
    return {
        **one,
        "counts": counts,
        "total": sum(counts.values()),
        "rate_now": round(live.rate_now, 1) if live else 0.0,
        "sentence": standing.sentence(one["state"], one["state_reason"], counts, live),
    }


def _split(row: dict[str, Any]) -> dict[str, Any]:
    """A row's own columns, and its figures with their shares."""
    return {**row, **shares.with_shares(row)}


def hourly(db: Database, period: Period, campaign_id: int | None) -> dict[str, Any]:
    """Return a row an hour of the zone's clock."""
    starts = period.hours()
    rows = stats.series(db, starts, period.end, campaign_id)
    items = [
        {"hour": at, "local": at.astimezone(period.zone).isoformat(), **row}
        for at, row in zip(starts, rows, strict=True)
    ]
    return _told(period, items, rows)


def daily(db: Database, period: Period, campaign_id: int | None) -> dict[str, Any]:
    """Return a row a day of the zone."""
    days = period.days()
    rows = stats.series(db, [begin for _, begin in days], period.end, campaign_id)
    items = [{"day": day.isoformat(), "from": begin, **row} for (day, begin), row in zip(days, rows, strict=True)]
    return _told(period, items, rows)


def by_number(db: Database, period: Period, campaign_id: int | None) -> dict[str, Any]:
    """Return a row a phone number."""
    rows = stats.by_number(db, period.start, period.end, campaign_id)
    return _told(period, [_split(row) for row in rows], rows)


def by_template(db: Database, period: Period, campaign_id: int | None) -> dict[str, Any]:
    """Return a row a template that was used."""
    rows = stats.by_template(db, period.start, period.end, campaign_id)
    return _told(period, [_split(row) for row in rows], rows)


def _told(period: Period, items: list[dict[str, Any]], rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {**_bounds(period), "items": items, "totals": shares.with_shares(shares.sums(rows))}


def _bounds(period: Period) -> dict[str, Any]:
    return {"timezone": period.zone.key, "from": period.start, "to": period.end}


def failures(db: Database, period: Period, campaign_id: int | None) -> dict[str, Any]:
    """Return how many failed with which code, and what that means."""
    rows = stats.failures(db, period.start, period.end, campaign_id)
    total = sum(row["count"] for row in rows)
    items = [
        {
            "code": row["code"],
            "count": row["count"],
            "count_pct": shares.percent(row["count"], total),
            **_meaning(row["code"]),
        }
        for row in rows
    ]
    return {**_bounds(period), "items": items, "total": total, "of": {"count_pct": "total"}}


def _meaning(code: str) -> dict[str, str]:
    if code == "unknown":
        return {"sentence": "Meta gave no code", "fix": "See the messages of the campaign."}
    rule = rule_for(int(code))
    return {"sentence": rule.sentence, "fix": rule.fix}


def replies(db: Database, period: Period, campaign_id: int | None) -> dict[str, Any]:
    """Return how many of those who got a message answered, and how fast."""
    row = stats.replies(db, period.start, period.end, campaign_id)
    figures = shares.with_shares(row)
    groups = {int(bound): count for bound, count in row["within_s"].items()}
    counted = sum(groups.values())
    return {
        **_bounds(period),
        **{name: figures[name] for name in ("sent", "delivered", "replied", "replied_pct")},
        "of": {"replied_pct": "delivered", "within_pct": "replied"},
        "median_seconds": shares.median_of_groups(groups),
        "mean_seconds": round(row["seconds"] / counted, 1) if counted and row["seconds"] is not None else None,
        "times": _groups(groups),
    }


def _groups(groups: dict[int, int]) -> list[dict[str, Any]]:
    items, so_far, total = [], 0, sum(groups.values())
    for bound in sorted(groups):
        so_far += groups[bound]
        items.append(
            {
                "within_seconds": bound if bound < 2**31 - 1 else None,
                "replied": groups[bound],
                "within_pct": shares.percent(so_far, total),
            }
        )
    return items


def compare(db: Database, campaign_ids: Sequence[int]) -> dict[str, Any]:
    """Return campaigns beside each other. Raises NotFound."""
    found = stats.compare(db, campaign_ids)
    missing = sorted(set(campaign_ids) - {row["id"] for row in found})
    if missing:
        raise NotFound(f"There is no campaign {missing[0]}", code="campaign_not_found")
    return {"items": [_compared(row) for row in found]}


def _compared(row: dict[str, Any]) -> dict[str, Any]:
    counts = {state: count or 0 for state, count in row.pop("counts").items()}
    groups = {int(bound): count for bound, count in row.pop("within_s").items()}
    first, last = row.pop("first_sent_hour"), row.pop("last_sent_hour")
    quarters = (last - first) // timedelta(minutes=15) + 1 if first else 0
    return {
        **_split(row),
        "counts": counts,
        "total": sum(counts.values()),
        "messages_per_second": round((row["sent"] or 0) / (quarters * 900), 2) if quarters else None,
        "reply_median_seconds": shares.median_of_groups(groups),
    }


def now() -> datetime:
    """The time, as periods are counted by."""
    return datetime.now(UTC)
