"""observe(): the running tree as plain data, for `titanflow tree`, the API and people at three in the morning.

It reads the actors from outside, without a message: it also shows one that is stuck.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from titanflow.supervision.client import Server
from titanflow.supervision.dynamic_supervisor import DynamicSupervisor
from titanflow.supervision.events import Obituary, graveyard
from titanflow.supervision.gen_server import GenServer, ServerProcess
from titanflow.supervision.pretty import pretty_fields
from titanflow.supervision.process import Pid, Process, processes
from titanflow.supervision.registry import whereis
from titanflow.supervision.supervisor import Supervisor

_SIZED_OBJECTS = 2_000


@dataclass(slots=True)
class RestartInfo:
    """How much of its restart budget a supervisor has used."""

    in_window: int
    max_restarts: int
    max_seconds: float
    strategy: str


@dataclass(slots=True)
class ProcessInfo:
    """One process, and those below it. Times in seconds, sizes in bytes."""

    pid: int
    kind: str
    name: str | None
    child_id: str | None
    status: str  # waiting, running, ending
    state: dict[str, str]
    mailbox: int
    mailbox_limit: int
    mailbox_policy: str
    refused: int
    dropped: int
    handled: int
    busy_s: float
    age_s: float
    memory_bytes: int
    links: list[int]
    monitors: int
    timers: int
    trap_exit: bool
    restarts: RestartInfo | None = None
    graves: list[Obituary] = field(default_factory=list)
    children: list[ProcessInfo] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return dataclasses.asdict(self)


def observe(root: Server | None = None) -> ProcessInfo | None:
    """The tree below `root`, with the last crashes at its top; None if it is dead.

    root None: the oldest living process that has no parent.
    """
    if root is None:
        top = next((process for process in processes.values() if process.parent is None), None)
    else:
        pid = whereis(root)
        top = None if pid is None else pid._process
    if top is None:
        return None
    below: dict[int, list[Process]] = {}
    for process in processes.values():
        if process.parent is not None:
            below.setdefault(process.parent.number, []).append(process)
    info = _describe(top, None, below)
    info.graves = list(graveyard)
    return info


def process_of(number: int) -> Pid | None:
    """The living process of a number, as `observe` shows it; None if it has ended. Numbers are never reused."""
    process = processes.get(number)
    return None if process is None else process.pid


def _describe(process: Process, child_id: str | None, below: dict[int, list[Process]]) -> ProcessInfo:
    server = process.server if isinstance(process, ServerProcess) else None
    ids = _child_ids(server)
    now_ns = time.monotonic_ns()
    busy_ns = process.busy_ns + (time.perf_counter_ns() - process.woken_ns if process.woken_ns else 0)
    return ProcessInfo(
        pid=process.pid.number,
        kind=process.pid.kind,
        name=None if process.name is None else str(process.name),
        child_id=child_id,
        status="ending" if process.doomed else "running" if process.woken_ns else "waiting",
        state=_state_of(server),
        mailbox=len(process.mailbox),
        mailbox_limit=process.limit,
        mailbox_policy=process.policy,
        refused=process.refused,
        dropped=process.dropped,
        handled=process.handled,
        busy_s=round(busy_ns / 1e9, 6),
        age_s=round((now_ns - process.started_ns) / 1e9, 3),
        memory_bytes=_memory_of(process, server),
        links=sorted(pid.number for pid in process.links or ()),
        monitors=len(process.watching or ()),
        timers=process.timers,
        trap_exit=process.trap_exit,
        restarts=_restarts_of(server),
        children=[_describe(child, ids.get(child.pid.number), below) for child in below.get(process.pid.number, ())],
    )


def _child_ids(server: GenServer | None) -> dict[int, str]:
    if isinstance(server, Supervisor | DynamicSupervisor):
        return {child.pid.number: str(child.spec.id) for child in server._children.values() if child.pid is not None}
    return {}


def _restarts_of(server: GenServer | None) -> RestartInfo | None:
    if isinstance(server, Supervisor | DynamicSupervisor) and hasattr(server, "window"):
        strategy = server.strategy if isinstance(server, Supervisor) else "one_for_one"
        used = server.window.used(server.now_ns())
        return RestartInfo(used, server.max_restarts, server.max_seconds, strategy)
    return None


def _state_of(server: GenServer | None) -> dict[str, str]:
    if server is None:
        return {}
    try:
        return pretty_fields(server.observed_state())
    except Exception as error:  # noqa: BLE001  # user code; a snapshot must not fail because of one actor
        return {"unreadable": type(error).__name__}


def _memory_of(process: Process, server: GenServer | None) -> int:
    """An estimate: the mailbox and the state, followed through plain containers, up to a bound."""
    seen: set[int] = set()
    pending: list[Any] = [process.mailbox] + ([] if server is None else [vars(server)])
    size = sys.getsizeof(process)
    while pending and len(seen) < _SIZED_OBJECTS:
        item = pending.pop()
        if id(item) in seen or isinstance(item, Process):
            continue
        seen.add(id(item))
        size += sys.getsizeof(item)
        if isinstance(item, dict):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset) or item is process.mailbox:
            pending += list(item)
    return size
