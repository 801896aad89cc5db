"""Percentages of what became of messages, each with what it is a part of. Pure."""

from collections.abc import Mapping
from typing import Any

# The base of each percentage. failed: of those with an end, since many fail without ever having been sent.
BASES = {
    "delivered_pct": "sent",
    "read_pct": "delivered",
    "failed_pct": "delivered + failed",
    "replied_pct": "delivered",
}
_FIGURES = ("sent", "delivered", "read", "failed", "replied")


def percent(part: int, whole: int) -> float | None:
    """Return the percentage, None of nothing."""
    return round(100 * part / whole, 2) if whole > 0 else None


def with_shares(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the five figures of a row (absent: 0), each with its percentage, and what the percentages are `of`."""
    sent, delivered, read, failed, replied = (int(row.get(name) or 0) for name in _FIGURES)
    return {
        "sent": sent,
        "delivered": delivered,
        "delivered_pct": percent(delivered, sent),
        "read": read,
        "read_pct": percent(read, delivered),
        "failed": failed,
        "failed_pct": percent(failed, delivered + failed),
        "replied": replied,
        "replied_pct": percent(replied, delivered),
        "of": BASES,
    }


def sums(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Return the five figures added up."""
    return {name: sum(int(row.get(name) or 0) for row in rows) for name in _FIGURES}


def change_percent(now: int, before: int) -> float | None:
    """Return by how many per cent a figure grew, None from nothing."""
    return round(100 * (now - before) / before, 1) if before > 0 else None


def median_of_groups(groups: Mapping[int, int]) -> float | None:
    """Return the median of grouped times, by a straight line within its group; None if there are none.

    groups: upper bound -> how many lie above the next smaller bound and up to this one. In the last group, which has no
    end, the answer is where it begins.
    """
    bounds = sorted(groups)
    half, before = sum(groups.values()) / 2, 0
    if half <= 0:
        return None
    for n, bound in enumerate(bounds):
        low = bounds[n - 1] if n else 0
        if before + groups[bound] >= half and groups[bound]:
            return float(low) if bound == 2**31 - 1 else low + (bound - low) * (half - before) / groups[bound]
        before += groups[bound]
    return None
