"""Meta's messaging limits: what a reported tier allows, and the forecast of a portfolio's budget. Pure.

A tier is the number of unique people that a business portfolio, over all its numbers, may begin to write to within
a rolling 24 hours.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

# What Meta gives a new portfolio today. The safe reading of "not set" as long as nothing else is known.
SMALLEST = 250

Limit = int | None
"""How many people; None is unlimited."""

_NUMBER = re.compile(r"(\d+)([KM]?)")
_UNITS = {"": 1, "K": 1_000, "M": 1_000_000}


def limit_of(tier: str | int) -> Limit | Literal["not_set"]:
    """Return what a tier allows, in each of Meta's spellings: `TIER_2K`, `2K`, `2000`, 2000, -1, `TIER_UNLIMITED`.

    "not_set": Meta says that it has none to tell. Raises ValueError for what is no tier.
    """
    text = str(tier).strip().upper().removeprefix("TIER_")
    if text in ("NOT_SET", "UNKNOWN", ""):
        return "not_set"
    if text in ("UNLIMITED", "-1"):
        return None
    match = _NUMBER.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{tier!r} is no messaging limit")
    return int(match[1]) * _UNITS[match[2]]


def spelling(limit: Limit) -> str:
    """Return a limit as Meta spells it: TIER_250, TIER_2K, TIER_UNLIMITED."""
    if limit is None:
        return "TIER_UNLIMITED"
    return f"TIER_{limit // 1000}K" if limit % 1000 == 0 else f"TIER_{limit}"


@dataclass(frozen=True, slots=True)
class Budget:
    """A limited portfolio at one moment. next_free_at: when its oldest person stops counting; None if nobody counts."""

    portfolio_id: str
    limit: int
    used: int
    next_free_at: datetime | None

    @property
    def left(self) -> int:
        """How many new people may be written to now."""
        return max(0, self.limit - self.used)

    def forecast(self, waiting: int | None = None) -> str:
        """Say what is left and when more comes. waiting: how many are still to be written to; None: more than that."""
        sentence = f"{self.left:,} of {self.limit:,} left today"
        if (waiting is not None and waiting <= self.left) or self.next_free_at is None:
            return sentence
        return f"{sentence}; the rest goes from {self.next_free_at.astimezone(UTC):%H:%M} UTC on"
