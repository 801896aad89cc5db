"""GenServer: a process that handles one message after the other and keeps state in between.

Write a subclass with the callbacks you need; start it with `start`, `start_link` or from a child spec; talk to
it with `call`, `cast` and `send`. OTP source: gen_server, Elixir's GenServer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeAlias

import structlog
from gevent import GreenletExit

from titanflow.supervision.client import Server, demonitor, monitor, send_after
from titanflow.supervision.messages import (
    Cast,
    ExitSignal,
    Info,
    MailboxPolicy,
    MonitorRef,
    StopRequest,
    Timeout,
)
from titanflow.supervision.process import Pid, Process, ProcessExit, start_process
from titanflow.supervision.reasons import NORMAL, Crash, Exit, Reason, StartError, StartIgnored
from titanflow.supervision.registry import Via, claim_name
from titanflow.supervision.replies import From
from titanflow.supervision.timers import TimerRef

log = structlog.get_logger()

_SLICE_NS: Final = 5_000_000
_SLICE_MESSAGES: Final = 8
_NOTHING: Final = object()


@dataclass(frozen=True, slots=True)
class Ok:
    """`init` succeeded; `continue_with` goes to handle_continue before any message."""

    continue_with: Any = _NOTHING
    timeout_ms: float | None = None


_STARTED: Final = Ok()  # shared: an idle actor keeps no result of its own


@dataclass(frozen=True, slots=True)
class Ignore:
    """`init` says: don't start me, and it is no failure."""


@dataclass(frozen=True, slots=True)
class InitStop:
    """`init` failed with a reason."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer the call."""

    value: Any
    timeout_ms: float | None = None
    continue_with: Any = _NOTHING


@dataclass(frozen=True, slots=True)
class NoReply:
    """Nothing to say now; a call is answered later through `reply(sender, value)`."""

    timeout_ms: float | None = None
    continue_with: Any = _NOTHING


@dataclass(frozen=True, slots=True)
class Stop:
    """End this server; in handle_call with `reply=`, the caller gets that, else the reason."""

    reason: Reason
    reply: Any = _NOTHING


InitResult: TypeAlias = Ok | Ignore | InitStop | None
CallResult: TypeAlias = Reply | NoReply | Stop
Result: TypeAlias = NoReply | Stop | None


