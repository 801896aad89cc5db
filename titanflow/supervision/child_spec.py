"""Child specs, restart decisions and the restart window: the pure half of supervisors.

OTP source: supervisor:check_childspecs, do_restart, add_restart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, get_args

from titanflow.supervision.process import Pid, Process
from titanflow.supervision.reasons import Reason, is_orderly
from titanflow.supervision.registry import Via

Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
ShutdownTime: TypeAlias = int | Literal["brutal_kill", "infinity"]
ChildType: TypeAlias = Literal["worker", "supervisor"]
Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]

_WORKER_SHUTDOWN_MS = 5_000


class Startable(Protocol):
    """What a child spec's factory makes: a GenServer (supervisors are GenServers), or a task."""

    def _new_process(self, name: Via | None) -> Process: ...


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start, stop and restart one child: OTP's child specification.

    start: a factory, called anew for every (re)start; a DynamicSupervisor calls it with its extra arguments.
    shutdown_ms: how long terminate may take; None = 5,000 for workers, infinity for supervisors.
    """

    id: Hashable
    start: Callable[..., Startable]
    restart: Restart = "permanent"
    shutdown_ms: ShutdownTime | None = None
    type: ChildType = "worker"
    significant: bool = False
    name: Via | None = None

    @property
    def shutdown_time(self) -> ShutdownTime:
        """The shutdown time in ms, brutal_kill or infinity, with the default filled in."""
        if self.shutdown_ms is not None:
            return self.shutdown_ms
        return "infinity" if self.type == "supervisor" else _WORKER_SHUTDOWN_MS


class BadSpec(Exception):
    """A spec or a supervisor's flag is wrong; `reason` as OTP words it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(repr(reason))
        self.reason = reason


def check_spec(spec: ChildSpec, auto_shutdown: AutoShutdown | None = None) -> ChildSpec:
    """Return the spec if it is right. Raises BadSpec. auto_shutdown None: a DynamicSupervisor's child."""
    if not callable(spec.start):
        raise BadSpec(("invalid_mfa", spec.start))
    if spec.restart not in get_args(Restart):
        raise BadSpec(("invalid_restart_type", spec.restart))
    if spec.type not in get_args(ChildType):
        raise BadSpec(("invalid_child_type", spec.type))
    if spec.significant is True and auto_shutdown == "never":
        raise BadSpec(("bad_combination", (("auto_shutdown", "never"), ("significant", True))))
    if spec.significant is True and spec.restart == "permanent" and auto_shutdown is not None:
        raise BadSpec(("bad_combination", (("restart", "permanent"), ("significant", True))))
    if not isinstance(spec.significant, bool):
        raise BadSpec(("invalid_significant", spec.significant))
    shutdown = spec.shutdown_time
    in_time = isinstance(shutdown, int) and not isinstance(shutdown, bool) and shutdown >= 0
    if not in_time and shutdown not in ("brutal_kill", "infinity"):
        raise BadSpec(("invalid_shutdown", shutdown))
    return spec


def check_specs(specs: Sequence[ChildSpec], auto_shutdown: AutoShutdown) -> None:
    """Check each, and that no id comes twice."""
    seen: set[Hashable] = set()
    for spec in specs:
        check_spec(spec, auto_shutdown)
        if spec.id in seen:
            raise BadSpec(("duplicate_child_name", spec.id))
        seen.add(spec.id)


def check_intensity(max_restarts: Any, max_seconds: Any) -> None:
    """Check the restart window's bounds."""
    if not _is_count(max_restarts) or max_restarts < 0:
        raise BadSpec(("invalid_intensity", max_restarts))
    if not _is_count(max_seconds) or max_seconds <= 0:
        raise BadSpec(("invalid_period", max_seconds))


def check_flags(strategy: Any, max_restarts: Any, max_seconds: Any, auto_shutdown: Any) -> None:
    """Check a supervisor's own options."""
    if strategy not in get_args(Strategy):
        raise BadSpec(("invalid_strategy", strategy))
    check_intensity(max_restarts, max_seconds)
    if auto_shutdown not in get_args(AutoShutdown):
        raise BadSpec(("invalid_auto_shutdown", auto_shutdown))


def should_restart(restart: Restart, reason: Reason) -> bool:
    """The decision for a child that ended by itself."""
    return restart == "permanent" or (restart == "transient" and not is_orderly(reason))


def is_expected_stop(spec: ChildSpec, reason: Reason, *, brutal: bool) -> bool:
    """True if a child that was told to stop ended as one should."""
    if brutal and reason == "killed":
        return True
    return is_orderly(reason) and (reason != "normal" or spec.restart != "permanent")


@dataclass(slots=True)
class RestartWindow:
    """At most `max_restarts` within `max_seconds`, counted back from each restart, both ends included."""

    max_restarts: int
    max_seconds: float
    _restarts_ns: deque[int] = field(default_factory=deque)

    def allows(self, now_ns: int) -> bool:
        """Count one more restart; False if it is one too many."""
        self._restarts_ns.append(now_ns)
        return self.used(now_ns) <= self.max_restarts

    def used(self, now_ns: int) -> int:
        """How many restarts stand in the window now."""
        oldest_ns = now_ns - int(self.max_seconds * 1_000_000_000)
        while self._restarts_ns and self._restarts_ns[0] < oldest_ns:
            self._restarts_ns.popleft()
        return len(self._restarts_ns)


@dataclass(slots=True)
class Child:
    """One child of a supervisor: its spec, and where it is."""

    spec: ChildSpec
    pid: Pid | None = None
    restarting: bool = False

    @property
    def shown(self) -> Pid | Literal["undefined", "restarting"]:
        """As which_children tells it."""
        if self.restarting:
            return "restarting"
        return "undefined" if self.pid is None else self.pid


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One row of which_children."""

    id: Hashable
    pid: Pid | Literal["undefined", "restarting"]
    type: ChildType


@dataclass(frozen=True, slots=True)
class ChildCount:
    """What count_children answers."""

    specs: int
    active: int
    supervisors: int
    workers: int


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
