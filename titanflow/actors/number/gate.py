"""Gate: the last moment before a message leaves, where a number's rate and lease are kept to the millisecond.

Owned by the number's RateLimiter, passed through by its workers: the one object that actors share. A worker asks
for a departure, waits for it, and asks again if it woke up late; so a stalled hub never ends in a burst. No lock:
a greenlet switches only where it waits, and nothing in here does.
"""

from titanflow.domain import gcra

# Later than this and the slot is stale: taking it would crowd the ones behind it.
_TOLERANCE_NS = 4_000_000


class Gate:
    """When the messages of one number may leave. All times are monotonic nanoseconds of the owner's clock."""

    __slots__ = ("closed", "departed", "lease_until_ns", "plan")

    def __init__(self, mps: float, *, now_ns: int, lease_until_ns: int) -> None:
        self.plan = gcra.empty(mps, now_ns=now_ns)
        self.lease_until_ns = lease_until_ns
        self.closed = False
        self.departed = 0

    def reserve(self, now_ns: int) -> int | None:
        """Return when the asker may leave; None if nothing may leave: closed, or the lease may be over by then."""
        plan, at_ns = gcra.schedule(self.plan, 1, now_ns=now_ns)
        if self.closed or at_ns >= self.lease_until_ns:
            return None
        self.plan = plan
        return at_ns

    def leave(self, at_ns: int, now_ns: int) -> bool:
        """Say that the asker leaves now at the moment it reserved. False: too late or closed, so reserve again."""
        if self.closed or now_ns - at_ns > _TOLERANCE_NS or now_ns >= self.lease_until_ns:
            return False
        self.departed += 1
        return True
