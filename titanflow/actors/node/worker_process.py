"""A Python module of ours that runs in a process of its own, off the hub: started, looked after, ended.

posix_spawn, since a fork would begin by disowning the actors of this very process (supervision/fork.py).
"""

import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ended:
    """How a worker ended. said: the last line on its standard error."""

    code: int
    said: str


class WorkerProcess:
    """One running worker. Its standard error is kept in a file until it has ended."""

    def __init__(self, module: str, argument: str, said: Path) -> None:
        said.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._said = said
        self.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", module, argument],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, str(said), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            ],
        )

    def ended(self) -> Ended | None:
        """Return how it ended, once; None while it runs. Never waits."""
        found, status = os.waitpid(self.pid, os.WNOHANG)
        if not found:
            return None
        code = os.waitstatus_to_exitcode(status)
        said = self._said.read_text(errors="replace").strip() if self._said.exists() else ""
        self._said.unlink(missing_ok=True)
        return Ended(code, said.splitlines()[-1] if said else f"exit code {code}")

    def kill(self) -> None:
        """End it at once. It may have ended already: a signal to the whole group reaches it first."""
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self._said.unlink(missing_ok=True)