class GenServer:
    """Base of servers. `__init__` runs in whoever starts it: store arguments only. The rest runs in the actor."""

    mailbox_limit: ClassVar[int] = 10_000
    mailbox_policy: ClassVar[MailboxPolicy] = "block"

    _process: ServerProcess

    # ------------------------------------------------------------------------------------------- callbacks

    def init(self) -> InitResult:
        """Build the state. The starter waits for it. None means Ok()."""
        return None

    def handle_call(self, request: Any, sender: From) -> CallResult:
        """Answer a request. Default: an unknown request is a bug of the caller's, and crashes."""
        raise UnknownMessage(f"{type(self).__name__} got an unknown call: {type(request).__name__}")

    def handle_cast(self, message: Any) -> Result:
        """Take a message without an answer. Default: an unknown cast crashes."""
        raise UnknownMessage(f"{type(self).__name__} got an unknown cast: {type(message).__name__}")

    def handle_info(self, message: Any) -> Result:
        """Take anything else: timers, Down, ExitSignal, Timeout, TaskReply. Default: logged and dropped."""
        log.warning("actor.unknown_message", actor=type(self).__name__, message=type(message).__name__)
        return None

    def handle_continue(self, arg: Any) -> Result:
        """Go on after `continue_with`, before the next message."""
        raise UnknownMessage(f"{type(self).__name__} has no handle_continue for {arg!r}")

    def terminate(self, reason: Reason) -> None:
        """Clean up. Runs after a stop, an exception, or the parent's signal if exits are trapped."""

    def observed_state(self) -> dict[str, Any]:
        """What `observe` shows of the state; names that sound secret are masked anyway."""
        return {name.lstrip("_"): value for name, value in vars(self).items() if name != "_process"}

    # ------------------------------------------------------------------------- for use inside the callbacks

    @property
    def pid(self) -> Pid:
        """This process."""
        return self._process.pid

    @property
    def trap_exit(self) -> bool:
        """True: exit signals come as ExitSignal messages; the parent's still ends the server."""
        return self._process.trap_exit

    @trap_exit.setter
    def trap_exit(self, value: bool) -> None:
        self._process.trap_exit = value

    def now_ns(self) -> int:
        """Monotonic time of the process's clock, which tests can replace."""
        return self._process.clock.now_ns()

    def sleep_ms(self, ms: float) -> None:
        """Block this server, and nobody else."""
        self._process.clock.sleep_ms(ms)

    def send_after(self, ms: float, message: object, to: Server | None = None) -> TimerRef:
        """Send `message` to this server (or `to`) after `ms`, as info: Process.send_after."""
        return send_after(self.pid if to is None else to, ms, message)

    def cancel_timer(self, ref: TimerRef) -> float | None:
        """Stop a timer; the ms that were left, or None if it was too late."""
        return ref.cancel()

    def read_timer(self, ref: TimerRef) -> float | None:
        """The ms that are left, or None."""
        return ref.remaining_ms()

    def monitor(self, server: Server) -> MonitorRef:
        """Get a Down message when `server` ends."""
        return monitor(server)

    def demonitor(self, ref: MonitorRef, *, flush: bool = False) -> None:
        """End a monitor; `flush` takes back a message that is already waiting."""
        demonitor(ref, flush=flush)

    def spawn_link(self, server: GenServer, *, name: Via | None = None) -> Pid:
        """Start another server linked to this one, its parent. Raises StartError."""
        return start_link(server, name=name)

    # ------------------------------------------------------------------------------------------- the kernel

    def _new_process(self, name: Via | None) -> Process:
        return ServerProcess(self, name)


class UnknownMessage(Exception):
    """A server was sent a call or cast that it does not know."""


