"""Gate: the last moment before a message leaves, where a number's rate and lease are kept to the millisecond.

Owned by the number's RateLimiter, passed through by its workers: the one object that actors share. A worker asks
for a departure, waits for it and leaves; late-comers leave too, unless the last second is full already. So a stalled
hub loses no allowance, and never ends in more than the rate. No lock: a greenlet switches only where it waits, and
nothing in here does.
"""

from collections import deque
from dataclasses import replace

from titanflow.domain import gcra

# A number that starts, or comes back from a pause, is slower at first: connections open one by one, and if Meta still
# refuses, few messages meet the refusal.
_RAMP_NS = gcra.SECOND_NS
_RAMP_FROM = 0.25

# Meta counts when messages arrive: what left within this much more than a second may arrive within one.
_WINDOW_NS = gcra.SECOND_NS + 12_000_000


class Gate:
    """When the messages of one number may leave. All times are monotonic nanoseconds of the owner's clock."""

    __slots__ = ("_left", "_ramp_until_ns", "closed", "departed", "lease_until_ns", "plan")

    def __init__(self, mps: float, *, now_ns: int, lease_until_ns: int) -> None:
        self.plan = gcra.empty(mps, now_ns=now_ns)
        self.lease_until_ns = lease_until_ns
        self.closed = False
        self.departed = 0
        self._left: deque[int] = deque()  # the departures of the last window, oldest first
        self._ramp_until_ns = now_ns + _RAMP_NS

    def reserve(self, now_ns: int) -> int | None:
        """Return when the asker may leave; None if nothing may leave: closed, or the lease may be over by then."""
        plan, at_ns = gcra.schedule(self.plan, 1, now_ns=now_ns)
        if self._is_full(now_ns):
            at_ns = max(at_ns, self._left[0] + _WINDOW_NS)
        if self.closed or max(at_ns, now_ns) >= self.lease_until_ns:
            return None
        if at_ns < self._ramp_until_ns:
            share = max(_RAMP_FROM, 1 - (1 - _RAMP_FROM) * (self._ramp_until_ns - at_ns) / _RAMP_NS)
            plan = replace(plan, next_at_ns=plan.next_at_ns + int(plan.interval_ns * (1 / share - 1)))
        self.plan = plan
        return at_ns

    def leave(self, at_ns: int, now_ns: int) -> bool:
        """Say that the asker leaves now, at or after the moment it reserved. It tells `has_left` afterwards.

        False: closed, far too late, or the last second holds as many as it may. Then reserve again.
        """
        if self.closed or now_ns - at_ns > gcra.CATCH_UP_NS or now_ns >= self.lease_until_ns:
            return False
        if self._is_full(now_ns):
            self.plan = replace(self.plan, next_at_ns=self.plan.next_at_ns - self.plan.interval_ns)  # not used
            return False
        self._left.append(now_ns)
        self.departed += 1
        return True

    def has_left(self, now_ns: int) -> None:
        """Say that the bytes of the latest departure are on their way. It counts from now.

        The process may have stood still between the last look at the clock and the write, for as long as a busy
        machine likes; counted from before, that message and those that follow would arrive closer than they left.
        """
        if self._left and self._left[-1] < now_ns:
            self._left[-1] = now_ns

    def _is_full(self, now_ns: int) -> bool:
        left = self._left
        while left and left[0] <= now_ns - _WINDOW_NS:
            left.popleft()
        return len(left) >= max(1.0, self.plan.mps)

    def hold(self, until_ns: int) -> None:
        """Let nothing leave before a moment, and go on slowly then."""
        self.plan = gcra.hold_until(self.plan, until_ns)
        self._ramp_until_ns = until_ns + _RAMP_NS

    def skip(self, count: int, now_ns: int) -> None:
        """Give up departures for what others count against the number's rate too: messages that came in.

        However many came, and in however many batches: after a second Meta has forgotten them.
        """
        latest_ns = max(self.plan.next_at_ns, now_ns + gcra.SECOND_NS)
        plan, _ = gcra.schedule(self.plan, count, now_ns=now_ns)
        self.plan = replace(plan, next_at_ns=min(plan.next_at_ns, latest_ns))
        self._left.extend([now_ns] * count)
