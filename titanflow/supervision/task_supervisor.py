"""TaskSupervisor: runs functions as supervised processes: for one-off concurrent work with a bound.

A DynamicSupervisor whose children are tasks, temporary unless said otherwise. OTP source: Elixir's Task.Supervisor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from titanflow.supervision.child_spec import ChildSpec, Restart, ShutdownTime
from titanflow.supervision.client import Server
from titanflow.supervision.dynamic_supervisor import DynamicSupervisor
from titanflow.supervision.process import Pid
from titanflow.supervision.reasons import NORMAL, StartError
from titanflow.supervision.supervisor_client import start_child
from titanflow.supervision.task import PlainOwner, Task, TaskBody, owner_process

P = ParamSpec("P")
R = TypeVar("R")


class TaskSupervisor(DynamicSupervisor):
    """Supervises tasks. `max_children` is the bound on how many run at once."""


def async_task(sup: Server, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Task[R]:
    """Run a function in a supervised task linked to the caller: Task.Supervisor.async.

    Raises StartError("max_children"), and CallExit if the supervisor is dead.
    """
    return start_async(sup, lambda: function(*args, **kwargs), link=True)


def async_nolink(sup: Server, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Task[R]:
    """The same without a link: a crash is an outcome, not the caller's end. Task.Supervisor.async_nolink."""
    return start_async(sup, lambda: function(*args, **kwargs), link=False)


def start_task(
    sup: Server,
    function: Callable[[], object],
    *,
    restart: Restart = "temporary",
    shutdown_ms: ShutdownTime | None = None,
) -> Pid:
    """Run a function whose result nobody awaits: Task.Supervisor.start_child. Raises StartError."""
    return _start(sup, TaskBody(function), restart, shutdown_ms)


def start_async(sup: Server, function: Callable[[], R], *, link: bool) -> Task[R]:
    """Start a task that reports to the calling process."""
    owner = owner_process()
    pid = _start(sup, TaskBody(function, owner), "temporary", None)
    if link and not isinstance(owner, PlainOwner):
        owner.link(pid)
    return Task(pid, owner)


def _start(sup: Server, body: TaskBody, restart: Restart, shutdown_ms: ShutdownTime | None) -> Pid:
    pid = start_child(sup, ChildSpec(None, lambda *_: body, restart=restart, shutdown_ms=shutdown_ms))
    if pid is None:
        raise StartError(NORMAL)
    return pid
