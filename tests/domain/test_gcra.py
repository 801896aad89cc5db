"""Promise 7, the arithmetic: in any second no more than the rate, whenever the second begins."""

from hypothesis import given
from hypothesis import strategies as st

from titanflow.actors.number.gate import Gate
from titanflow.domain import gcra

_MS = 1_000_000
_SECOND = gcra.SECOND_NS


def _worst_second(departures: list[int]) -> int:
    worst, first = 0, 0
    for last, at_ns in enumerate(departures):
        while departures[first] <= at_ns - _SECOND:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


@given(
    mps=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.integers(0, 700 * _MS), st.integers(0, 400)), max_size=40),
)
def test_no_second_holds_more_than_the_rate(mps: int, steps: list[tuple[int, int]]) -> None:
    """Idle times, bursts of demand, asking late: the plan never catches up."""
    now_ns, plan = 0, gcra.empty(mps, now_ns=0)
    departures = []
    for wait_ns, count in steps:
        now_ns += wait_ns
        plan, first_ns = gcra.schedule(plan, count, now_ns=now_ns)
        departures += [first_ns + n * plan.interval_ns for n in range(count)]

    assert departures == sorted(departures)
    assert _worst_second(departures) <= mps


def test_flat_out_uses_nearly_all_of_the_allowance() -> None:
    plan = gcra.empty(500, now_ns=0)
    assert gcra.available(plan, now_ns=0, horizon_ns=10 * _SECOND) >= 4_900


def test_nothing_is_available_once_the_horizon_is_reserved() -> None:
    plan = gcra.empty(100, now_ns=0)
    free = gcra.available(plan, now_ns=0, horizon_ns=_SECOND)
    plan, _ = gcra.schedule(plan, free, now_ns=0)

    assert gcra.available(plan, now_ns=0, horizon_ns=_SECOND) == 0


@given(stalls=st.lists(st.integers(0, 300 * _MS), min_size=1, max_size=60), mps=st.integers(10, 1000))
def test_a_stalled_hub_never_ends_in_a_burst(stalls: list[int], mps: int) -> None:
    """Twenty workers wait for their departures; the hub wakes them late, all at once; the gate spreads them again."""
    now_ns = 0
    gate = Gate(mps, now_ns=0, lease_until_ns=10**18)
    waiting = [gate.reserve(now_ns) for _ in range(20)]
    left: list[int] = []
    for stall_ns in stalls:
        now_ns += stall_ns
        for n, at_ns in enumerate(waiting):
            assert at_ns is not None
            if at_ns > now_ns:
                continue
            if gate.leave(at_ns, now_ns):
                left.append(now_ns)
            waiting[n] = gate.reserve(now_ns)

    # Late by the gate's tolerance at most, so a second may hold what four milliseconds bring on top.
    assert _worst_second(left) <= mps + mps * 4 // 1000 + 1


def test_nothing_leaves_after_the_lease() -> None:
    """Promise 2: whoever lost PostgreSQL stops by its own clock."""
    gate = Gate(100, now_ns=0, lease_until_ns=_SECOND)
    at_ns = gate.reserve(0)
    assert at_ns is not None

    assert gate.reserve(2 * _SECOND) is None
    assert not gate.leave(at_ns, _SECOND)
    assert gate.leave(at_ns, at_ns)


def test_nothing_leaves_through_a_closed_gate() -> None:
    gate = Gate(100, now_ns=0, lease_until_ns=_SECOND)
    at_ns = gate.reserve(0)
    assert at_ns is not None
    gate.closed = True

    assert not gate.leave(at_ns, at_ns)
    assert gate.reserve(0) is None
