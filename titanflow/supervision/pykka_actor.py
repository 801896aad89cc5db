"""The seam to pykka: what makes a kernel process a pykka actor.

pykka gives the shape (an actor with an inbox, a loop and a reference) and its clients: `tell`, `ask`, `stop`
of a `pykka.ActorRef` reach a GenServer as info, call and stop. The kernel replaces the loop, because pykka's
takes every actor of the process down with a BaseException, keeps killed actors as zombies, swallows a failing
start and has no bound on its inbox. pykka's views are made when asked for: an idle actor pays nothing.
Uses pykka's underscore hooks: the version is pinned, and a contract test holds them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

import pykka
from gevent.event import AsyncResult
from gevent.timeout import Timeout as GeventTimeout

if TYPE_CHECKING:
    from types import TracebackType


class GeventFuture(pykka.Future[Any]):
    """What `ask` returns: set from the hub, awaited by one greenlet or many."""

    def __init__(self) -> None:
        super().__init__()
        self._result = AsyncResult()

    def get(self, *, timeout: float | None = None) -> Any:
        try:
            return super().get(timeout=timeout)  # a future that `stop` converted
        except NotImplementedError:
            pass
        deadline = GeventTimeout.start_new(timeout)
        try:
            return self._result.get()
        except GeventTimeout as expired:
            if expired is not deadline:
                raise  # somebody else's time-out, passing through
            raise pykka.Timeout(f"{timeout} seconds") from None
        finally:
            deadline.close()

    def set(self, value: Any | None = None) -> None:
        self._result.set(value)

    def set_exception(
        self,
        exc_info: tuple[type[BaseException] | None, BaseException | None, TracebackType | None] | None = None,
    ) -> None:
        self._result.set_exception(None, exc_info=exc_info or sys.exc_info())


class _Host(Protocol):
    """What the views below ask of a process."""

    mailbox: Any

    def accept_envelope(self, message: Any, reply_to: Any | None) -> None: ...


class _Inbox:
    """pykka's inbox, as a view on the process's mailbox."""

    __slots__ = ("_process",)

    def __init__(self, process: _Host) -> None:
        self._process = process

    def put(self, envelope: Any, /) -> None:
        self._process.accept_envelope(envelope.message, envelope.reply_to)

    def get(self) -> Any:
        raise NotImplementedError("the kernel's own loop reads the mailbox")

    def empty(self) -> bool:
        return not self._process.mailbox


class _Stopped:
    """pykka's stopped flag, as a view on the process."""

    __slots__ = ("_pid",)

    def __init__(self, pid: Any) -> None:
        self._pid = pid

    def is_set(self) -> bool:
        return self._pid._process is None


class PykkaActor(pykka.Actor):
    """A pykka actor whose inbox, flag and reference are views on a kernel process."""

    __slots__ = ()

    if not TYPE_CHECKING:
        pid: Any

        @property
        def actor_urn(self) -> str:
            return f"pid:{self.pid.number}"

        @property
        def actor_inbox(self) -> _Inbox:
            return _Inbox(self)

        @property
        def actor_stopped(self) -> _Stopped:
            return _Stopped(self.pid)

        @property
        def actor_ref(self) -> pykka.ActorRef[Any]:
            return pykka.ActorRef(self)

    @staticmethod
    def _create_actor_inbox() -> Any:
        raise NotImplementedError("a process brings its own mailbox")

    @staticmethod
    def _create_future() -> GeventFuture:
        return GeventFuture()
