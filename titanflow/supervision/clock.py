"""Time for processes, replaceable: the real one, and one that tests move by hand.

Every timer, sleep and deadline of the kernel goes through the installed clock.
"""

from __future__ import annotations

import heapq
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent.hub import Waiter, get_hub

_NS_PER_MS = 1_000_000


class Timer(ABC):
    """A callback that is due once. It runs in the hub: it may not block."""

    __slots__ = ("due_ns",)

    due_ns: int

    @abstractmethod
    def cancel(self) -> bool:
        """Stop the timer. False if it has fired or was cancelled before."""

    @property
    @abstractmethod
    def active(self) -> bool:
        """True while it is still to fire."""


class Clock(ABC):
    """Monotonic time, timers and sleep."""

    @abstractmethod
    def now_ns(self) -> int:
        """Monotonic nanoseconds."""

    @abstractmethod
    def call_later(self, ms: float, callback: Callable[[], object]) -> Timer:
        """Run the callback in the hub after `ms`. It may not block."""

    @abstractmethod
    def pause(self) -> None:
        """Let everybody else run once, I/O and timers included, then go on."""

    def sleep_ms(self, ms: float) -> None:
        """Block the calling greenlet for `ms`."""
        waiter = Waiter()
        timer = self.call_later(ms, lambda: wake(waiter))
        try:
            waiter.get()
        finally:
            timer.cancel()


def schedule(callback: Callable[..., object], *args: object) -> Any:
    """Run the callback in the hub, after everything that is ready now."""
    return get_hub().loop.run_callback(callback, *args)


def wake(waiter: Any, value: object = None) -> None:
    """Resume the greenlet that waits in `waiter.get()`; harmless if it no longer does."""
    get_hub().loop.run_callback(waiter.switch, value)


class _RealTimer(Timer):
    __slots__ = ("_callback", "_watcher")

    def __init__(self, ms: float, due_ns: int, callback: Callable[[], object]) -> None:
        self.due_ns = due_ns
        self._callback: Callable[[], object] | None = callback
        self._watcher = get_hub().loop.timer(max(ms, 0.0) / 1000)
        self._watcher.start(self._fire, update=True)

    def _fire(self) -> None:
        callback = self._callback
        self.cancel()
        if callback is not None:
            callback()

    def cancel(self) -> bool:
        if self._callback is None:
            return False
        self._callback = None
        self._watcher.stop()
        self._watcher.close()
        return True

    @property
    def active(self) -> bool:
        return self._callback is not None


class RealClock(Clock):
    """The machine's monotonic clock and gevent's timers."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def call_later(self, ms: float, callback: Callable[[], object]) -> Timer:
        return _RealTimer(ms, time.monotonic_ns() + int(ms * _NS_PER_MS), callback)

    def pause(self) -> None:
        # Not gevent.sleep(0): its callbacks can starve timers and sockets for as long as callbacks come.
        hub = get_hub()
        with hub.loop.timer(0) as watcher:
            hub.wait(watcher)


class _VirtualTimer(Timer):
    __slots__ = ("callback",)

    def __init__(self, due_ns: int, callback: Callable[[], object]) -> None:
        self.due_ns = due_ns
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> bool:
        was_active, self.callback = self.callback is not None, None
        return was_active

    @property
    def active(self) -> bool:
        return self.callback is not None


class VirtualClock(Clock):
    """A clock that stands still until a test moves it: `advance`, or `advance_to_next`.

    Moving it fires the timers one after the other and lets everybody finish in between (`settle`), so what
    a test sees depends on no real time. Only for processes that block in the kernel's own primitives:
    greenlets that wait for sockets are not waited for.
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._timers: list[tuple[int, int, _VirtualTimer]] = []
        self._order = itertools.count()

    def now_ns(self) -> int:
        return self._now_ns

    def call_later(self, ms: float, callback: Callable[[], object]) -> Timer:
        timer = _VirtualTimer(self._now_ns + max(int(ms * _NS_PER_MS), 0), callback)
        heapq.heappush(self._timers, (timer.due_ns, next(self._order), timer))
        return timer

    def pause(self) -> None:
        gevent.sleep(0)

    def settle(self) -> None:
        """Wait until no greenlet can run any more without time passing. What is due now is fired."""
        self._run_ready()
        while (due_ns := self.next_due_ns()) is not None and due_ns <= self._now_ns:
            self._fire_next()

    def advance(self, ms: float) -> None:
        """Let `ms` pass, firing what falls due in order."""
        target_ns = self._now_ns + int(ms * _NS_PER_MS)
        self.settle()
        while (due_ns := self.next_due_ns()) is not None and due_ns <= target_ns:
            self._fire_next()
        self._now_ns = target_ns

    def advance_to_next(self) -> bool:
        """Jump to the next timer, fire it and settle. False if there is none."""
        if self.next_due_ns() is None:
            return False
        self._fire_next()
        self.settle()
        return True

    def _fire_next(self) -> None:
        due_ns, _, timer = heapq.heappop(self._timers)
        self._now_ns = max(self._now_ns, due_ns)
        callback = timer.callback
        timer.cancel()
        if callback is not None:
            callback()
        self._run_ready()

    @staticmethod
    def _run_ready() -> None:
        # A private list of gevent's loop: the one exact answer to "is anybody ready?".
        loop = get_hub().loop
        while loop._callbacks:
            gevent.sleep(0)

    def next_due_ns(self) -> int | None:
        """When the next timer is due; None if none is pending."""
        while self._timers and not self._timers[0][2].active:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    @property
    def pending(self) -> int:
        """How many timers are still to fire."""
        return sum(1 for _, _, timer in self._timers if timer.active)


_installed: Clock = RealClock()


def installed_clock() -> Clock:
    """The clock that processes started from now on will use."""
    return _installed


def install_clock(clock: Clock) -> Clock:
    """Make `clock` the one that processes started from now on use; returns the former one."""
    global _installed
    former, _installed = _installed, clock
    return former


@contextmanager
def using_clock(clock: Clock) -> Iterator[Clock]:
    """Install `clock` for a `with` block."""
    former = install_clock(clock)
    try:
        yield clock
    finally:
        install_clock(former)
