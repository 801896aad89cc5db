"""A PIN can be tried five times in any minute; each further wait is twice as long."""

from hypothesis import given, settings
from hypothesis import strategies as st

from titanflow.domain.lockout import MEMORY_S, OVER_ALL, PER_ADDRESS, Record, attempt
from titanflow.domain.request_rate import take


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(min_value=0, max_value=40), min_size=6, max_size=60))
def test_no_minute_lets_more_than_five_through(gaps: list[float]) -> None:
    record, now, through = Record(), 1_000_000.0, list[float]()
    for gap in gaps:
        now += gap
        record, wait_s = attempt(record, PER_ADDRESS, now)
        if wait_s == 0:
            through.append(now)

    assert all(later - earlier >= 60 for earlier, later in zip(through, through[5:], strict=False))


def test_waits_double_up_to_an_hour_and_hold_what_they_say() -> None:
    record, now, waits = Record(), 1_000_000.0, list[float]()
    for _ in range(9):
        for _ in range(5):
            record, wait_s = attempt(record, PER_ADDRESS, now)
            assert wait_s == 0
        record, wait_s = attempt(record, PER_ADDRESS, now)
        assert attempt(record, PER_ADDRESS, now + wait_s - 1)[1] == 1.0  # trying on makes it no longer
        waits.append(wait_s)
        now += wait_s

    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_a_day_of_peace_is_remembered_too() -> None:
    record, now = Record(waits=5, locked_until=1_000_000.0), 1_000_000.0 + MEMORY_S
    for _ in range(5):
        record, _ = attempt(record, PER_ADDRESS, now)

    assert attempt(record, PER_ADDRESS, now)[1] == 60


def test_many_addresses_together_have_thirty_tries_a_minute() -> None:
    record, now = Record(), 1_000_000.0
    answers = []
    for _ in range(31):
        record, wait_s = attempt(record, OVER_ALL, now)
        answers.append(wait_s)

    assert answers == [0.0] * 30 + [60.0]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(min_value=0, max_value=0.5), min_size=300, max_size=400))
def test_a_caller_gets_a_burst_and_then_the_rate(gaps: list[float]) -> None:
    full_at, now, through = 0.0, 500.0, list[float]()
    for gap in [0.0] * 220 + gaps:
        now += gap
        full_at, wait_s = take(full_at, now, per_second=50, burst=200)
        if wait_s == 0:
            through.append(now)
        else:
            assert take(full_at, now + wait_s + 1e-6, per_second=50, burst=200)[1] == 0  # Retry-After is enough

    assert through[199] == 500.0
    for start in range(0, len(through), 37):
        for end in range(start, len(through), 41):
            assert end - start + 1 <= 200 + 50 * (through[end] - through[start]) + 1e-6
