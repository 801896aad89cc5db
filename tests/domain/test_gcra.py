"""Promise 7, the arithmetic: in any second no more than the rate, whenever the second begins."""

import itertools
import random

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
def test_a_plan_never_catches_up_by_more_than_the_bound(mps: int, steps: list[tuple[int, int]]) -> None:
    """Idle times, bursts of demand, asking late: departures are apart, and none is older than what may be made up."""
    now_ns, plan = 0, gcra.empty(mps, now_ns=0)
    departures = []
    for wait_ns, count in steps:
        now_ns += wait_ns
        plan, first_ns = gcra.schedule(plan, count, now_ns=now_ns)
        assert first_ns >= now_ns - gcra.CATCH_UP_NS
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


def _pass(gate: Gate, wakes: list[int], workers: int) -> list[int]:
    """Workers that always have a message: they wake only at these moments. Returns when messages left."""
    waiting = [gate.reserve(0) for _ in range(workers)]
    left: list[int] = []
    for now_ns in wakes:
        for n, at_ns in enumerate(waiting):
            while at_ns is not None and at_ns <= now_ns:
                if gate.leave(at_ns, now_ns):
                    left.append(now_ns)
                at_ns = gate.reserve(now_ns)
            waiting[n] = at_ns
    return left


@given(stalls=st.lists(st.integers(1, 300 * _MS), min_size=1, max_size=60), mps=st.integers(10, 1000))
def test_a_stalled_hub_never_ends_in_more_than_the_rate(stalls: list[int], mps: int) -> None:
    """Fifty workers wait for their departures; the hub wakes them late, all at once; no second holds too many."""
    gate = Gate(mps, now_ns=0, lease_until_ns=10**18)

    left = _pass(gate, list(itertools.accumulate(stalls)), workers=50)

    assert _worst_second(left) <= mps


@given(
    mps=st.integers(10, 1000),
    stalls=st.dictionaries(st.integers(0, 400), st.integers(1, 200 * _MS), max_size=8),
)
def test_a_process_that_stands_still_before_a_write_never_fills_a_second(mps: int, stalls: dict[int, int]) -> None:
    """The clock was looked at, then the core went to others: the bytes are out later than they were said to be."""
    gate = Gate(mps, now_ns=0, lease_until_ns=10**18)
    now_ns = 2 * _SECOND
    out: list[int] = []
    while len(out) < 400:
        at_ns = gate.reserve(now_ns)
        assert at_ns is not None
        now_ns = max(now_ns, at_ns)
        if gate.leave(at_ns, now_ns):
            now_ns += stalls.get(len(out), 0)
            out.append(now_ns)
            gate.has_left(now_ns)

    assert _worst_second(out) <= mps


def test_a_hub_that_is_often_late_uses_nearly_all_of_the_allowance() -> None:
    """Timers that come up to 5 ms late, and one in fifty 40 ms, cost nothing: what they miss is made up."""
    rng = random.Random(5)
    gate = Gate(1000, now_ns=0, lease_until_ns=10**18)
    steps = (40 if rng.random() < 0.02 else rng.randint(1, 5) for _ in range(8_000))
    wakes = list(itertools.accumulate(step * _MS for step in steps))

    left = _pass(gate, wakes, workers=200)

    seconds = (wakes[-1] - 2 * _SECOND) / _SECOND
    assert sum(1 for at_ns in left if at_ns > 2 * _SECOND) > 980 * seconds
    assert _worst_second(left) <= 1000


def test_a_start_and_a_return_from_a_pause_are_slow_at_first() -> None:
    gate = Gate(1000, now_ns=0, lease_until_ns=10**18)
    left = _pass(gate, [n * _MS for n in range(3_000)], workers=200)
    gate.hold(5 * _SECOND)
    later = _pass(gate, [3 * _SECOND + n * _MS for n in range(5_000)], workers=200)

    def within(departures: list[int], begin_ns: int) -> int:
        return sum(1 for at_ns in departures if begin_ns <= at_ns < begin_ns + 200 * _MS)

    assert within(left, 0) < 100 < 180 < within(left, 2 * _SECOND)
    assert within(later, 5 * _SECOND) < 100 < 180 < within(later, 7 * _SECOND)


def test_what_came_in_takes_departures_away() -> None:
    """Meta counts messages from people against the number's rate too."""
    gate = Gate(100, now_ns=0, lease_until_ns=10**18)
    _pass(gate, [n * _MS for n in range(2_000)], workers=20)

    gate.skip(50, 2 * _SECOND)
    left = _pass(gate, [2 * _SECOND + n * _MS for n in range(1_000)], workers=20)

    assert len(left) <= 51


def test_batches_that_came_in_hold_a_number_back_for_a_second_at_most() -> None:
    """They added up once: four batches in one second let nothing leave for nearly four."""
    gate = Gate(80, now_ns=0, lease_until_ns=10**18)
    _pass(gate, [n * _MS for n in range(2_000)], workers=20)

    for _ in range(4):
        gate.skip(80, 2 * _SECOND)
    left = _pass(gate, [2 * _SECOND + n * _MS for n in range(2_100)], workers=20)

    assert not [at_ns for at_ns in left if at_ns < 2.9 * _SECOND]
    assert len(left) > 70


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
