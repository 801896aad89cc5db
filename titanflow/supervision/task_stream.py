"""async_stream: run a function over many items, a bounded number at once, and take the results as they come.

As in Elixir, a process in between starts and watches the tasks. It is linked to the caller and traps exits if the
caller does: so a crash ends the caller, or is a result, by the ordinary rules of links.
OTP source: Elixir's Task.Supervised.stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from titanflow.supervision.client import Server
from titanflow.supervision.clock import Timer
from titanflow.supervision.messages import Down, ExitSignal, MonitorRef, TaskReply
from titanflow.supervision.process import NO_MESSAGE, Pid, Process, current_process, start_process
from titanflow.supervision.reasons import KILL, NORMAL, TIMEOUT, CallExit, Reason, StartError
from titanflow.supervision.task import Task, TaskBody, TaskDone, TaskExit, TaskProcess, owner_process
from titanflow.supervision.task_supervisor import start_async

T = TypeVar("T")
R = TypeVar("R")


def async_stream(
    sup: Server | None,
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    max_concurrency: int = 8,
    timeout_ms: float | None = 5_000,
    on_timeout: Literal["exit", "kill_task"] = "exit",
    ordered: bool = True,
    link: bool = True,
) -> Iterator[TaskDone[R] | TaskExit]:
    """Yield an outcome for each item: Task.async_stream, Task.Supervisor.async_stream(_nolink).

    At most max_concurrency tasks at once; items are taken only as they can run. A task that takes longer than
    timeout_ms is killed; then on_timeout "exit" raises CallExit("timeout") in the caller, "kill_task" yields
    TaskExit("timeout"). sup None: tasks without a supervisor, always linked. Stopping early kills what runs.
    """
    owner = owner_process()
    watcher = _Watcher(owner, function, sup, link=link, timeout_ms=timeout_ms)
    watcher.trap_exit = owner.trap_exit or current_process() is None
    pid = start_process(watcher, link=True)
    ref = owner.monitor(pid)
    try:
        yield from _results(owner, watcher, ref, iter(items), max_concurrency, on_timeout, ordered=ordered)
    finally:
        _close(owner, pid, ref)


@dataclass(frozen=True, slots=True)
class _Run:
    position: int
    item: Any


@dataclass(frozen=True, slots=True)
class _Finished:
    """To the caller: the outcome of one item; None = it took too long."""

    stream: Process
    position: int
    outcome: TaskDone[Any] | TaskExit | None


@dataclass(frozen=True, slots=True)
class _Refused:
    """To the caller: the supervisor did not start a task."""

    stream: Process
    reason: Reason


class _Stop:
    """To the watcher: the caller is through."""


@dataclass(slots=True)
class _Running:
    position: int
    task: Task[Any]
    timer: Timer | None
    answer: TaskDone[Any] | None = None
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class _Late:
    ref: MonitorRef


class _Watcher(Process):
    """Starts the tasks of one stream, times them, and tells the caller how each ended."""

    __slots__ = ("_caller", "_function", "_link", "_running", "_sup", "_timeout_ms")

    def __init__(
        self,
        caller: Process,
        function: Callable[[Any], Any],
        sup: Server | None,
        *,
        link: bool,
        timeout_ms: float | None,
    ) -> None:
        super().__init__("TaskStream")
        self._caller = caller
        self._function = function
        self._sup = sup
        self._link = link
        self._timeout_ms = timeout_ms
        self._running: dict[MonitorRef, _Running] = {}

    def main(self) -> Reason:
        assert self.ack is not None
        self.ack.give()
        self.ack = None
        caller_down = self.monitor(self._caller.pid)
        while True:
            message = self.receive(lambda _: True)
            if isinstance(message, _Run):
                self._start(message)
            elif isinstance(message, TaskReply) and message.ref in self._running:
                self._running[message.ref].answer = TaskDone(message.value)
            elif isinstance(message, Down) and message.ref is caller_down:
                self._end_all(message.reason)
                return message.reason
            elif isinstance(message, Down) and message.ref in self._running:
                self._ended(self._running.pop(message.ref), message.reason)
            elif isinstance(message, _Late) and message.ref in self._running:
                running = self._running[message.ref]
                running.timed_out = True
                self._end(running, KILL)
            elif isinstance(message, _Stop):
                self._end_all(KILL)
                return NORMAL

    def _start(self, run: _Run) -> None:
        function, item = self._function, run.item
        try:
            if self._sup is None:
                body = TaskBody(lambda: function(item), self)
                task = Task[Any](start_process(TaskProcess(body), link=True), self)
            else:
                task = start_async(self._sup, lambda: function(item), link=self._link)
        except StartError as error:
            self._caller.deliver(_Refused(self, error.reason))
            return
        timer = None
        if self._timeout_ms is not None:
            timer = self.clock.call_later(self._timeout_ms, lambda: self.deliver(_Late(task.ref)))
            self.add_timer(timer)
        self._running[task.ref] = _Running(run.position, task, timer)

    def _ended(self, running: _Running, reason: Reason) -> None:
        if running.timer is not None:
            running.timer.cancel()
            self.drop_timer(running.timer)
        outcome: TaskDone[Any] | TaskExit | None = running.answer
        if outcome is None and not running.timed_out:
            outcome = TaskExit(reason)
        self._caller.deliver(_Finished(self, running.position, outcome))

    def _end(self, running: _Running, reason: Reason) -> None:
        pid = running.task.pid
        self.unlink(pid)
        if pid._process is not None:
            pid._process.receive_exit(self.pid, reason)

    def _end_all(self, reason: Reason) -> None:
        for running in self._running.values():
            self._end(running, reason)


def _results(
    owner: Process,
    watcher: _Watcher,
    ref: MonitorRef,
    items: Iterator[Any],
    max_concurrency: int,
    on_timeout: str,
    *,
    ordered: bool,
) -> Iterator[TaskDone[Any] | TaskExit]:
    waiting: dict[int, TaskDone[Any] | TaskExit] = {}
    spawned = finished = delivered = 0
    exhausted = False
    while True:
        while not exhausted and spawned - finished < max_concurrency:
            try:
                item = next(items)
            except StopIteration:
                exhausted = True
                break
            watcher.deliver(_Run(spawned, item))
            spawned += 1
        if exhausted and finished == spawned:
            return
        position, outcome = _next_outcome(owner, watcher, ref)
        finished += 1
        if outcome is None:
            if on_timeout == "exit":
                raise CallExit(TIMEOUT)
            outcome = TaskExit(TIMEOUT)
        if not ordered:
            yield outcome
            continue
        waiting[position] = outcome
        while delivered in waiting:
            yield waiting.pop(delivered)
            delivered += 1


def _next_outcome(owner: Process, watcher: _Watcher, ref: MonitorRef) -> tuple[int, TaskDone[Any] | TaskExit | None]:
    message = owner.receive(
        lambda m: (
            (m.__class__ is Down and m.ref is ref)
            or ((m.__class__ is _Finished or m.__class__ is _Refused) and m.stream is watcher)
        )
    )
    if isinstance(message, _Finished):
        return message.position, message.outcome
    raise (StartError if isinstance(message, _Refused) else CallExit)(message.reason)


def _close(owner: Process, pid: Pid, ref: MonitorRef) -> None:
    """Stop the watcher, wait for it, and leave nothing of the stream in the mailbox."""
    watcher = pid._process
    if watcher is not None:
        watcher.deliver(_Stop())
        owner.await_down(pid, None)
    owner.demonitor(ref, flush=True)
    owner.unlink(pid)

    def left_over(message: Any) -> bool:
        if message.__class__ is ExitSignal:
            return bool(message.sender is pid)
        return message.__class__ in (_Finished, _Refused) and message.stream.pid is pid

    while owner.take(left_over) is not NO_MESSAGE:
        pass
