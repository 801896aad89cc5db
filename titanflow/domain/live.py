"""What is happening right now, as the actors tell it: never stored, always small."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

LimitedBy = Literal["rate", "throttled", "tier", "paused", "empty", "concurrency", "database"]


@dataclass(frozen=True, slots=True)
class NumberLive:
    """One number at this moment. mps_now: what its limiter allows; rate_now: accepted messages a second, over 5 s."""

    phone_number_id: str
    mps_now: float
    rate_now: float
    in_flight: int
    limited_by: LimitedBy
    limited_detail: str


@dataclass(frozen=True, slots=True)
class CampaignLive:
    """One campaign at this moment. rate_now: accepted messages a second, over 5 s."""

    campaign_id: int
    rate_now: float
    limited_by: LimitedBy
    limited_detail: str
    numbers: tuple[NumberLive, ...]


class LimitLog:
    """What has limited a number since it was last asked: the limit that took most of the time, not the last one."""

    __slots__ = ("_details", "_ms")

    def __init__(self) -> None:
        self._ms: Counter[LimitedBy] = Counter()
        self._details: dict[LimitedBy, str] = {}

    def add(self, limited_by: LimitedBy, detail: str, ms: float) -> None:
        """Say that something was the limit for so long."""
        self._ms[limited_by] += int(ms) + 1
        self._details[limited_by] = detail

    def most(self, *, begin_anew: bool = False) -> tuple[LimitedBy, str]:
        """Return the limit with its latest detail; what was last returned if nothing was said since."""
        if not self._ms:
            return "empty", "nobody was asked for yet"
        limited_by = max(self._ms, key=lambda one: self._ms[one])
        if begin_anew:
            self._ms.clear()
            self._ms[limited_by] = 0
        return limited_by, self._details[limited_by]


@dataclass(frozen=True, slots=True)
class NumberState:
    """How one of a campaign's numbers stands in the rows. until: when a pause ends, if that is known."""

    phone_number_id: str
    state: str
    reason: str | None
    until: datetime | None


def nobody_sends(campaign_id: int, numbers: Sequence[NumberState]) -> CampaignLive:
    """Say why none of a campaign's numbers sends."""
    stopped = [number for number in numbers if number.state != "active"]
    if len(stopped) < len(numbers):
        detail = "its numbers are starting"
    else:
        detail = "; ".join(_stopped(number) for number in stopped[:3]) or "it has no number"
        if len(stopped) > 3:
            detail += f"; and {len(stopped) - 3} more"
    return CampaignLive(campaign_id, 0.0, "paused", detail, ())


def _stopped(number: NumberState) -> str:
    until = f" until {number.until:%H:%M} UTC" if number.until else ""
    why = f": {number.reason}" if number.reason else ""
    return f"number {number.phone_number_id} is {number.state}{until}{why}"


# What limits a campaign as a whole is what limits the number that gets furthest: the first of these in order.
_ORDER: tuple[LimitedBy, ...] = ("rate", "throttled", "concurrency", "database", "tier", "paused", "empty")


def of_campaign(campaign_id: int, numbers: Sequence[NumberLive]) -> CampaignLive:
    """Sum up what a campaign's numbers (at least one) do. Where they differ, the detail says it of each group."""
    groups: dict[LimitedBy, list[str]] = {}
    for number in sorted(numbers, key=lambda number: _ORDER.index(number.limited_by)):
        groups.setdefault(number.limited_by, []).append(number.limited_detail)
    first = next(iter(groups))
    rate = sum(number.rate_now for number in numbers)
    return CampaignLive(campaign_id, rate, first, _detail(groups, len(numbers)), tuple(numbers))


def _detail(groups: dict[LimitedBy, list[str]], count: int) -> str:
    if count == 1:
        return next(iter(groups.values()))[0]
    return "; ".join(
        f"{_of(len(details), count)} {limited_by}: {_each(details)}" for limited_by, details in groups.items()
    )


def _of(some: int, count: int) -> str:
    return f"all {count} numbers" if some == count else f"{some} of {count} numbers"


def _each(details: list[str]) -> str:
    """Each detail once, with how many numbers it holds for; at most three."""
    told = [detail if n == 1 else f"{detail} ({n} of them)" for detail, n in Counter(details).most_common(3)]
    if len(set(details)) == 1:
        told = [details[0]]
    more = len(set(details)) - len(told)
    return " / ".join(told) + (f" and {more} more" if more > 0 else "")
