"""DynamicSupervisor: any number of children started on demand, all alike in rank.

They are restarted one for one and stopped all at once, each within its own shutdown time. A restarted
DynamicSupervisor starts empty. OTP source: Elixir's DynamicSupervisor.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

from titanflow.supervision import events
from titanflow.supervision.child_spec import (
    BadSpec,
    Child,
    ChildCount,
    ChildInfo,
    ChildSpec,
    RestartWindow,
    check_intensity,
    check_spec,
    is_expected_stop,
    should_restart,
)
from titanflow.supervision.gen_server import CallResult, GenServer, InitResult, InitStop, Reply, Result, Stop
from titanflow.supervision.messages import Cast, Down, ExitSignal, MonitorRef
from titanflow.supervision.process import NO_MESSAGE, Pid
from titanflow.supervision.reasons import KILL, SHUTDOWN, Reason, StartError
from titanflow.supervision.replies import From
from titanflow.supervision.starting import kill, start_one
from titanflow.supervision.supervisor_client import (
    CountChildren,
    Refused,
    StartChild,
    TerminateChild,
    WhichChildren,
)


@dataclass(frozen=True, slots=True)
class _TryAgain(Cast):
    """A failed restart is tried again through the mailbox. `pid`: the dead one, the child's key."""

    pid: Pid


class DynamicSupervisor(GenServer):
    """Supervises children that come and go: one a campaign, one a phone number.

    max_children: None = no limit; above it start_child raises StartError("max_children").
    extra_arguments: given to every child's start factory.
    """

    mailbox_limit: ClassVar[int] = 100_000

    def __init__(
        self,
        max_children: int | None = None,
        max_restarts: int = 3,
        max_seconds: int = 5,
        extra_arguments: tuple[object, ...] = (),
    ) -> None:
        self.max_children = max_children
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self._extra_arguments = tuple(extra_arguments)
        self._children: dict[Pid, Child] = {}

    # ------------------------------------------------------------------------------------------- callbacks

    def init(self) -> InitResult:
        self.trap_exit = True
        try:
            check_intensity(self.max_restarts, self.max_seconds)
            if self.max_children is not None and (not isinstance(self.max_children, int) or self.max_children < 0):
                raise BadSpec(("invalid_max_children", self.max_children))
        except BadSpec as bad:
            return InitStop(("supervisor_data", bad.reason))
        self.window = RestartWindow(self.max_restarts, self.max_seconds)
        return None

    def handle_call(self, request: Any, sender: From) -> CallResult:
        match request:
            case StartChild(spec):
                return Reply(self._add(spec))
            case TerminateChild(pid):
                return Reply(self._terminate_child(pid))
            case WhichChildren():
                return Reply([ChildInfo(None, c.shown, c.spec.type) for c in self._children.values()])
            case CountChildren():
                return Reply(self._count())
        return super().handle_call(request, sender)

    def handle_cast(self, message: Any) -> Result:
        match message:
            case _TryAgain(pid):
                child = self._children.get(pid)
                return None if child is None else self._restart(pid, child, "restarting")
        return super().handle_cast(message)

    def handle_info(self, message: Any) -> Result:
        match message:
            case ExitSignal(sender, reason, incident):
                child = None if sender is None else self._children.get(sender)
                if child is None or sender is None:
                    return None
                if not should_restart(child.spec.restart, reason):
                    del self._children[sender]
                    return None
                self._process.incident = incident
                result = self._restart(sender, child, reason)
                if result is None:
                    self._process.incident = None
                return result
        return super().handle_info(message)

    def terminate(self, reason: Reason) -> None:
        self._stop_all_at_once(self._children)

    # ---------------------------------------------------------------------------------- ends and restarts

    def _restart(self, pid: Pid, child: Child, reason: Reason) -> Result:
        incident = self._process.incident
        if not self.window.allows(self.now_ns()):
            events.supervisor_gave_up(self.pid, str(child.spec.id), reason, incident)
            del self._children[pid]
            return Stop(SHUTDOWN)
        try:
            started = start_one(child.spec, self._extra_arguments)
        except StartError as error:
            child.restarting = True
            events.restart_failed(self.pid, str(child.spec.id), error.reason, incident)
            self._process.deliver(_TryAgain(pid))
            return None
        del self._children[pid]
        if started is not None:
            self._children[started] = Child(child.spec, started)
            events.child_restarted(self.pid, str(child.spec.id), reason, incident)
        return None

    def _stop_all_at_once(self, children: dict[Pid, Child]) -> None:
        """Signal everybody, then wait, each within its own time."""
        process = self._process
        waiting: dict[MonitorRef, tuple[Pid, Child]] = {}
        due: list[tuple[int, Pid]] = []
        for pid, child in children.items():
            if child.restarting:
                continue
            waiting[process.monitor(pid)] = (pid, child)
            process.unlink(pid)
            target = pid._process
            if target is None:
                continue
            time_ms = child.spec.shutdown_time
            reason = KILL if time_ms == "brutal_kill" else SHUTDOWN
            target.receive_exit(self.pid, reason, incident=process.incident)
            if isinstance(time_ms, int):
                due.append((self.now_ns() + time_ms * 1_000_000, pid))
        due.sort(key=lambda entry: entry[0], reverse=True)
        while waiting:
            left_ms = max(0.0, (due[-1][0] - self.now_ns()) / 1e6) if due else None
            down = process.receive(lambda m: m.__class__ is Down and m.ref in waiting, left_ms)
            if down is NO_MESSAGE:
                kill(due.pop()[1])
                continue
            pid, child = waiting.pop(down.ref)
            brutal = child.spec.shutdown_time == "brutal_kill"
            if down.reason != "noproc" and not is_expected_stop(child.spec, down.reason, brutal=brutal):
                events.shutdown_failed(self.pid, str(child.spec.id), down.reason)

    # -------------------------------------------------------------------------------------------- requests

    def _add(self, spec: ChildSpec) -> Pid | Refused | None:
        try:
            check_spec(spec)
        except BadSpec as bad:
            return Refused(bad.reason)
        if self.max_children is not None and len(self._children) >= self.max_children:
            return Refused("max_children")
        try:
            pid = start_one(spec, self._extra_arguments)
        except StartError as error:
            return Refused(error.reason)
        if pid is not None:
            self._children[pid] = Child(spec, pid)
        return pid

    def _terminate_child(self, pid: Hashable) -> Refused | None:
        child = self._children.get(pid) if isinstance(pid, Pid) else None
        if child is None or not isinstance(pid, Pid):
            return Refused("not_found")
        self._stop_all_at_once({pid: child})
        del self._children[pid]
        return None

    def _count(self) -> ChildCount:
        children = self._children.values()
        supervisors = sum(1 for child in children if child.spec.type == "supervisor")
        return ChildCount(
            specs=len(children),
            active=sum(1 for child in children if not child.restarting),
            supervisors=supervisors,
            workers=len(children) - supervisors,
        )
