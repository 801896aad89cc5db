"""How a campaign stands, in one sentence for a list. Pure."""

from collections.abc import Mapping

from titanflow.domain import eta
from titanflow.domain.live import CampaignLive

_WAITING = ("pending", "claimed", "retrying")


def sentence(state: str, reason: str | None, counts: Mapping[str, int], live: CampaignLive | None) -> str:
    """Say what a campaign that runs or is paused does, and what is left. live: None if nobody has told yet."""
    to_send = sum(counts.values()) - counts["excluded"]
    left = sum(counts[one] for one in _WAITING)
    rest = f"{left:,} of {to_send:,} left" if left else f"all {to_send:,} are through"
    if state == "paused":
        return f"Paused{f': {reason}' if reason else ''}; {rest}."
    if live is None:
        return f"Starting; {rest}."
    if live.rate_now < 0.05:
        return f"Nothing leaves: {live.limited_detail}; {rest}."
    low_high = eta.range_s(left, live.rate_now)
    done = f", done in {_span(low_high[0])} to {_span(low_high[1])}" if left and low_high else ""
    return f"Sends {live.rate_now:,.0f} a second; {rest}{done}; limited by {live.limited_by}: {live.limited_detail}."


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 2 * 3600:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
