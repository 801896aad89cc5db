"""Which process this is, in a way that lets another process on the same host prove that it is dead.

A process is named by the boot of its kernel, its pid namespace, its pid and its start time. Whoever sees the same
boot and the same namespace can look the pid up: gone, or started at another time, means dead, for certain. On any
other host nothing is proven, and a lease ends by its time. So a restart after kill -9 needs not wait for leases.
"""

import os
from pathlib import Path

_PROC = Path("/proc")


def of_this_process() -> str:
    """Return this process's name; "" where the system doesn't tell (then nobody can ever prove its death)."""
    return _name(os.getpid(), _start_time(os.getpid()))


def is_proven_dead(process: str) -> bool:
    """True only if the named process lived under this very kernel and namespace and lives no more."""
    here, _, pid_and_start = process.rpartition("/")
    if not here or here != _here():
        return False
    pid, _, start = pid_and_start.partition("@")
    return pid.isdigit() and _start_time(int(pid)) != start


def _name(pid: int, start: str) -> str:
    here = _here()
    return f"{here}/{pid}@{start}" if here and start else ""


def _here() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = os.stat(_PROC / "self/ns/pid").st_ino
    except OSError:
        return ""
    return f"{boot}:{namespace}"


def _start_time(pid: int) -> str:
    """The start time in clock ticks since boot; "" if there is no such process, or it is a zombie."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name in brackets may hold anything
    return "" if fields[0] in ("Z", "X") else fields[19]
