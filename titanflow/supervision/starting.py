"""How supervisors start and stop one child."""

from __future__ import annotations

from titanflow.supervision.child_spec import ChildSpec
from titanflow.supervision.messages import ExitSignal
from titanflow.supervision.process import NO_MESSAGE, Pid, Process, start_process
from titanflow.supervision.reasons import (
    KILL,
    NOPROC,
    SHUTDOWN,
    Crash,
    Reason,
    StartError,
    StartIgnored,
    is_atom,
)


def start_one(spec: ChildSpec, extra_arguments: tuple[object, ...] = ()) -> Pid | None:
    """Start a child linked to the calling supervisor; None if it ignored the start. Raises StartError."""
    try:
        process = spec.start(*extra_arguments)._new_process(spec.name)
    except Exception as error:  # a factory is user code: its failure is a failed start
        raise StartError(Crash(error)) from error
    try:
        return start_process(process, link=True)
    except StartIgnored:
        return None


def stop_one(supervisor: Process, pid: Pid, spec: ChildSpec) -> Reason:
    """Stop a child within its shutdown time, else kill it; why it ended. supervisor:shutdown/1."""
    time_ms = spec.shutdown_time
    brutal = time_ms == "brutal_kill"
    child = pid._process
    reason: Reason = NOPROC
    if child is not None:
        child.receive_exit(supervisor.pid, KILL if brutal else SHUTDOWN, incident=supervisor.incident)
        limit_ms = float(time_ms) if isinstance(time_ms, int) else None
        reason = supervisor.await_down(pid, limit_ms)
        if reason is NO_MESSAGE:
            kill(pid)
            reason = supervisor.await_down(pid, None)
    supervisor.unlink(pid)
    signal = supervisor.take(lambda message: message.__class__ is ExitSignal and message.sender is pid)
    return signal.reason if is_atom(reason, NOPROC) and signal is not NO_MESSAGE else reason


def kill(pid: Pid) -> None:
    """Send the exit signal that cannot be trapped."""
    process = pid._process
    if process is not None:
        process.receive_exit(None, KILL)
