"""What one does to a process from outside, or from within another: call, cast, send, stop, link, monitor.

All take a Pid or a Via. Inside an actor they act in its name; from plain code (an HTTP handler, a test)
they come from a stranger. OTP source: GenServer, Process, erlang:exit/2.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeAlias, TypeVar

from gevent.hub import Waiter

from titanflow.supervision.clock import installed_clock
from titanflow.supervision.messages import Call, Cast, Info, MonitorRef, StopRequest, Tagged
from titanflow.supervision.process import NO_MESSAGE, Pid, Process, current_process, wait_for_end
from titanflow.supervision.reasons import (
    NOPROC,
    NORMAL,
    OVERLOADED,
    SHUTDOWN,
    TIMEOUT,
    CallExit,
    Crash,
    Exit,
    Reason,
    Shutdown,
    is_atom,
)
from titanflow.supervision.registry import Via
from titanflow.supervision.replies import From
from titanflow.supervision.timers import TimerRef

R = TypeVar("R")

Server: TypeAlias = Pid | Via


def _process_of(server: Server) -> Process | None:
    """The living process behind an address; None if it is dead or dying."""
    pid = server if isinstance(server, Pid) else server.registry.whereis(server.key)
    if pid is None:
        return None
    process = pid._process
    return None if process is None or process.doomed is not None else process


def call(server: Server, request: Call[R], *, timeout_s: float | None = 5.0) -> R:
    """Ask and wait for the answer: GenServer.call.

    Raises CallExit: noproc at once for the dead, "timeout", "overloaded" if the mailbox stays full up to the
    deadline, or the reason why the server ended before it answered. A late answer is dropped. None: no limit.
    """
    process = _process_of(server)
    if process is None:
        raise CallExit(NOPROC)
    caller = current_process()
    if caller is process:
        raise CallExit("calling_self")
    sender = From(request, None if caller is None else caller.pid, Waiter())
    if len(process.mailbox) < process.limit:
        process.mailbox.append(sender)
        if process.idle:
            process.arrived(sender)
    else:
        timeout_s = _offer_until_deadline(process, sender, timeout_s)
    answer: R = sender.wait(process.clock, timeout_s)
    return answer


def _offer_until_deadline(process: Process, sender: From, timeout_s: float | None) -> float | None:
    began_ns = process.clock.now_ns()
    if not process.offer(sender, 1e12 if timeout_s is None else timeout_s * 1000):
        raise CallExit(OVERLOADED if process.pid.alive else NOPROC)
    if timeout_s is None:
        return None
    return max(0.0, timeout_s - (process.clock.now_ns() - began_ns) / 1e9)


def cast(server: Server, message: Cast, *, timeout_s: float = 0.0) -> bool:
    """Send a message to handle_cast: GenServer.cast. False, never an error: nobody there, or mailbox full.

    timeout_s: how long to wait for room if the server's policy is "block"; 0 = not at all.
    """
    pid = server if isinstance(server, Pid) else server.registry.whereis(server.key)
    if pid is None or (process := pid._process) is None or process.doomed is not None:
        return False
    if len(process.mailbox) >= process.limit:
        return process.offer(message, timeout_s * 1000)
    process.mailbox.append(message)
    if process.idle:
        process.arrived(message)
    return True


def send(server: Server, message: object) -> bool:
    """Send any object to handle_info: send/2. False, never an error: nobody there, or mailbox full."""
    process = _process_of(server)
    return process is not None and process.offer(Info(message) if isinstance(message, Tagged) else message)


def reply(sender: From, value: Any) -> None:
    """Answer a call, from any process, once: GenServer.reply. Late and second answers are dropped."""
    sender.settle(value)


def stop(server: Server, reason: Reason = NORMAL, timeout_s: float | None = None) -> None:
    """Ask a server to end, let it run terminate, wait until it is dead: GenServer.stop.

    Queues behind what was sent before. Raises CallExit: noproc, "timeout" (it goes on to stop), or why else
    it ended.
    """
    process = _process_of(server)
    if process is None:
        raise CallExit(NOPROC)
    if process is current_process():
        raise CallExit("calling_self")
    process.deliver(StopRequest(reason))
    ended = wait_for_end(process.pid, process.clock, None if timeout_s is None else timeout_s * 1000)
    if ended is NO_MESSAGE:
        raise CallExit(TIMEOUT)
    if ended is not reason and ended != reason:
        raise CallExit(ended)


def exit_process(server: Server, reason: Reason) -> None:
    """Send an exit signal: Process.exit/2. KILL cannot be trapped."""
    process = _process_of(server)
    if process is not None:
        sender = current_process()
        process.receive_exit(None if sender is None else sender.pid, reason)


def exit_self(reason: Reason) -> NoReturn:
    """End the calling process, as an uncaught exception does: exit/1."""
    raise Exit(reason)


def is_alive(server: Server) -> bool:
    """True until the process has ended or a signal is ending it: Process.alive?."""
    return _process_of(server) is not None


def link(server: Server) -> None:
    """Link the calling process with another: each end ends the other, or is a message to one that traps.

    To a dead process: an ExitSignal noproc if exits are trapped, else CallExit(NOPROC).
    """
    pid = _pid_of(server)
    process = _self("link")
    if pid is None:
        raise CallExit(NOPROC)
    process.link(pid)


def unlink(server: Server) -> None:
    """Take a link away."""
    pid = _pid_of(server)
    if pid is not None:
        _self("unlink").unlink(pid)


def monitor(server: Server) -> MonitorRef:
    """Get a Down message when `server` ends, at once if it is dead: Process.monitor."""
    return _self("monitor").monitor(_pid_of(server))


def demonitor(ref: MonitorRef, *, flush: bool = False) -> None:
    """End a monitor; `flush` takes a waiting Down out of the mailbox: Process.demonitor."""
    _self("demonitor").demonitor(ref, flush=flush)


def trap_exit(on: bool = True) -> None:
    """Turn exit signals to the calling process into ExitSignal messages: Process.flag(:trap_exit, on)."""
    _self("trap_exit").trap_exit = on


def self_pid() -> Pid | None:
    """The calling process; None in plain code: self()."""
    process = current_process()
    return None if process is None else process.pid


def wait_for_exit(server: Server, timeout_s: float | None = None) -> Reason | None:
    """Block until `server` is dead and return why (noproc if it was dead before). None at time-out."""
    pid = _pid_of(server)
    if pid is None:
        return NOPROC
    clock = installed_clock() if pid._process is None else pid._process.clock
    ended = wait_for_end(pid, clock, None if timeout_s is None else timeout_s * 1000)
    return None if ended is NO_MESSAGE else ended


def send_after(server: Server, ms: float, message: object) -> TimerRef:
    """Send `message` as info after `ms`: Process.send_after. A full mailbox does not stop a timer."""
    target = _process_of(server) if isinstance(server, Pid) else None

    def fire() -> None:
        process = _process_of(server)
        if process is not None:
            process.deliver(Info(message) if isinstance(message, Tagged) else message)

    current = current_process()
    clock = installed_clock() if current is None else current.clock
    ref = TimerRef(clock, ms, target, fire)
    if target is None and isinstance(server, Pid):
        ref.cancel()  # a timer to the dead is no timer
    return ref


def _pid_of(server: Server) -> Pid | None:
    return server if isinstance(server, Pid) else server.registry.whereis(server.key)


def _self(what: str) -> Process:
    process = current_process()
    if process is None:
        raise RuntimeError(f"{what} acts for the calling process: call it from within an actor")
    return process


__all__ = [
    "SHUTDOWN",
    "Crash",
    "Server",
    "Shutdown",
    "call",
    "cast",
    "demonitor",
    "exit_process",
    "exit_self",
    "is_alive",
    "is_atom",
    "link",
    "monitor",
    "reply",
    "self_pid",
    "send",
    "send_after",
    "stop",
    "trap_exit",
    "unlink",
    "wait_for_exit",
]
