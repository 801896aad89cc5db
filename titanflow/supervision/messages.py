"""What a mailbox may hold: requests, casts, and the kernel's own messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from titanflow.supervision.process import Pid
    from titanflow.supervision.reasons import Reason

R = TypeVar("R")

MailboxPolicy: TypeAlias = Literal["block", "refuse", "drop_oldest"]


class Tagged:
    """Base of everything that a server tells apart from a plain info message."""

    __slots__ = ()


class Call(Generic[R]):
    """Base of requests: `class TakePermits(Call[int])`. The reply's type travels with the message."""

    __slots__ = ()


class Cast(Tagged):
    """Base of messages without an answer: goes to `handle_cast`."""

    __slots__ = ()
    may_be_dropped: ClassVar[bool] = False
    """True: a full mailbox with the policy "drop_oldest" may drop it for a younger message."""


@dataclass(frozen=True, slots=True)
class ExitSignal(Tagged):
    """Another process ended or sent an exit signal, and this one traps exits: `{'EXIT', Pid, Reason}`.

    sender: None when plain code outside any actor sent it.
    """

    sender: Pid | None
    reason: Reason
    incident: int | None = None


@dataclass(frozen=True, slots=True)
class Down(Tagged):
    """A monitored process is dead: `{'DOWN', Ref, process, Pid, Reason}`."""

    ref: MonitorRef
    pid: Pid | None
    reason: Reason


class MonitorRef:
    """Names one monitor; made by `monitor`, given back to `demonitor`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Timeout(Tagged):
    """No message came within the `timeout_ms` that the last callback asked for. Goes to `handle_info`."""


@dataclass(frozen=True, slots=True)
class TaskReply(Tagged):
    """The result of a task that nobody awaited: Elixir's `{ref, result}`. Goes to `handle_info`."""

    ref: MonitorRef
    value: Any


@dataclass(frozen=True, slots=True)
class Info(Tagged):
    """Wraps a message of a tagged type that somebody gave to `send`: it is plain info all the same."""

    message: object


@dataclass(frozen=True, slots=True)
class StopRequest(Tagged):
    """`stop(server, reason)` on its way; queues behind what was sent before: sys:terminate."""

    reason: Reason
