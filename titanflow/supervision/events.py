"""What happens in the tree, told once: logs, the graveyard, listeners.

Incidents give one failure one number: a crash, the restarts and the escalation that it causes share it.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import structlog

from titanflow.supervision.pretty import pretty
from titanflow.supervision.reasons import KILLED, Crash, Reason, describe, is_atom, is_orderly

if TYPE_CHECKING:
    from titanflow.supervision.process import Pid, Process

log = structlog.get_logger()

_GRAVES = 50


@dataclass(frozen=True, slots=True)
class Obituary:
    """One death that was no orderly end."""

    pid: int
    kind: str
    name: str | None
    reason: str
    traceback: str | None
    message: str | None
    age_s: float
    at_ns: int
    incident: int | None


StartedListener: TypeAlias = "Callable[[Pid, Pid | None], None]"
EndedListener: TypeAlias = "Callable[[Pid, Reason], None]"

graveyard: deque[Obituary] = deque(maxlen=_GRAVES)
"""The last abnormal ends, oldest first."""

started_listeners: list[StartedListener] = []
ended_listeners: list[EndedListener] = []

_incidents = itertools.count(1)


def new_incident() -> int:
    """A number for a failure and all that follows from it."""
    return next(_incidents)


def add_listener(*, started: StartedListener | None = None, ended: EndedListener | None = None) -> None:
    """Be told of every start and every end: (pid, parent) and (pid, reason). Listeners may not block."""
    if started is not None:
        started_listeners.append(started)
    if ended is not None:
        ended_listeners.append(ended)


def remove_listener(*, started: StartedListener | None = None, ended: EndedListener | None = None) -> None:
    """Take back add_listener."""
    if started in started_listeners:
        started_listeners.remove(started)
    if ended in ended_listeners:
        ended_listeners.remove(ended)


def log_every_start_and_end(on: bool) -> None:
    """Also log ordinary starts and ends (debug level); off by default: a tree has thousands."""
    if on and _log_start not in started_listeners:
        started_listeners.append(_log_start)
        ended_listeners.append(_log_end)
    elif not on and _log_start in started_listeners:
        started_listeners.remove(_log_start)
        ended_listeners.remove(_log_end)


def _log_start(pid: Pid, parent: Pid | None) -> None:
    log.debug("actor.started", actor=pid.kind, pid=pid.number, parent=parent.number if parent else None)


def _log_end(pid: Pid, reason: Reason) -> None:
    if is_orderly(reason):
        log.debug("actor.stopped", actor=pid.kind, pid=pid.number, reason=describe(reason))


def process_started(pid: Pid, parent: Pid | None) -> None:
    """A process was spawned."""
    for listener in started_listeners:
        listener(pid, parent)


def process_ended(process: Process, reason: Reason) -> None:
    """A process is dead: bury it and tell the listeners."""
    if not is_orderly(reason):
        _bury(process, reason)
    for listener in ended_listeners:
        listener(process.pid, reason)


def _bury(process: Process, reason: Reason) -> None:
    now_ns = time.monotonic_ns()
    crashed = isinstance(reason, Crash)
    obituary = Obituary(
        pid=process.pid.number,
        kind=process.pid.kind,
        name=None if process.name is None else str(process.name),
        reason=describe(reason),
        traceback=reason.traceback if isinstance(reason, Crash) else None,
        message=None if process.message is None else pretty(getattr(process.message, "request", process.message)),
        age_s=(now_ns - process.started_ns) / 1e9,
        at_ns=time.time_ns(),
        incident=process.incident,
    )
    graveyard.append(obituary)
    if is_atom(reason, KILLED):
        return  # whoever killed it knows
    log.log(
        40 if crashed else 30,
        "actor.crashed" if crashed else "actor.failed",
        actor=obituary.kind,
        pid=obituary.pid,
        name=obituary.name,
        reason=obituary.reason,
        message=obituary.message,
        traceback=obituary.traceback,
        incident=obituary.incident,
    )


def process_resisted(pid: Pid) -> None:
    """A greenlet swallowed its kill every time and was written off."""
    log.error("actor.unkillable", actor=pid.kind, pid=pid.number)


def child_restarted(supervisor: Pid, child: str, reason: Reason, incident: int | None) -> None:
    """A supervisor started a child again."""
    log.warning(
        "actor.restarted", supervisor=supervisor.number, child=child, reason=describe(reason), incident=incident
    )


def restart_failed(supervisor: Pid, child: str, reason: Reason, incident: int | None) -> None:
    """A restart did not succeed; the supervisor tries again."""
    log.error(
        "actor.restart_failed",
        supervisor=supervisor.number,
        child=child,
        reason=describe(reason),
        incident=incident,
    )


def supervisor_gave_up(supervisor: Pid, child: str, reason: Reason, incident: int | None) -> None:
    """Too many restarts within the window: the failure climbs to the next supervisor."""
    log.error("actor.escalated", supervisor=supervisor.number, child=child, reason=describe(reason), incident=incident)


def shutdown_failed(supervisor: Pid, child: str, reason: Reason) -> None:
    """A child that was told to stop ended otherwise: killed after its time, or by a crash in terminate."""
    log.warning("actor.shutdown_failed", supervisor=supervisor.number, child=child, reason=describe(reason))
