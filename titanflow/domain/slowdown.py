"""How a throttled number comes back to its allowance: evenly, from the lowered rate on. Pure."""

from dataclasses import dataclass

# No throttle brings a number below this share of its allowance: it must go on to find out that it may.
SLOWEST_SHARE = 1 / 64


@dataclass(frozen=True, slots=True)
class Slowdown:
    """A lowered rate. full_speed_in_ns: from nothing to the allowance, were the rate nothing."""

    mps: float
    speeds_up_at_ns: int
    full_speed_in_ns: int


def rate(slowdown: Slowdown | None, max_mps: int, *, now_ns: int) -> float:
    """Return how many messages a second are allowed now: max_mps once the slowdown is over."""
    if slowdown is None:
        return float(max_mps)
    recovering_ns = max(0, now_ns - slowdown.speeds_up_at_ns)
    return min(float(max_mps), slowdown.mps + max_mps * recovering_ns / slowdown.full_speed_in_ns)
