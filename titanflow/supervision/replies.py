"""The two things a process may owe somebody: the answer to a call, and word that it has started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pykka
from gevent.hub import Waiter

from titanflow.supervision.clock import Clock, wake
from titanflow.supervision.messages import Tagged
from titanflow.supervision.reasons import KILL, TIMEOUT, CallExit, StartError, is_atom

if TYPE_CHECKING:
    from titanflow.supervision.process import Pid, Process


class From(Tagged):
    """The sender of a call: keep it to `reply` later. One request, at most one answer."""

    __slots__ = ("_answer", "_failed", "_future", "_waiter", "caller", "done", "holder", "request")

    def __init__(self, request: Any, caller: Pid | None, waiter: Any | None, future: Any | None = None) -> None:
        self.request = request
        self.caller = caller
        self.done = False
        self.holder: Process | None = None
        self._waiter = waiter
        self._future = future
        self._answer: Any = None
        self._failed = False

    def settle(self, answer: Any, *, failed: bool = False) -> None:
        """Give the answer, or the reason why there is none. Late and second answers are dropped."""
        if self.done:
            return
        self.done = True
        self._answer, self._failed = answer, failed
        if self.holder is not None and self.holder.kept_calls is not None:
            self.holder.kept_calls.discard(self)
        self.holder = None
        if self._waiter is not None:
            wake(self._waiter)
        elif self._future is not None:
            self._settle_future(answer, failed)

    def _settle_future(self, answer: Any, failed: bool) -> None:
        future = self._future
        assert future is not None
        if not failed:
            future.set(answer)
        else:
            error = pykka.ActorDeadError(f"stopped before answering: {answer!r}")
            future.set_exception((type(error), error, None))

    def give_up(self) -> None:
        """The caller waits no more: whatever comes later is dropped."""
        self.done = True
        if self.holder is not None and self.holder.kept_calls is not None:
            self.holder.kept_calls.discard(self)
        self.holder = None

    def wait(self, clock: Clock, timeout_s: float | None) -> Any:
        """Block the caller until the answer comes. Raises CallExit."""
        timer = None if timeout_s is None else clock.call_later(timeout_s * 1000, self._expire)
        try:
            self._waiter.get()  # type: ignore[union-attr]  # only a call that waits has one
        finally:
            if timer is not None:
                timer.cancel()
            if not self.done:
                self.give_up()
        if self._failed:
            raise CallExit(self._answer)
        return self._answer

    def _expire(self) -> None:
        self.settle(TIMEOUT, failed=True)


class Ack:
    """What a starting process tells its starter: ok, ignore or an error. OTP's proc_lib:init_ack."""

    __slots__ = ("_error", "_known", "_waiter")

    def __init__(self) -> None:
        self._waiter = Waiter()
        self._known = False
        self._error: StartError | None = None

    def give(self, error: StartError | None = None) -> None:
        """Tell the starter, once."""
        if not self._known:
            self._known = True
            self._error = error
            wake(self._waiter)

    def wait(self, process: Process, timeout_s: float | None) -> None:
        """Block the starter. Raises StartError; a start that takes too long is killed."""
        timer = None
        if timeout_s is not None:
            timer = process.clock.call_later(timeout_s * 1000, lambda: self.give(StartError(TIMEOUT)))
        try:
            self._waiter.get()
        finally:
            if timer is not None:
                timer.cancel()
        if self._error is not None:
            if is_atom(self._error.reason, TIMEOUT) and process.pid.alive:
                process.receive_exit(None, KILL)
            raise self._error
