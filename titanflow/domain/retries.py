"""Which failures an operator may let be tried again, and when. Data and one function, pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from titanflow.domain.suppression import BY_CODE, DAY_S

UNKNOWN = "unknown"  # the failure came without a code

# Trying these again can't succeed, or the person must be left alone. The suppressed ones are in BY_CODE.
_POINTLESS = {
    130472: "The person is in an experiment of Meta's; another campaign may reach them",
    130497: "This business may not message people in that country",
    131021: "The recipient is the sender",
}
_SUPPRESSED = {
    "opted_out": "The person said no; they are suppressed",
    "invalid_number": "The person can't be reached; they are left out for 30 days, longer after a repeat",
}
_NOT_NAMED = "It was not named in codes"
_MUST_BE_NAMED = "Nobody knows what it means; name it in codes to try again all the same"


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """waits_s: failures with these codes are tried again, not before so long after the failure. why_not: the others."""

    waits_s: dict[str, float]
    why_not: dict[str, str]


def plan(failed: Mapping[str, int], named: Collection[str], known: Collection[str]) -> RetryPlan:
    """Sort a campaign's failures. failed: count by code; named: codes that were asked for, all if empty."""
    waits_s: dict[str, float] = {}
    why_not: dict[str, str] = {}
    for code in failed:
        reason = _why_not(code, named, known)
        if reason is None:
            waits_s[code] = _wait_s(code)
        else:
            why_not[code] = reason
    return RetryPlan(waits_s, why_not)


def _why_not(code: str, named: Collection[str], known: Collection[str]) -> str | None:
    number = int(code) if code != UNKNOWN else None
    if number is not None and number in _POINTLESS:
        return _POINTLESS[number]
    suppressing = BY_CODE.get(number) if number is not None else None
    if suppressing is not None and suppressing.reason in _SUPPRESSED:
        return _SUPPRESSED[suppressing.reason]
    if named and code not in named:
        return _NOT_NAMED
    if code not in known and code not in named:
        return _MUST_BE_NAMED
    return None


def _wait_s(code: str) -> float:
    """131049: the person got enough marketing; not before a day has passed."""
    suppressing = BY_CODE.get(int(code)) if code != UNKNOWN else None
    return float(suppressing.first_s or DAY_S) if suppressing is not None else 0.0
