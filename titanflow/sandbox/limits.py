"""The limits that Meta keeps beside a number's throughput: the pair limit and the portfolio's messaging tier."""

from collections import OrderedDict
from dataclasses import dataclass, field

_PAIR_S = 6.0
_PAIR_BURST = 45
_DAY_S = 86400.0

PAIR_MODES = ("burst", "strict", "bucket", "off")

TIERS = {50: "TIER_50", 250: "TIER_250", 1000: "TIER_1K", 2000: "TIER_2K", 10_000: "TIER_10K", 100_000: "TIER_100K"}


def tier_name(limit: int | None) -> str:
    """Meta's name of a limit; one that Meta doesn't have is spelt with its number."""
    return "TIER_UNLIMITED" if limit is None else TIERS.get(limit, f"TIER_{limit}")


class PairLimit:
    """Of one number, towards each person.

    burst: up to 45 within 6 s, then nothing until n x 6 s after the first of those n. strict: one in 6 s. bucket: a
    bucket of 45, refilled by one in 6 s. Only people who got two or more are remembered for longer than 6 to 12 s.
    """

    __slots__ = ("_bursts", "_older", "_recent", "_turned_at")

    def __init__(self) -> None:
        self._recent: dict[str, float] = {}
        self._older: dict[str, float] = {}
        self._turned_at = 0.0
        self._bursts: dict[str, tuple[float, int]] = {}  # person -> when the burst began, how many

    def passes(self, person: str, at: float, mode: str) -> bool:
        """Count a message to a person; False if it is one too many (and then it isn't counted)."""
        if mode == "off":
            return True
        if at - self._turned_at > _PAIR_S:
            self._turn(at)
        burst = self._bursts.get(person)
        if burst is None:
            first = self._recent.get(person) or self._older.get(person)
            if first is None or at - first >= _PAIR_S:
                self._recent[person] = at
                return True
            if mode == "strict":
                return False
            self._bursts[person] = (first, 2)
            return True
        began, count = burst
        if at - began >= count * _PAIR_S:  # paid back
            del self._bursts[person]
            self._recent[person] = at
            return True
        if mode == "strict" or (mode == "burst" and (at - began >= _PAIR_S or count >= _PAIR_BURST)):
            return False
        if mode == "bucket" and count - int((at - began) / _PAIR_S) >= _PAIR_BURST:
            return False
        self._bursts[person] = (began, count + 1)
        return True

    def _turn(self, at: float) -> None:
        self._older, self._recent, self._turned_at = self._recent, {}, at
        if len(self._bursts) > 1000:
            self._bursts = {who: (t, n) for who, (t, n) in self._bursts.items() if at - t < n * _PAIR_S}


@dataclass(slots=True)
class Portfolio:
    """What several accounts share: the messaging limit. at_once: refuse over it at the door, not by webhook."""

    id: str
    name: str = "Sandbox Portfolio"
    tier_limit: int | None = None
    at_once: bool = False
    counting: bool = False  # an unlimited portfolio that nobody asked about counts nobody: that spares memory
    over_limit: int = 0
    most: int = 0
    _people: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def passes(self, person: str, at: float) -> bool:
        """Whether one more message, outside a service window, may reach this person within the limit."""
        if self.tier_limit is None:
            return True
        if person in self._people or self.people(at) < self.tier_limit:
            return True
        self.over_limit += 1
        return False

    def count(self, person: str, at: float) -> None:
        """Count a person as delivered to."""
        if self.counting:
            self._people[person] = at
            self._people.move_to_end(person)
            self.most = max(self.most, len(self._people))

    def people(self, at: float) -> int:
        """How many different people were delivered to in the 24 hours that end now."""
        people = self._people
        while people and next(iter(people.values())) <= at - _DAY_S:
            people.popitem(last=False)
        return len(people)

    def as_json(self, at: float) -> dict[str, object]:
        """As the ledger's summary shows it."""
        people = self.people(at)
        return {
            "tier_limit": self.tier_limit,
            "distinct_people": people,
            "most_distinct_people": self.most,
            "over_limit": self.over_limit,
        }
