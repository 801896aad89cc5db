"""Which of Meta's refusals keep a person from being sent to for a while, for how long, and under which reason.

The reasons are those a contact may be excluded for: `invalid_number` says that this person can't be reached there,
`recently_messaged` that Meta found it enough for now, `opted_out` that the person said no. None of the first two is an
opt-out: they end by themselves, and never shorten or replace one.
"""

from dataclasses import dataclass
from typing import Literal

DAY_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Suppressing:
    """first_s: how long the first time, doubled at each repeat up to longest_s. None: for good."""

    reason: Literal["opted_out", "invalid_number", "recently_messaged"]
    first_s: int | None
    longest_s: int | None


_UNREACHABLE = Suppressing("invalid_number", 30 * DAY_S, 240 * DAY_S)

BY_CODE: dict[int, Suppressing] = {
    131026: _UNREACHABLE,
    1013: _UNREACHABLE,
    1026: _UNREACHABLE,
    131049: Suppressing("recently_messaged", DAY_S, 8 * DAY_S),
    131050: Suppressing("opted_out", None, None),
}
