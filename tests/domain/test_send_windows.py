"""Send windows against the plainest rule there is: look at the wall clock, minute by minute."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from titanflow.domain.send_windows import DAYS, Verdict, decide, parse

_ZONES = (
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",  # shifts by half an hour
    "Asia/Kolkata",  # half an hour off, never shifts
    "America/New_York",
    "Pacific/Apia",  # left out 30 December 2011
    "Africa/Casablanca",  # shifts back for Ramadan
    "UTC",
)
_BERLIN = {"timezone": "Europe/Berlin", "days": list(DAYS[:5]), "from": "09:00", "to": "20:00"}


def _texts(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


@st.composite
def _ranges(draw: st.DrawFn) -> dict[str, Any]:
    start = draw(st.integers(0, 24 * 60 - 1))
    end = draw(st.integers(0, 24 * 60).filter(lambda minute: minute != start))
    days = draw(st.lists(st.sampled_from(DAYS), min_size=1, unique=True))
    return {"days": days, "from": _texts(start), "to": _texts(end)}


def _clock_says(given: dict[str, Any], at: datetime) -> bool:
    """The oracle: the wall clock as text, compared as people compare it."""
    local = at.astimezone(ZoneInfo(given["timezone"]))
    clock, today, yesterday = f"{local:%H:%M}", DAYS[local.weekday()], DAYS[local.weekday() - 1]
    for one in given["ranges"]:
        if one["from"] < one["to"]:
            if today in one["days"] and one["from"] <= clock < one["to"]:
                return True
        elif (today in one["days"] and clock >= one["from"]) or (yesterday in one["days"] and clock < one["to"]):
            return True
    return False


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(_ZONES),
    ranges=st.lists(_ranges(), min_size=1, max_size=3),
    minute=st.integers(0, 366 * 24 * 60),
    year=st.sampled_from([2011, 2018, 2026]),
)
@example(  # the hour that is skipped: opens when the clocks jump
    zone="Europe/Berlin",
    ranges=[{"days": ["sun"], "from": "02:30", "to": "05:00"}],
    minute=(datetime(2026, 3, 28, 12) - datetime(2026, 1, 1)) // timedelta(minutes=1),
    year=2026,
)
@example(  # the half hour that comes twice
    zone="Australia/Lord_Howe",
    ranges=[{"days": ["sun"], "from": "00:10", "to": "01:45"}],
    minute=(datetime(2026, 4, 4, 6) - datetime(2026, 1, 1)) // timedelta(minutes=1),
    year=2026,
)
def test_it_turns_exactly_when_the_wall_clock_says_so(
    zone: str, ranges: list[dict[str, Any]], minute: int, year: int
) -> None:
    given = {"timezone": zone, "ranges": ranges}
    window = parse(given)
    after = datetime(year, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)

    turns_at = window.turns_at(after)

    state = _clock_says(given, after)
    assert window.is_open(after) == state
    horizon = turns_at or after + timedelta(days=9)
    at = after
    while at < horizon:
        assert _clock_says(given, at) == state, at
        at += timedelta(minutes=5)
    if turns_at is not None:
        assert _clock_says(given, turns_at - timedelta(microseconds=1)) == state
        assert _clock_says(given, turns_at) != state


@pytest.mark.parametrize(
    ("after", "turns_at"),
    [
        ("2026-11-25T10:00", "2026-11-25T19:00"),  # Wednesday in winter: closes at 20:00 there
        ("2026-11-25T19:00", "2026-11-26T08:00"),
        ("2026-11-27T19:00", "2026-11-30T08:00"),  # over the week-end
        ("2026-07-01T10:00", "2026-07-01T18:00"),  # in summer
        ("2026-03-27T20:00", "2026-03-30T07:00"),  # over the clock change
    ],
)
def test_office_hours_in_berlin(after: str, turns_at: str) -> None:
    at = datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert parse(_BERLIN).turns_at(at) == datetime.fromisoformat(turns_at).replace(tzinfo=UTC)


def test_a_window_over_midnight_belongs_to_the_day_it_began_on() -> None:
    window = parse({"timezone": "UTC", "days": ["fri"], "from": "22:00", "to": "02:00"})
    assert window.is_open(datetime(2026, 11, 28, 1, 59, tzinfo=UTC))  # Saturday morning
    assert not window.is_open(datetime(2026, 11, 28, 22, 0, tzinfo=UTC))
    assert not window.is_open(datetime(2026, 11, 27, 1, 0, tzinfo=UTC))


def test_a_window_that_is_always_open_never_turns() -> None:
    window = parse({"timezone": "Asia/Kolkata", "days": list(DAYS), "from": "00:00", "to": "24:00"})
    assert window.turns_at(datetime(2026, 11, 25, tzinfo=UTC)) is None


def test_an_hour_that_is_skipped_opens_a_week_later() -> None:
    window = parse({"timezone": "Europe/Berlin", "days": ["sun"], "from": "02:10", "to": "02:50"})
    after = datetime(2026, 3, 22, 12, tzinfo=UTC)  # the Sunday before the clocks go forward
    assert window.turns_at(after) == datetime(2026, 4, 5, 0, 10, tzinfo=UTC)


def test_the_sentence_says_when_it_goes_on() -> None:
    window = parse(_BERLIN)
    wednesday, friday = datetime(2026, 11, 25, 19, tzinfo=UTC), datetime(2026, 11, 27, 19, tzinfo=UTC)
    opens = window.turns_at(wednesday)
    assert opens is not None
    assert window.closed_because(wednesday, opens) == "Outside its send window; goes on at 09:00 (Europe/Berlin)"
    opens = window.turns_at(friday)
    assert opens is not None
    assert (
        window.closed_because(friday, opens) == "Outside its send window; goes on Mon 30 Nov at 09:00 (Europe/Berlin)"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"timezone": "Mars/Olympus"}, "no time zone"),
        ({"timezone": "../../etc/passwd"}, "no time zone"),
        ({"timezone": "localtime"}, "no time zone"),
        ({"timezone": "Europe"}, "no time zone"),
        ({"days": []}, "days must be"),
        ({"days": ["monday"]}, "not 'monday'"),
        ({"from": "9:00"}, "from must be a time"),
        ({"to": "24:01"}, "to must be a time"),
        ({"from": "09:00", "to": "09:00"}, "must differ"),
        ({"from": "24:00", "to": "09:00"}, "must differ"),
    ],
)
def test_bad_windows_are_refused_in_words(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse({**_BERLIN, **change})


def test_a_window_that_can_not_be_read_any_more_stops_its_campaign_with_the_reason() -> None:
    """Promise 8: it would stop the Reconciler, and with it every campaign of the node."""
    verdict = decide({**_BERLIN, "timezone": "Europe/Atlantis"}, datetime(2026, 11, 25, tzinfo=UTC))
    assert not verdict.running
    assert verdict.reason is not None
    assert verdict.reason.startswith("Its send window can't be used: 'Europe/Atlantis' is no time zone")
    assert decide(None, datetime(2026, 11, 25, tzinfo=UTC)) == Verdict(True, None, None)


def test_time_zones_work_on_a_machine_without_any() -> None:
    """A bare container has no /usr/share/zoneinfo: the package tzdata must stand in."""
    script = (
        "from titanflow.domain.send_windows import parse;"
        "print(parse({'timezone': 'America/Sao_Paulo', 'days': ['mon'], 'from': '09:00', 'to': '20:00'}).zone.key)"
    )
    bare = {**os.environ, "PYTHONTZPATH": ""}
    found = subprocess.run([sys.executable, "-c", script], env=bare, capture_output=True, text=True, timeout=60)
    assert found.stdout.strip() == "America/Sao_Paulo", found.stderr
