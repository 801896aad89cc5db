"""The virtual clock of a rehearsal: when messages leave, and what makes a campaign take longer."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titanflow.domain import pacing
from titanflow.domain.forecast import Days, Situation, limits, range_s, spoken
from titanflow.domain.pacing import DAY_S, Budget, Departures, Lane, Plan

_START = 1_800_000_000.0


def _plan(*mps: float, limit: int | None = None, used: tuple[tuple[float, str], ...] = ()) -> Plan:
    lanes = tuple(Lane(str(n), one, "P") for n, one in enumerate(mps))
    return Plan(_START, lanes, {"P": Budget(limit, used)} if limit else {})


def _seconds(plan: Plan, messages: int) -> float:
    return pacing.finishes_at(plan, messages) - _START


def _nine_to_five(at: float) -> tuple[float, float]:
    """Open from 9 to 17 h of each day since the epoch."""
    midnight = at - at % 86_400
    opens_at, closes_at = midnight + 9 * 3600, midnight + 17 * 3600
    return (opens_at, closes_at) if at < closes_at else (opens_at + 86_400, closes_at + 86_400)


_plans = st.builds(
    lambda mps, limit, used, own, window: replace(
        _plan(*mps, limit=limit, used=((_START - 3600, "somebody"),) * used if limit else ()),
        max_mps=own,
        opening=_nine_to_five if window else None,
    ),
    st.lists(st.integers(1, 1000), min_size=1, max_size=4),
    st.none() | st.integers(1, 300),
    st.integers(0, 300),
    st.none() | st.integers(1, 1500),
    st.booleans(),
)


@given(_plans, st.integers(0, 400), st.integers(0, 400))
def test_more_people_never_take_less_time(plan: Plan, some: int, more: int) -> None:
    assert _seconds(plan, some) <= _seconds(plan, some + more)


@given(_plans, st.integers(1, 400), st.floats(1.0, 20.0))
def test_a_faster_rate_never_takes_longer(plan: Plan, messages: int, factor: float) -> None:
    faster = plan.slower(factor, float("inf"))
    # the interval is kept in whole nanoseconds
    assert _seconds(faster, messages) <= _seconds(plan, messages) + messages * 1e-8


@given(st.integers(1, 500), st.integers(1, 1000), st.integers(2, 10))
def test_without_other_limits_the_time_is_the_inverse_of_the_rate(messages: int, mps: int, factor: int) -> None:
    slow, fast = _seconds(_plan(mps), messages), _seconds(_plan(mps * factor), messages)
    assert slow / fast == pytest.approx(factor, rel=0.001)


@given(_plans, st.integers(1, 400))
def test_departures_keep_every_limit(plan: Plan, messages: int) -> None:
    departures = Departures(plan)
    left = [departures.next() for _ in range(messages)]
    times = [at for _, at in left]

    assert times == sorted(times)
    for lane in plan.lanes:
        own = [at for one, at in left if one == lane]
        assert all(b - a >= 1 / lane.mps for a, b in itertools.pairwise(own))
    if plan.max_mps:
        assert all(b - a >= 0.999 / plan.max_mps for a, b in itertools.pairwise(times))
    if plan.opening:
        assert all(9 * 3600 <= at % 86_400 < 17 * 3600 for at in times)
    for budget in plan.budgets.values():
        reached = sorted([*(at for at, _ in budget.used), *times])
        for n, at in enumerate(reached[budget.limit :]):
            assert at >= reached[n] + 86_400 or at < _START


def test_a_used_up_portfolio_leaves_the_other_one_sending() -> None:
    lanes = (Lane("a", 10, "A"), Lane("b", 10, "B"))
    departures = Departures(Plan(_START, lanes, {"A": Budget(5)}))

    first = [departures.next() for _ in range(100)]

    assert sum(1 for lane, _ in first if lane.number == "a") == 5
    assert first[-1][1] - _START < 11


def test_what_meta_refused_is_given_back() -> None:
    departures = Departures(_plan(10, limit=5))
    for _ in range(5):
        departures.next()
    departures.give_back("P", 2)

    times = [departures.next()[1] - _START for _ in range(3)]

    assert times[1] < 1
    assert times[2] >= DAY_S


def test_who_counts_passes_and_counts_from_then_on() -> None:
    """Of three places two are taken, by b and a. a is reached again and takes none; c has the third.

    d could have b's place after 22 hours, and gets one with a's old count after 23: never too early.
    """
    used = ((_START - 7200, "b"), (_START - 3600, "a"))
    departures = Departures(_plan(10, limit=3, used=used))

    times = [departures.next(person)[1] - _START for person in ("a", "c", "d", "e")]

    assert times[1] < 1
    assert times[2] == pytest.approx(DAY_S - 3600)
    assert times[3] == pytest.approx(DAY_S, abs=1)


def test_a_small_tier_makes_days_of_it_and_says_so() -> None:
    plan = _plan(80, limit=2000)
    finish = pacing.finishes_at(plan, 12_400)

    found = limits(Situation(plan, messages=12_400), finish)

    tier = next(one for one in found if one.kind == "tier")
    assert tier.sentence == "The tier lets 2,000 people a day through: the list of 12,400 takes 7 days."
    assert tier.seconds == pytest.approx(6 * DAY_S, abs=200)
    rate = next(one for one in found if one.kind == "rate")
    assert rate.sentence == "At 80 a second over one number, 12,400 messages take 3 min."


def test_a_number_that_sends_nothing_is_named_with_what_it_costs() -> None:
    plan = _plan(100)
    finish = pacing.finishes_at(plan, 60_000)

    found = limits(Situation(plan, idle=((Lane("b", 100, "P"), "The token is expired."),), messages=60_000), finish)

    idle = next(one for one in found if one.kind == "idle_number")
    assert idle.sentence == "2 numbers, but 1 sends nothing (b: The token is expired)."
    assert idle.seconds == pytest.approx(300, rel=0.05)


def test_nobody_can_send_is_said_and_has_no_duration() -> None:
    plan = _plan()
    situation = Situation(plan, idle=((Lane("a", 100, "P"), "blocked by Meta"),), messages=10)

    assert range_s(situation, plan.starts_at) is None
    assert "a: blocked by Meta" in limits(situation, plan.starts_at)[0].sentence


@settings(max_examples=50)
@given(_plans, st.integers(1, 300))
def test_the_range_is_a_range(plan: Plan, messages: int) -> None:
    span = range_s(Situation(plan, messages=messages), pacing.finishes_at(plan, messages))

    assert span is not None
    assert 0 <= span[0] < span[1]


def test_days_are_those_of_the_time_zone() -> None:
    from zoneinfo import ZoneInfo

    days = Days(ZoneInfo("America/Sao_Paulo"))  # UTC-3
    for at in (1_800_000_000.0, 1_800_000_000.0 + 3600, 1_800_000_000.0 + 86_400):  # 2027-01-15 08:00 UTC
        days.add(at)
    days.add(1_800_000_000.0 + 86_400 + 18 * 3600 + 3599)  # 23:59:59 there

    assert days.listed() == [{"date": "2027-01-15", "messages": 2}, {"date": "2027-01-16", "messages": 2}]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.4, "less than a second"),
        (45, "45 s"),
        (720, "12 min"),
        (9300, "2 h 35 min"),
        (7200, "2 h"),
        (360_000, "4 days 4 h"),
    ],
)
def test_durations_are_spoken(seconds: float, words: str) -> None:
    assert spoken(seconds) == words
