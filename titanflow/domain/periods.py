"""Periods of statistics: from when to when, and the days and hours of a time zone in between. Pure.

Roll-ups are kept by quarters of an hour, and all offsets of time zones in use are multiples of that: each day and hour
of a zone is a sum of quarters, a day of 23 or 25 hours too, and an hour that a clock change repeats is two hours.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from titanflow.domain.send_windows import zone_named

_QUARTER = timedelta(minutes=15)
_DAY = timedelta(days=1)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T+].+)?")
_YEARS = range(2000, 2101)  # beyond, sums with dates could leave what dates can say


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` up to `end`, which is not part of it: both in UTC, at quarters of an hour."""

    zone: ZoneInfo
    start: datetime
    end: datetime

    def days(self) -> list[tuple[date, datetime]]:
        """Return each day of the zone with the moment at which it, or the period, begins."""
        day = self.start.astimezone(self.zone).date()
        found = []
        while (begin := midnight(day, self.zone)) < self.end:
            found.append((day, max(begin, self.start)))
            day += _DAY
        return found

    def hours(self) -> list[datetime]:
        """Return the moments at which the zone's clock strikes, and the begin of the period."""
        at, found = self.start, []
        while at < self.end:
            found.append(at)
            at += timedelta(minutes=60 - at.astimezone(self.zone).minute)
        return found


def period_of(
    start: str | None, end: str | None, timezone: str, *, now: datetime, default_days: int, most_days: int
) -> Period:
    """Return the period that a client asks for.

    start, end: a date of the zone (the end's is part of it), or a time (with an offset, else of the zone's clock),
    which is widened to quarters of an hour. Not given: the last `default_days` days of the zone, today included.
    Raises ValueError with a sentence for people.
    """
    zone = zone_named(timezone)
    ends_at = _moment(end, "to", zone, is_end=True) if end is not None else now
    last = -(-_since_epoch(ends_at) // _QUARTER)
    first_day = (ends_at - timedelta(microseconds=1)).astimezone(zone).date() - (default_days - 1) * _DAY
    starts_at = _moment(start, "from", zone, is_end=False) if start is not None else midnight(first_day, zone)
    found = Period(zone, _at_quarter(_since_epoch(starts_at) // _QUARTER), _at_quarter(last))
    if found.start >= found.end:
        raise ValueError("from must be before to")
    if found.end - found.start > most_days * _DAY + timedelta(hours=2):  # clock changes
        raise ValueError(f"from and to are too far apart: at most {most_days} days")
    return found


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the moment at which a day of the zone begins, in UTC: 01:00 where a clock change skips midnight."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def quarter_before(at: datetime) -> datetime:
    """Return the begin of the quarter of an hour that holds `at`."""
    return _at_quarter(_since_epoch(at) // _QUARTER)


def a_week_before(at: datetime, zone: ZoneInfo) -> datetime:
    """Return the same time by the zone's clock, seven days before, in UTC."""
    return (at.astimezone(zone) - 7 * _DAY).astimezone(UTC)


def _moment(text: str, name: str, zone: ZoneInfo, *, is_end: bool) -> datetime:
    text = text.replace(" ", "+")  # a plus that nobody has encoded
    try:
        if not _TIME.fullmatch(text):
            raise ValueError(text)
        at = datetime.fromisoformat(text)
    except ValueError:
        example = f"{name} must be a date such as 2026-11-25, or a time such as 2026-11-25T09:00:00Z"
        raise ValueError(example) from None
    if at.year not in _YEARS:
        raise ValueError(f"{name} must be in a year from {_YEARS.start} to {_YEARS.stop - 1}")
    if len(text) == len("2026-11-25"):
        return midnight(at.date() + _DAY if is_end else at.date(), zone)
    return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)


def _since_epoch(at: datetime) -> timedelta:
    return at - datetime(1970, 1, 1, tzinfo=UTC)


def _at_quarter(n: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + n * _QUARTER
