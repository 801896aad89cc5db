"""Tasks: one function in a process of its own, whose result somebody may await.

OTP source: Elixir's Task and Task.Supervised. A task's owner is the process that started it; plain code may
own one too, and is never linked to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, ParamSpec, TypeAlias, TypeVar

from greenlet import getcurrent

from titanflow.supervision.messages import Down, MonitorRef, TaskReply
from titanflow.supervision.process import NO_MESSAGE, Pid, Process, current_process, start_process
from titanflow.supervision.reasons import (
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    TIMEOUT,
    CallExit,
    Reason,
    Shutdown,
    is_atom,
)
from titanflow.supervision.registry import Via

P = ParamSpec("P")
R = TypeVar("R")

_GO_TIMEOUT_MS = 5_000


@dataclass(frozen=True, slots=True)
class TaskDone(Generic[R]):
    """The task returned a value: `{:ok, value}`."""

    value: R


@dataclass(frozen=True, slots=True)
class TaskExit:
    """The task ended without one: `{:exit, reason}`."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class _Go:
    """The owner has set up its monitor: the task may run, and send its result there."""

    owner: Process
    ref: MonitorRef


class TaskBody:
    """A function to run in a process; what a child spec of a task makes.

    waits_for: the owner whose go-ahead it waits for; None = fire and forget.
    """

    __slots__ = ("function", "waits_for")

    def __init__(self, function: Callable[[], Any], waits_for: Process | None = None) -> None:
        self.function = function
        self.waits_for = waits_for

    def _new_process(self, name: Via | None) -> Process:
        return TaskProcess(self)


class TaskProcess(Process):
    """The process that runs a task."""

    __slots__ = ("body",)

    def __init__(self, body: TaskBody) -> None:
        super().__init__("Task")
        self.body = body

    def main(self) -> Reason:
        assert self.ack is not None
        self.ack.give()
        self.ack = None
        owner = self.body.waits_for
        if owner is None:
            self.body.function()
            return NORMAL
        go = self._wait_for(owner)
        if not isinstance(go, _Go):
            return Shutdown(go)
        value = self.body.function()
        if owner.watching is not None and go.ref in owner.watching:  # else nobody waits any more
            owner.deliver(TaskReply(go.ref, value))
        return NORMAL

    def _wait_for(self, owner: Process) -> _Go | Reason:
        ref = self.monitor(owner.pid)
        message = self.receive(lambda m: m.__class__ is _Go or (m.__class__ is Down and m.ref is ref), _GO_TIMEOUT_MS)
        self.demonitor(ref, flush=True)
        if message is NO_MESSAGE:
            return TIMEOUT
        return message.reason if isinstance(message, Down) else message


class Task(Generic[R]):
    """A running task. Only its owner may await it, and once."""

    __slots__ = ("_owner", "pid", "ref")

    def __init__(self, pid: Pid, owner: Process) -> None:
        self.pid = pid
        self._owner = owner
        self.ref = owner.monitor(pid)
        process = pid._process
        if process is not None:
            process.deliver(_Go(owner, self.ref))

    def await_result(self, timeout_s: float | None = 5.0) -> R:
        """Wait for the value: Task.await. Raises CallExit with why it ended, or "timeout"."""
        message = self._receive(timeout_s)
        self._owner.demonitor(self.ref, flush=True)
        if message is NO_MESSAGE:
            raise CallExit(TIMEOUT)
        if isinstance(message, Down):
            raise CallExit(message.reason)
        value: R = message.value
        return value

    def yield_result(self, timeout_s: float | None = 5.0) -> TaskDone[R] | TaskExit | None:
        """The outcome, or None if it isn't there in time: then it may be asked again. Task.yield."""
        message = self._receive(timeout_s)
        if message is NO_MESSAGE:
            return None
        self._owner.demonitor(self.ref, flush=True)
        return TaskExit(message.reason) if isinstance(message, Down) else TaskDone(message.value)

    def shutdown(self, timeout_ms: float | Literal["brutal_kill"] = 5_000) -> TaskDone[R] | TaskExit | None:
        """Unlink and end the task; its outcome if it had one, else None: Task.shutdown."""
        owner, pid = self._owner, self.pid
        owner.unlink(pid)
        brutal = timeout_ms == "brutal_kill"
        expected = KILLED if brutal else SHUTDOWN
        reason = self._end(KILL if brutal else SHUTDOWN, None if isinstance(timeout_ms, str) else timeout_ms)
        if reason is NO_MESSAGE:
            expected = KILLED
            reason = self._end(KILL, None)
        answer = owner.take(lambda m: m.__class__ is TaskReply and m.ref is self.ref)
        down = owner.take(lambda m: m.__class__ is Down and m.ref is self.ref)
        owner.demonitor(self.ref)
        if answer is not NO_MESSAGE:
            return TaskDone(answer.value)
        if is_atom(reason, NOPROC) and down is not NO_MESSAGE:
            reason = down.reason
        return None if is_atom(reason, expected) else TaskExit(reason)

    def _receive(self, timeout_s: float | None) -> Any:
        if current_process() not in (self._owner, None):
            raise RuntimeError("only the process that started a task can await it")
        ref = self.ref
        return self._owner.receive(
            lambda m: (m.__class__ is TaskReply or m.__class__ is Down) and m.ref is ref,
            None if timeout_s is None else timeout_s * 1000,
        )

    def _end(self, signal: Reason, timeout_ms: float | None) -> Reason:
        process = self.pid._process
        if process is None:
            return NOPROC
        process.receive_exit(self._owner.pid, signal)
        return self._owner.await_down(self.pid, timeout_ms)


class PlainOwner(Process):
    """A stand-in for plain code that owns a task: a mailbox without a loop, read by whoever waits."""

    __slots__ = ()

    def wait_for_message(self, timeout_ms: float | None = None, wanted: Callable[[Any], bool] | None = None) -> bool:
        self._greenlet = getcurrent()
        return super().wait_for_message(timeout_ms, wanted)


def owner_process() -> Process:
    """The calling process; for plain code, a stand-in."""
    return current_process() or PlainOwner("plain")


def async_link(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Task[R]:
    """Run a function in a task linked to the calling process: Task.async. From plain code: not linked."""
    owner = owner_process()
    body = TaskBody(lambda: function(*args, **kwargs), owner)
    return Task(start_process(TaskProcess(body), link=True), owner)


TaskOutcome: TypeAlias = TaskDone[R] | TaskExit
