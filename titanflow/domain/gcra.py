"""GCRA without burst: when the next messages of a number may leave. Pure; all times are monotonic nanoseconds.

A plan is the classic "theoretical arrival time". Each departure gets its own moment, `interval_ns` after the one
before, so that no window of one second holds more than the rate, wherever it begins. Time that passes unused is
lost: a limiter that was idle, or has just restarted, never catches up with a burst.
"""

from dataclasses import dataclass, replace

SECOND_NS = 1_000_000_000

# The rate is kept where Meta counts, after the jitter of two hubs and a network. Departures are spread over
# slightly more than the allowance, so that being some milliseconds early or late breaks no window.
_HEADROOM = 0.985


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
    first_at_ns = max(now_ns, plan.next_at_ns)
    return max(0, (now_ns + horizon_ns - first_at_ns) // plan.interval_ns)


def schedule(plan: Plan, count: int, *, now_ns: int) -> tuple[Plan, int]:
    """Reserve `count` departures. Returns the new plan and when the first leaves; the others follow each interval."""
    first_at_ns = max(now_ns, plan.next_at_ns)
    return replace(plan, next_at_ns=first_at_ns + count * plan.interval_ns), first_at_ns


def at_rate(plan: Plan, mps: float) -> Plan:
    """Return the plan with another rate; what is reserved stays reserved."""
    return replace(plan, mps=mps)


def hold_until(plan: Plan, at_ns: int) -> Plan:
    """Return the plan with no departure before `at_ns`."""
    return replace(plan, next_at_ns=max(plan.next_at_ns, at_ns))
