"""GCRA: when the next messages of a number may leave. Pure; all times are monotonic nanoseconds.

A plan is the classic "theoretical arrival time": each departure gets a moment of its own, `interval_ns` after the one
before. A moment that nobody could take, because the hub or the database stood still, may still be taken for
CATCH_UP_NS; time beyond that is lost, so a limiter that was idle or has just restarted never sends a burst. That a
second never holds more than the rate, late-comers included, is counted by the Gate.
"""

from dataclasses import dataclass, replace

SECOND_NS = 1_000_000_000

# The rate is kept where Meta counts, after the jitter of two hubs and a network. Departures are spread over
# slightly more than the allowance, so that arriving some milliseconds early or late breaks no window.
_HEADROOM = 0.984

CATCH_UP_NS = 40_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How fast, and when the next one may leave at the earliest."""

    mps: float
    next_at_ns: int

    @property
    def interval_ns(self) -> int:
        """The distance between two departures."""
        return int(SECOND_NS / (self.mps * _HEADROOM))


def empty(mps: float, *, now_ns: int) -> Plan:
    """Return the plan of a number that starts now: the first message may leave one interval later."""
    plan = Plan(mps, now_ns)
    return replace(plan, next_at_ns=now_ns + plan.interval_ns)


def available(plan: Plan, *, now_ns: int, horizon_ns: int) -> int:
    """Return how many messages may leave within the next `horizon_ns`."""
    return max(0, (now_ns + horizon_ns - _first_at_ns(plan, now_ns)) // plan.interval_ns)


def schedule(plan: Plan, count: int, *, now_ns: int) -> tuple[Plan, int]:
    """Reserve `count` departures. Returns the new plan and the first one's moment, which may have passed already.

    The others follow each interval.
    """
    first_at_ns = _first_at_ns(plan, now_ns)
    return replace(plan, next_at_ns=first_at_ns + count * plan.interval_ns), first_at_ns


def at_rate(plan: Plan, mps: float) -> Plan:
    """Return the plan with another rate; what is reserved stays reserved."""
    return replace(plan, mps=mps)


def hold_until(plan: Plan, at_ns: int) -> Plan:
    """Return the plan with no departure before `at_ns`."""
    return replace(plan, next_at_ns=max(plan.next_at_ns, at_ns))


def _first_at_ns(plan: Plan, now_ns: int) -> int:
    return max(now_ns - CATCH_UP_NS, plan.next_at_ns)
