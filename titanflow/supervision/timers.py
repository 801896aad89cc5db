"""Messages to be sent later: Process.send_after, cancel_timer, read_timer."""

from __future__ import annotations

from collections.abc import Callable

from titanflow.supervision.clock import Clock
from titanflow.supervision.process import Process


class TimerRef:
    """A message on its way to a process, due at a time. Dies with its target, outlives its maker."""

    __slots__ = ("_clock", "_target", "_timer")

    def __init__(self, clock: Clock, ms: float, target: Process | None, fire: Callable[[], object]) -> None:
        self._clock = clock
        self._target = target

        def expire() -> None:
            if target is not None:
                target.drop_timer(self._timer)
            fire()

        self._timer = clock.call_later(ms, expire)
        if target is not None:
            target.add_timer(self._timer)

    def cancel(self) -> float | None:
        """Stop it: the ms that were left, or None if it has fired, was cancelled, or its target is dead."""
        left = self.remaining_ms()
        self._timer.cancel()
        if self._target is not None:
            self._target.drop_timer(self._timer)
        return left

    def remaining_ms(self) -> float | None:
        """The ms that are left, or None."""
        if not self._timer.active:
            return None
        return max(0.0, (self._timer.due_ns - self._clock.now_ns()) / 1_000_000)
