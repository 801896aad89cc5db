"""Supervisor: starts its children in order, restarts them by a strategy, stops them in reverse order.

It is an actor like any other: it hears of its children's ends as exit signals, retries a failed restart through
its own mailbox, and gives up with reason shutdown when there were too many. OTP source: supervisor.
The decisions are in child_spec.py; here is the effect.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from titanflow.supervision import events
from titanflow.supervision.child_spec import (
    AutoShutdown,
    BadSpec,
    Child,
    ChildCount,
    ChildInfo,
    ChildSpec,
    RestartWindow,
    Strategy,
    check_flags,
    check_spec,
    check_specs,
    is_expected_stop,
    should_restart,
)
from titanflow.supervision.gen_server import CallResult, GenServer, InitResult, InitStop, Reply, Result, Stop
from titanflow.supervision.messages import Cast, ExitSignal
from titanflow.supervision.process import Pid
from titanflow.supervision.reasons import SHUTDOWN, Reason, Shutdown, StartError
from titanflow.supervision.replies import From
from titanflow.supervision.starting import start_one, stop_one
from titanflow.supervision.supervisor_client import (
    CountChildren,
    DeleteChild,
    Refused,
    RestartChild,
    StartChild,
    TerminateChild,
    WhichChildren,
)


@dataclass(frozen=True, slots=True)
class _TryAgain(Cast):
    """A failed restart is tried again through the mailbox, so that other requests get their turn."""

    id: Hashable


class Supervisor(GenServer):
    """Supervises a fixed list of children; more can be added by start_child.

    Give `children`, or subclass and override `children(self)`. Wrong flags or specs fail the start with OTP's
    reasons: ("supervisor_data", ...) and ("start_spec", ...).
    """

    mailbox_limit: ClassVar[int] = 100_000

    def __init__(
        self,
        children: Sequence[ChildSpec] = (),
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        max_seconds: int = 5,
        auto_shutdown: AutoShutdown = "never",
    ) -> None:
        self._specs = children
        self.strategy: Strategy = strategy
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self.auto_shutdown: AutoShutdown = auto_shutdown
        self._children: dict[Hashable, Child] = {}  # in order of start

    def children(self) -> Sequence[ChildSpec]:
        """The specs to start with; called in init, so anew for each incarnation."""
        return self._specs

    # ------------------------------------------------------------------------------------------- callbacks

    def init(self) -> InitResult:
        self.trap_exit = True
        try:
            check_flags(self.strategy, self.max_restarts, self.max_seconds, self.auto_shutdown)
        except BadSpec as bad:
            return InitStop(("supervisor_data", bad.reason))
        specs = list(self.children())
        try:
            check_specs(specs, self.auto_shutdown)
        except BadSpec as bad:
            return InitStop(("start_spec", bad.reason))
        self.window = RestartWindow(self.max_restarts, self.max_seconds)
        self._children = {spec.id: Child(spec) for spec in specs}
        failed = self._start_all(list(self._children.values()))
        if failed is None:
            return None
        self._stop_all(list(self._children.values()))
        return InitStop(Shutdown(("failed_to_start_child", failed[0].spec.id, failed[1])))

    def handle_call(self, request: Any, sender: From) -> CallResult:
        match request:
            case StartChild(spec):
                return Reply(self._add(spec))
            case TerminateChild(id):
                return Reply(self._terminate_child(id))
            case RestartChild(id):
                return Reply(self._start_again(id))
            case DeleteChild(id):
                return Reply(self._delete(id))
            case WhichChildren():
                return Reply([ChildInfo(c.spec.id, c.shown, c.spec.type) for c in self._children.values()])
            case CountChildren():
                return Reply(self._count())
        return super().handle_call(request, sender)

    def handle_cast(self, message: Any) -> Result:
        match message:
            case _TryAgain(id):
                child = self._children.get(id)
                return None if child is None or not child.restarting else self._restart(child, "restarting")
        return super().handle_cast(message)

    def handle_info(self, message: Any) -> Result:
        match message:
            case ExitSignal(sender, reason, incident):
                child = next((c for c in self._children.values() if c.pid is sender and sender is not None), None)
                if child is None:
                    return None
                self._process.incident = incident
                result = self._ended(child, reason)
                if result is None:
                    self._process.incident = None
                return result
        return super().handle_info(message)

    def terminate(self, reason: Reason) -> None:
        self._stop_all(list(self._children.values()))

    # ---------------------------------------------------------------------------------- ends and restarts

    def _ended(self, child: Child, reason: Reason) -> Result:
        if should_restart(child.spec.restart, reason):
            return self._restart(child, reason)
        self._mark_stopped(child)
        if not child.spec.significant or self.auto_shutdown == "never":
            return None
        if self.auto_shutdown == "all_significant" and any(
            other.spec.significant and (other.pid is not None or other.restarting) for other in self._children.values()
        ):
            return None
        return Stop(SHUTDOWN)

    def _restart(self, child: Child, reason: Reason) -> Result:
        if not self.window.allows(self.now_ns()):
            events.supervisor_gave_up(self.pid, str(child.spec.id), reason, self._process.incident)
            self._mark_stopped(child)
            return Stop(SHUTDOWN)
        failed = self._restart_by_strategy(child)
        if failed is None:
            events.child_restarted(self.pid, str(child.spec.id), reason, self._process.incident)
            return None
        failed_child, why = failed
        failed_child.pid, failed_child.restarting = None, True
        events.restart_failed(self.pid, str(failed_child.spec.id), why, self._process.incident)
        self._process.deliver(_TryAgain(failed_child.spec.id))
        return None

    def _restart_by_strategy(self, child: Child) -> tuple[Child, Reason] | None:
        if self.strategy == "one_for_one":
            return self._start_all([child])
        everyone = list(self._children.values())
        first = everyone.index(child) if self.strategy == "rest_for_one" else 0
        group = everyone[first:]
        child.pid, child.restarting = None, False  # it is dead, there is nothing to stop
        self._stop_all([member for member in group if member is not child])
        return self._start_all([member for member in group if member.spec.id in self._children])

    def _start_all(self, children: list[Child]) -> tuple[Child, Reason] | None:
        """Start one after the other; the first that fails, and why."""
        for child in children:
            try:
                child.pid = start_one(child.spec)
            except StartError as error:
                return child, error.reason
            child.restarting = False
            if child.pid is None and child.spec.restart == "temporary":
                del self._children[child.spec.id]
        return None

    def _stop_all(self, children: list[Child]) -> None:
        """Stop in reverse order, each within its time; temporary ones are forgotten."""
        for child in reversed(children):
            self._stop(child)
            if child.spec.restart == "temporary":
                self._children.pop(child.spec.id, None)

    def _stop(self, child: Child) -> None:
        pid, child.pid, child.restarting = child.pid, None, False
        if pid is None:
            return
        reason = stop_one(self._process, pid, child.spec)
        brutal = child.spec.shutdown_time == "brutal_kill"
        if not is_expected_stop(child.spec, reason, brutal=brutal):
            events.shutdown_failed(self.pid, str(child.spec.id), reason)

    def _mark_stopped(self, child: Child) -> None:
        child.pid, child.restarting = None, False
        if child.spec.restart == "temporary":
            self._children.pop(child.spec.id, None)

    # -------------------------------------------------------------------------------------------- requests

    def _add(self, spec: ChildSpec) -> Pid | Refused | None:
        try:
            check_spec(spec, self.auto_shutdown)
        except BadSpec as bad:
            return Refused(bad.reason)
        old = self._children.get(spec.id)
        if old is not None:
            return Refused("already_present" if old.pid is None else ("already_started", old.pid))
        try:
            pid = start_one(spec)
        except StartError as error:
            return Refused(error.reason)
        if pid is not None or spec.restart != "temporary":
            self._children[spec.id] = Child(spec, pid)
        return pid

    def _terminate_child(self, id: Hashable) -> Refused | None:
        child = self._children.get(id)
        if child is None:
            return Refused("not_found")
        self._stop_all([child])
        return None

    def _start_again(self, id: Hashable) -> Pid | Refused | None:
        child = self._children.get(id)
        refused = self._refusal(child)
        if child is None or refused is not None:
            return refused
        try:
            child.pid = start_one(child.spec)
        except StartError as error:
            return Refused(error.reason)
        return child.pid

    def _delete(self, id: Hashable) -> Refused | None:
        refused = self._refusal(self._children.get(id))
        if refused is None:
            del self._children[id]
        return refused

    @staticmethod
    def _refusal(child: Child | None) -> Refused | None:
        if child is None:
            return Refused("not_found")
        if child.restarting:
            return Refused("restarting")
        return None if child.pid is None else Refused("running")

    def _count(self) -> ChildCount:
        children = self._children.values()
        supervisors = sum(1 for child in children if child.spec.type == "supervisor")
        return ChildCount(
            specs=len(children),
            active=sum(1 for child in children if child.pid is not None and child.pid.alive),
            supervisors=supervisors,
            workers=len(children) - supervisors,
        )
