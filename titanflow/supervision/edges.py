"""For plain code at the edges (HTTP handlers, commands, tests): sleep, events and bare greenlets.

The rest of the program never names gevent; what it needs of it is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

import gevent
import gevent.event
import gevent.lock
import gevent.threadpool

from titanflow.supervision.clock import installed_clock

P = ParamSpec("P")
R = TypeVar("R")


def sleep_ms(ms: float) -> None:
    """Block the calling greenlet, and nobody else, on the installed clock."""
    installed_clock().sleep_ms(ms)


class Event:
    """A flag that greenlets can wait for; set from any of them."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = gevent.event.Event()

    def set(self) -> None:
        """Wake everybody who waits, now and later."""
        self._event.set()

    def clear(self) -> None:
        """Take the flag down."""
        self._event.clear()

    @property
    def is_set(self) -> bool:
        """True once it was set."""
        return bool(self._event.is_set())

    def wait(self, timeout_s: float | None) -> bool:
        """Block until it is set. False after timeout_s."""
        return bool(self._event.wait(timeout_s))


class Busy(Exception):
    """A NativeThread has as much to do as it takes."""


class NativeThread:
    """A real thread for work that computes in C without the interpreter's lock: the hub goes on meanwhile.

    One thing at a time, so it costs one core at most; others wait their turn, at most most_waiting of them.
    """

    __slots__ = ("_free", "_pool")

    def __init__(self, *, most_waiting: int) -> None:
        self._pool = gevent.threadpool.ThreadPool(1)
        self._free = gevent.lock.BoundedSemaphore(most_waiting + 1)

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the function returns, or raise what it raises; only the caller waits. Raises Busy at once."""
        if not self._free.acquire(blocking=False):
            raise Busy
        try:
            result: R = self._pool.spawn(function, *args, **kwargs).get()
            return result
        finally:
            self._free.release()


class Stream(Protocol):
    """What text can be written to."""

    def write(self, text: str, /) -> object:
        """Take it."""

    def flush(self) -> object:
        """Let nothing of it wait."""


def print_hub_errors_to(stream: Stream) -> None:
    """Where gevent prints what a bare greenlet or a callback of the hub raised; standard error by default."""
    gevent.get_hub().exception_stream = stream


class PlainGreenlet:
    """A running function outside supervision: nobody restarts it, its crash is only logged."""

    __slots__ = ("_greenlet",)

    def __init__(self, greenlet: gevent.Greenlet) -> None:
        self._greenlet = greenlet

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for its end. False at time-out."""
        self._greenlet.join(timeout_s)
        return bool(self._greenlet.dead)

    def kill(self, timeout_s: float = 1.0) -> None:
        """End it."""
        self._greenlet.kill(block=True, timeout=timeout_s)


def spawn_plain(function: Callable[..., object], *args: object) -> PlainGreenlet:
    """Run a function in a bare greenlet. Only at process edges: inside, start a task or an actor."""
    return PlainGreenlet(gevent.spawn(function, *args))