class ServerProcess(Process):
    """The process that runs a GenServer: gen_server's loop."""

    __slots__ = ("server",)

    def __init__(self, server: GenServer, name: Via | None) -> None:
        cls = type(server)
        super().__init__(cls.__name__, limit=cls.mailbox_limit, policy=cls.mailbox_policy)
        self.name = name
        self.server: GenServer = server
        server._process = self

    def main(self) -> Reason:
        assert self.ack is not None
        if self.name is not None:
            try:
                claim_name(self, self.name)
            except StartError as taken:
                self.ack.give(taken)
                return NORMAL
        started = self._init()
        if isinstance(started, Ignore):
            self.release_names()
            self.ack.give(StartIgnored())
            return NORMAL
        if isinstance(started, InitStop):
            self.release_names()
            self.ack.give(StartError(started.reason))
            return started.reason
        self.ack.give()
        self.ack = None
        return self._end(self._live(started))

    def _init(self) -> Ok | Ignore | InitStop:
        try:
            result = self.server.init()
        except GreenletExit:  # killed: no callback of its own may run any more
            raise
        except Exit as leaving:
            return InitStop(leaving.reason)
        except BaseException as error:  # noqa: BLE001  # also gevent.Timeout: one actor's crash
            return InitStop(Crash(error))
        if result is None:
            return _STARTED
        if isinstance(result, Ok | Ignore | InitStop):
            return result
        return InitStop(("bad_return_value", result))

    def _live(self, started: Ok) -> tuple[Reason, From | None, Any]:
        """Handle messages until something ends it: the reason, and a last answer to give."""
        try:
            first = None if started is _STARTED else NoReply(started.timeout_ms, started.continue_with)
            stop = self._loop(first)
        except GreenletExit:  # killed: no callback of its own may run any more
            raise
        except Exit as leaving:
            return leaving.reason, None, None
        except BaseException as error:  # noqa: BLE001  # also gevent.Timeout: one actor's crash
            return Crash(error), None, None
        if stop.reply is _NOTHING or not isinstance(self.message, From):
            return stop.reason, None, None
        return stop.reason, self.message, stop.reply

    def _end(self, stopped: tuple[Reason, From | None, Any]) -> Reason:
        reason, sender, answer = stopped
        if isinstance(self.message, From) and sender is None:
            self._keep(self.message)  # its caller learns the reason, once terminate is through
        try:
            self.server.terminate(reason)
        except GreenletExit:  # killed: no callback of its own may run any more
            raise
        except Exit as leaving:
            reason = leaving.reason
        except BaseException as error:  # noqa: BLE001  # also gevent.Timeout: one actor's crash
            reason = Crash(error)
        finally:
            if sender is not None:
                sender.settle(answer)
        return reason

    def _loop(self, result: NoReply | Stop | None) -> Stop:
        mailbox, server = self.mailbox, self.server
        handle_cast = server.handle_cast  # few locals: each costs every idle actor 64 bytes
        message: Any
        budget = _SLICE_MESSAGES
        slice_ns = self.woken_ns = time.perf_counter_ns()
        while True:
            timeout_ms = None
            while result is not None:
                if result.__class__ is NoReply:
                    assert isinstance(result, NoReply)
                    timeout_ms = result.timeout_ms
                    if result.continue_with is _NOTHING:
                        break
                    self.message = result.continue_with
                    result = server.handle_continue(result.continue_with)
                    timeout_ms = None
                elif isinstance(result, Stop):
                    return result
                else:
                    return Stop(("bad_return_value", result))
            if not mailbox:
                self.busy_ns += time.perf_counter_ns() - self.woken_ns
                self.woken_ns = 0
                message = self.message = None
                arrived = self.wait_for_message(timeout_ms)
                while arrived and not mailbox:  # what woke it was dropped for room meanwhile
                    arrived = self.wait_for_message(timeout_ms)
                slice_ns = self.woken_ns = time.perf_counter_ns()
                budget = _SLICE_MESSAGES
            elif budget == 0:
                budget = _SLICE_MESSAGES
                if time.perf_counter_ns() - slice_ns > _SLICE_NS:
                    self.clock.pause()
                    if self.doomed is not None:
                        raise ProcessExit
                    slice_ns = time.perf_counter_ns()
            else:
                budget -= 1
            message = self.message = mailbox.popleft() if mailbox else Timeout()
            self.handled += 1
            if self._room:
                self.admit()
            if isinstance(message, Cast):
                result = handle_cast(message)
            elif message.__class__ is From:
                result = self._handle_call(message)
            elif message.__class__ is Info:
                result = server.handle_info(message.message)
            elif message.__class__ is ExitSignal and message.sender is self.parent and self.parent is not None:
                self.incident = message.incident
                return Stop(message.reason)
            elif message.__class__ is StopRequest:
                return Stop(message.reason)
            else:
                result = server.handle_info(message)

    def _handle_call(self, sender: From) -> NoReply | Stop | None:
        result = self.server.handle_call(sender.request, sender)
        if result.__class__ is Reply:
            assert isinstance(result, Reply)
            sender.settle(result.value)
            if result.timeout_ms is None and result.continue_with is _NOTHING:
                return None
            return NoReply(result.timeout_ms, result.continue_with)
        if result.__class__ is NoReply:
            self._keep(sender)
            return result
        if isinstance(result, Stop):
            return result
        return Stop(("bad_return_value", result))

    def _keep(self, sender: From) -> None:
        if sender.done:
            return
        if self.kept_calls is None:
            self.kept_calls = set()
        self.kept_calls.add(sender)
        sender.holder = self


def start(server: GenServer, *, name: Via | None = None, timeout_s: float | None = None) -> Pid:
    """Start a server on its own: GenServer.start. Raises StartError(reason); StartIgnored if init ignores."""
    return start_process(server._new_process(name), link=False, timeout_s=timeout_s)


def start_link(server: GenServer, *, name: Via | None = None, timeout_s: float | None = None) -> Pid:
    """Start a server linked to the calling process, its parent: GenServer.start_link.

    From plain code, outside any actor, there is nobody to link to: then it is `start`.
    """
    return start_process(server._new_process(name), link=True, timeout_s=timeout_s)
