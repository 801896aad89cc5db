"""File locks: who owns the servers, and whether a server still lives.

A flock belongs to the open file, not to a process number: a server inherits the locked file, so the
lock is held as long as the server or any of its children lives, and it can't be mistaken for another
process that got the same number. Waiting polls: a blocking flock would stop gevent's loop.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from titanflow.embedded.files import open_private
from titanflow.errors import Unavailable

_POLL_S = 0.01


def try_take(path: Path) -> int | None:
    """Return the descriptor of the locked file, or None if somebody else holds it."""
    descriptor = open_private(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def take(path: Path, *, timeout_s: float) -> int:
    """Return the descriptor of the locked file. Raises Unavailable after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while (descriptor := try_take(path)) is None:
        if time.monotonic() > deadline:
            raise Unavailable(
                f"{path} is still locked after {timeout_s:.0f} s",
                why="another command is starting or stopping the embedded servers of this DATA_DIR",
                fix="Wait for it, or end it, and try again.",
            )
        time.sleep(_POLL_S)
    return descriptor


def release(descriptor: int) -> None:
    """Give the lock up for all who inherited it, a forked worker for instance."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


@contextmanager
def held(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the lock for the block."""
    descriptor = take(path, timeout_s=timeout_s)
    try:
        yield
    finally:
        release(descriptor)


def is_held(path: Path) -> bool:
    """Tell whether somebody holds the lock. Creates nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def wait_free(path: Path, *, timeout_s: float) -> bool:
    """Wait until nobody holds the lock; False if that took longer than timeout_s."""
    deadline = time.monotonic() + timeout_s
    while is_held(path):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def holders(path: Path) -> list[int] | None:
    """Return the processes that hold the lock; None where the system doesn't tell (no /proc, or a partial one)."""
    found = [
        int(entry.name)
        for entry in Path("/proc").glob("[0-9]*")
        if entry.name.isdecimal() and _holds(entry, os.fspath(path))
    ]
    return found or None


def _holds(process: Path, path: str) -> bool:
    # fdinfo names the lock itself: somebody who merely has the file open, to look, is no holder.
    def locked(descriptor: str) -> bool:
        return (
            os.readlink(process / "fd" / descriptor) == path
            and "FLOCK  ADVISORY  WRITE" in (process / "fdinfo" / descriptor).read_text()
        )

    try:
        return any(locked(descriptor) for descriptor in os.listdir(process / "fd"))
    except OSError:  # it ended meanwhile, or it is somebody else's: none of ours
        return False
