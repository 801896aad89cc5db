"""Send windows: when a campaign may send, by the wall clock of its time zone. Pure; the time is an argument.

One rule decides everything: a window is open while the wall clock there shows a day and a time in one of its ranges.
So an hour that a clock change repeats is open twice if it is in the range, and one that it skips never is. A range
whose `to` is not after its `from` goes on over midnight and belongs to the day on which it began.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY_MIN = 24 * 60
_ZONE = re.compile(r"[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
# A range of one weekly hour that a clock change skips opens a week later; this is beyond that.
_LOOK_AHEAD_DAYS = 16


@dataclass(frozen=True, slots=True)
class Range:
    """From a minute of the listed days (0: Monday) up to another one, which is on the next day if it isn't later."""

    days: frozenset[int]
    from_min: int
    to_min: int

    def holds(self, weekday: int, minute: int) -> bool:
        """True if the range is open at a minute of a weekday."""
        if self.from_min < self.to_min:
            return weekday in self.days and self.from_min <= minute < self.to_min
        return (weekday in self.days and minute >= self.from_min) or (
            (weekday - 1) % 7 in self.days and minute < self.to_min
        )


@dataclass(frozen=True, slots=True)
class SendWindow:
    """When a campaign may send."""

    zone: ZoneInfo
    ranges: tuple[Range, ...]

    def is_open(self, at: datetime) -> bool:
        """True if messages may leave at a moment."""
        local = at.astimezone(self.zone)
        return any(one.holds(local.weekday(), local.hour * 60 + local.minute) for one in self.ranges)

    def turns_at(self, after: datetime) -> datetime | None:
        """Return the first moment after `after` at which it opens, if it is closed, or closes; None: never."""
        now_open = self.is_open(after)
        return next((at for at in self._moments(after) if self.is_open(at) != now_open), None)

    def closed_because(self, at: datetime, opens_at: datetime) -> str:
        """Return the sentence for people: why nothing is sent at a moment, and when it goes on."""
        local = opens_at.astimezone(self.zone)
        day = ""
        if opens_at - at >= timedelta(hours=24):
            day = f" {DAYS[local.weekday()].capitalize()} {local.day} {_MONTHS[local.month - 1]}"
        return f"Outside its send window; goes on{day} at {local:%H:%M} ({self.zone.key})"

    def _moments(self, after: datetime) -> list[datetime]:
        """All moments after `after` at which the answer can change, in order: bounds of ranges, clock changes."""
        bounds = {bound % _DAY_MIN for one in self.ranges for bound in (one.from_min, one.to_min)}
        first = after.astimezone(self.zone).date() - timedelta(days=1)
        found: set[datetime] = set()
        for n in range(_LOOK_AHEAD_DAYS):
            day = first + timedelta(days=n)
            found |= {self._utc(day, minute, fold) for minute in bounds | {0} for fold in (0, 1)}
            found |= self._clock_changes(day)
        return sorted(at for at in found if at > after)

    def _utc(self, day: date, minute: int, fold: int) -> datetime:
        local = datetime.combine(day, time(minute // 60, minute % 60, fold=fold), self.zone)
        return local.astimezone(UTC)

    def _clock_changes(self, day: date) -> set[datetime]:
        """The moment of a clock change in the day, to the second."""
        low = self._utc(day, 0, 0)
        high = low + timedelta(hours=26)
        before = low.astimezone(self.zone).utcoffset()
        if before == high.astimezone(self.zone).utcoffset():
            return set()
        while high - low > timedelta(seconds=1):
            middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
            if middle.astimezone(self.zone).utcoffset() == before:
                low = middle
            else:
                high = middle
        return {high}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a campaign that is handed to its window should do. turns_at: when to look again; None: never."""

    running: bool
    reason: str | None
    turns_at: datetime | None


def decide(given: Mapping[str, Any] | None, at: datetime) -> Verdict:
    """Say if a campaign with this `send_window` (None: it may always send) runs at a moment, and until when.

    A window that can't be read any more, say for a time zone that an update has removed, stops its campaign alone.
    """
    if given is None:
        return Verdict(True, None, None)
    try:
        window = parse(given)
    except ValueError as error:
        return Verdict(False, f"Its send window can't be used: {error}", None)
    turns_at = window.turns_at(at)
    if window.is_open(at):
        return Verdict(True, None, turns_at)
    if turns_at is None:
        return Verdict(False, "Outside its send window, which never opens", None)
    return Verdict(False, window.closed_because(at, turns_at), turns_at)


def parse(given: Mapping[str, Any]) -> SendWindow:
    """Return the window that a campaign's `send_window` describes.

    given: {"timezone": "Europe/Berlin", "days": ["mon", ...], "from": "09:00", "to": "20:00"}, or with several ranges
    {"timezone": ..., "ranges": [{"days", "from", "to"}, ...]}. Raises ValueError with a sentence for people.
    """
    zone = zone_named(str(given.get("timezone")))
    ranges = given.get("ranges") or [given]
    return SendWindow(zone, tuple(_range(one) for one in ranges))


def zone_named(key: str) -> ZoneInfo:
    """Return a time zone by its IANA name. Raises ValueError with a sentence for people."""
    problem = f"'{key[:60]}' is no time zone: use an IANA name such as Europe/Berlin"
    if not _ZONE.fullmatch(key):
        raise ValueError(problem)
    try:
        return ZoneInfo(key)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(problem) from None


def _range(given: Mapping[str, Any]) -> Range:
    names = [str(day) for day in given.get("days") or ()]
    unknown = [name for name in names if name not in DAYS]
    if unknown or not names:
        raise ValueError(f"days must be some of {', '.join(DAYS)}" + (f", not '{unknown[0][:20]}'" if unknown else ""))
    start, end = _minute(given.get("from"), "from"), _minute(given.get("to"), "to")
    if start in (end, _DAY_MIN):
        raise ValueError("from and to must differ: a whole day is 00:00 to 24:00")
    return Range(frozenset(DAYS.index(name) for name in names), start, end)


def _minute(given: Any, name: str) -> int:
    text = str(given)
    if not _TIME.fullmatch(text):
        raise ValueError(f"{name} must be a time from 00:00 to 24:00, not '{text[:20]}'")
    return int(text[:2]) * 60 + int(text[3:])
