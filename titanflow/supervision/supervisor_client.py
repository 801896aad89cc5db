"""Requests to supervisors, the same functions for every kind: Supervisor.start_child and the like.

`sup` is a Pid or a Via. All raise CallExit if the supervisor is dead or dies meanwhile.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from titanflow.supervision.child_spec import ChildCount, ChildInfo, ChildSpec
from titanflow.supervision.client import Server, call
from titanflow.supervision.messages import Call
from titanflow.supervision.process import Pid
from titanflow.supervision.reasons import ChildError, Reason, StartError


@dataclass(frozen=True, slots=True)
class Refused:
    """A supervisor's answer that is an error."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class StartChild(Call["Pid | Refused | None"]):
    """Start a child by its spec."""

    spec: ChildSpec


@dataclass(frozen=True, slots=True)
class RestartChild(Call["Pid | Refused | None"]):
    """Start a stopped child again."""

    id: Hashable


@dataclass(frozen=True, slots=True)
class TerminateChild(Call["Refused | None"]):
    """Stop a child, by id or, for a DynamicSupervisor, by pid."""

    child: Hashable


@dataclass(frozen=True, slots=True)
class DeleteChild(Call["Refused | None"]):
    """Forget the spec of a stopped child."""

    id: Hashable


@dataclass(frozen=True, slots=True)
class WhichChildren(Call[list[ChildInfo]]):
    """List the children."""


@dataclass(frozen=True, slots=True)
class CountChildren(Call[ChildCount]):
    """Count the children."""


def start_child(sup: Server, spec: ChildSpec) -> Pid | None:
    """Add a child and start it; None if its init ignored the start.

    Raises StartError: why its init failed, ("already_started", pid), "already_present", "max_children", or what
    is wrong with the spec.
    """
    return _started(call(sup, StartChild(spec), timeout_s=None))


def restart_child(sup: Server, id: Hashable) -> Pid | None:
    """Start a child again that was terminated. Raises StartError: not_found, running, restarting, or why."""
    return _started(call(sup, RestartChild(id), timeout_s=None))


def terminate_child(sup: Server, child: Hashable) -> None:
    """Stop a child within its shutdown time. `child`: its id; its Pid for a DynamicSupervisor.

    Its spec stays (but a temporary one's). Raises ChildError("not_found").
    """
    _done(call(sup, TerminateChild(child), timeout_s=None))


def delete_child(sup: Server, id: Hashable) -> None:
    """Forget a stopped child's spec. Raises ChildError: not_found, running or restarting."""
    _done(call(sup, DeleteChild(id), timeout_s=None))


def which_children(sup: Server) -> list[ChildInfo]:
    """The children in order of start: id (None below a DynamicSupervisor), pid or state, type."""
    return call(sup, WhichChildren(), timeout_s=None)


def count_children(sup: Server) -> ChildCount:
    """How many specs, living children, supervisors and workers there are."""
    return call(sup, CountChildren(), timeout_s=None)


def _started(answer: Pid | Refused | None) -> Pid | None:
    if isinstance(answer, Refused):
        raise StartError(answer.reason)
    return answer


def _done(answer: Refused | None) -> None:
    if answer is not None:
        raise ChildError(answer.reason)
