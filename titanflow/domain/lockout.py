"""How often a PIN may be tried: a few times a minute, then a wait that doubles each time. Pure; times in seconds."""

from collections.abc import Sequence
from dataclasses import dataclass

_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Rule:
    """tries: so many in any minute. first_s, most_s: the first wait after that, and the longest."""

    tries: int
    first_s: int
    most_s: int


PER_ADDRESS = Rule(tries=5, first_s=60, most_s=3600)
OVER_ALL = Rule(tries=30, first_s=60, most_s=60)  # many addresses guess one PIN together
MEMORY_S = 24 * 3600
"""So long after its last wait a further one is longer still."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of an address. tried_at: its latest tries, at most as many as the rule lets through."""

    tried_at: Sequence[float] = ()
    locked_until: float = 0.0
    waits: int = 0


def attempt(record: Record, rule: Rule, now: float) -> tuple[Record, float]:
    """Count a try. Returns what to remember, and how long to wait before the next: 0.0 lets this one through.

    Trying while it is locked neither counts nor makes the wait longer, so what was announced holds.
    """
    if now < record.locked_until:
        return record, record.locked_until - now
    recent = [at for at in record.tried_at if now - at < _MINUTE_S][-rule.tries :]
    if len(recent) < rule.tries:
        return Record((*recent, now), record.locked_until, record.waits), 0.0
    waits = record.waits + 1 if now - record.locked_until < MEMORY_S else 1
    wait_s = float(min(rule.most_s, rule.first_s * 2 ** min(waits - 1, 20)))
    return Record((), now + wait_s, waits), wait_s
