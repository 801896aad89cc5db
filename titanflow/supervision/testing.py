"""A kit for tests of actors: virtual time, waiting for a condition, crashes on purpose, no leaked actors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent

from titanflow.supervision.client import Server, exit_process, send, wait_for_exit
from titanflow.supervision.clock import VirtualClock, using_clock
from titanflow.supervision.process import Pid, processes
from titanflow.supervision.reasons import KILL, Reason
from titanflow.supervision.registry import whereis


class LeakedActors(AssertionError):
    """A test left actors running."""


def living() -> list[Pid]:
    """Every living process, oldest first."""
    return [process.pid for process in processes.values()]


def kill_everybody() -> None:
    """Kill every living process: the last resort of a test's clean-up."""
    for pid in living():
        exit_process(pid, KILL)


@contextmanager
def no_leaked_actors(timeout_s: float = 1.0) -> Iterator[None]:
    """Fail if the block leaves an actor running that it started; kills it, so that others can go on."""
    before = set(living())
    yield
    leaked = [pid for pid in living() if pid not in before]
    eventually(lambda: not any(pid.alive for pid in leaked), timeout_s=timeout_s, must=False)
    leaked = [pid for pid in leaked if pid.alive]
    for pid in leaked:
        exit_process(pid, KILL)
    if leaked:
        raise LeakedActors(f"still running: {leaked}")


@contextmanager
def virtual_clock() -> Iterator[VirtualClock]:
    """Time that stands still until the test moves it, for all actors started in the block."""
    clock = VirtualClock()
    with using_clock(clock):
        yield clock


def eventually(condition: Callable[[], bool], *, timeout_s: float = 2.0, must: bool = True) -> bool:
    """Wait, in real time, until the condition holds. Raises AssertionError if it does not (must)."""
    deadline = gevent.Timeout.start_new(timeout_s)
    try:
        while not condition():
            gevent.sleep(0.001)
    except gevent.Timeout as expired:
        if expired is not deadline:
            raise
        if must:
            raise AssertionError(f"did not come true within {timeout_s} s") from None
        return False
    finally:
        deadline.close()
    return True


def crash(server: Server, reason: Reason = KILL, timeout_s: float = 1.0) -> Pid:
    """End an actor by a signal and wait until it is dead; the Pid that it had."""
    pid = whereis(server)
    assert pid is not None, f"{server!r} is not alive"
    exit_process(pid, reason)
    wait_for_exit(pid, timeout_s)
    return pid


__all__ = [
    "LeakedActors",
    "crash",
    "eventually",
    "kill_everybody",
    "living",
    "no_leaked_actors",
    "send",
    "virtual_clock",
]
