"""Days and hours are those of the zone, over clock changes too, and every quarter of an hour is in exactly one."""

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titanflow.domain.periods import Period, a_week_before, period_of, quarter_before

_NOW = datetime(2026, 11, 25, 9, 7, tzinfo=UTC)


def _period(start: str | None, end: str | None, zone: str = "UTC", **more: Any) -> Period:
    return period_of(start, end, zone, **{"now": _NOW, "default_days": 30, "most_days": 400, **more})


def test_a_day_in_kolkata_begins_at_half_past_six_in_the_evening() -> None:
    period = _period("2026-11-24", "2026-11-25", "Asia/Kolkata")

    assert period.days() == [
        (date(2026, 11, 24), datetime(2026, 11, 23, 18, 30, tzinfo=UTC)),
        (date(2026, 11, 25), datetime(2026, 11, 24, 18, 30, tzinfo=UTC)),
    ]
    assert period.end == datetime(2026, 11, 25, 18, 30, tzinfo=UTC)
    assert {at.minute for at in period.hours()} == {30}


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)])
def test_a_day_of_a_clock_change_has_its_hours(day: str, hours: int) -> None:
    period = _period(day, day, "Europe/Berlin")

    assert len(period.days()) == 1
    assert len(period.hours()) == hours
    assert period.end - period.start == timedelta(hours=hours)


def test_where_a_clock_change_skips_midnight_the_day_begins_at_one() -> None:
    [(_, begin)] = _period("2024-09-08", "2024-09-08", "America/Santiago").days()

    assert begin.isoformat() == "2024-09-08T04:00:00+00:00"


_ZONES = st.sampled_from(
    ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Berlin", "America/St_Johns", "Asia/Beirut"]
)


@given(zone=_ZONES, hours=st.integers(0, 24 * 900), length=st.integers(1, 24 * 31))
def test_days_and_hours_cover_the_period_without_a_gap(zone: str, hours: int, length: int) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    period = _period(start.isoformat(), (start + timedelta(hours=length)).isoformat(), zone)

    for bounds in (period.hours(), [begin for _, begin in period.days()]):
        assert bounds[0] == period.start
        assert bounds == sorted(set(bounds))
        assert bounds[-1] < period.end
        assert all(
            (bound - datetime(2024, 1, 1, tzinfo=UTC)) % timedelta(minutes=15) == timedelta() for bound in bounds
        )
    assert all(b - a <= timedelta(hours=1) for a, b in itertools.pairwise(period.hours()))
    days = [day for day, _ in period.days()]
    assert all(later - day == timedelta(days=1) for day, later in itertools.pairwise(days))


def test_without_bounds_it_is_the_last_days_of_the_zone_with_today() -> None:
    period = _period(None, None, "Asia/Kolkata", default_days=2)

    assert [day for day, _ in period.days()] == [date(2026, 11, 24), date(2026, 11, 25)]
    assert period.end == datetime(2026, 11, 25, 9, 15, tzinfo=UTC)


def test_times_are_widened_to_quarters_and_taken_by_the_zone_unless_they_say_otherwise() -> None:
    period = _period("2026-11-24T10:01", "2026-11-24T17:02:30 01:00", "Europe/Berlin")  # its plus came as a space

    assert (period.start.isoformat(), period.end.isoformat()) == (
        "2026-11-24T09:00:00+00:00",
        "2026-11-24T16:15:00+00:00",
    )


@pytest.mark.parametrize(
    ("start", "end", "zone", "says"),
    [
        ("yesterday", None, "UTC", "from must be a date"),
        ("2026-02-30", None, "UTC", "from must be a date"),
        ("20261101", None, "UTC", "from must be a date"),
        (None, "2026-11-25T25:00", "UTC", "to must be a date"),
        ("2026-11-25", "2026-11-24", "UTC", "from must be before to"),
        ("2027-01-01", None, "UTC", "from must be before to"),
        ("2024-01-01", "2026-01-01", "UTC", "at most 400 days"),
        ("1024-01-01", None, "UTC", "from must be in a year"),
        (None, "9999-12-31", "UTC", "to must be in a year"),
        (None, None, "Mars/Olympus", "is no time zone"),
        (None, None, "../etc/passwd", "is no time zone"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(start: str | None, end: str | None, zone: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        _period(start, end, zone)


def test_a_week_before_is_the_same_time_by_the_clock() -> None:
    zone = _period(None, None, "Europe/Berlin").zone

    at = quarter_before(datetime(2026, 3, 30, 10, 14, 59, tzinfo=UTC))

    assert at.astimezone(zone).isoformat() == "2026-03-30T12:00:00+02:00"
    assert a_week_before(at, zone).astimezone(zone).isoformat() == "2026-03-23T12:00:00+01:00"
