"""Starting a server as a normal user, whoever we are: PostgreSQL refuses to run as root.

Not root: as ourselves. Root: as the user whom the data or DATA_DIR belong to, or as `nobody`, if that
user can reach the binaries and the data; else in a user namespace of its own (`unshare`), where root is
a plain user and the files stay root's. That works below a 0700 home too; a container may forbid it.
"""

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from titanflow.errors import ConfigurationError

_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Launcher:
    """How to start a command: behind a prefix, as a user, or neither. `owner` owns the files."""

    owner: int
    group: int
    prefix: tuple[str, ...] = ()
    drops_to_owner: bool = False

    def spawn(self, command: Sequence[str | Path], *, log: IO[bytes], keep_open: int) -> subprocess.Popen[bytes]:
        """Start a server in a session of its own, so that Ctrl-C at our terminal doesn't reach it."""
        return subprocess.Popen(
            [*self.prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(keep_open,),
            start_new_session=True,
            cwd="/",
            env=_ENVIRONMENT,
            **self._as_user(),
        )

    def run(self, command: Sequence[str | Path], *, stdin: str = "", timeout_s: float = 60) -> str:
        """Run a command to its end and return what it said. Raises CalledProcessError, TimeoutExpired."""
        finished: subprocess.CompletedProcess[str] = subprocess.run(
            [*self.prefix, *command],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=True,
            cwd="/",
            env=_ENVIRONMENT,
            **self._as_user(),
        )
        return finished.stdout

    def folder(self, path: Path) -> None:
        """Make sure that the folder is there and, with all that is in it, the server's alone."""
        path.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0 and path.stat().st_uid != self.owner:
            for parent, folders, files in os.walk(path):
                for name in (*folders, *files):
                    self.hand_over(Path(parent, name))
            self.hand_over(path)  # last: a change that was cut short is seen and done again

    def hand_over(self, path: Path) -> None:
        """Give a file to the server's user."""
        if os.geteuid() == 0:
            os.chown(path, self.owner, self.group, follow_symlinks=False)

    def _as_user(self) -> dict[str, Any]:
        if not self.drops_to_owner:
            return {}
        return {"user": self.owner, "group": self.group, "extra_groups": []}


def choose(binary: Path, data: Path) -> Launcher:
    """Return how to run `binary` on `data` (a folder that may not exist yet) as a normal user.

    Raises ConfigurationError if the data are somebody else's, or if root has no way to step down.
    """
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise ConfigurationError(
                f"{data} belongs to {_name_of(owner)}",
                fix="Run this command as that user, or set DATA_DIR to another folder.",
            )
        return Launcher(os.geteuid(), os.getegid())
    for user in (_user_by_id(owner), _user_by_id(data.parent.stat().st_uid), _user_by_name("nobody")):
        if user and user.pw_uid != 0 and _may_reach(user, binary) and _may_reach(user, data.parent):
            return Launcher(user.pw_uid, user.pw_gid, drops_to_owner=True)
    if unshare := shutil.which("unshare"):
        launcher = Launcher(0, 0, (unshare, "--user", "--map-user=1000", "--map-group=1000", "--"))
        try:
            launcher.run([binary, "--version"], timeout_s=20)
        except (OSError, subprocess.SubprocessError):
            pass
        else:
            return launcher
    raise ConfigurationError(
        f"{binary.name} can't be run by root",
        why="no other user can reach the binaries and DATA_DIR, and user namespaces are not allowed here",
        fix="Run this command as a normal user, or set DATABASE_URL and REDIS_URL.",
    )


def _may_reach(user: pwd.struct_passwd, path: Path) -> bool:
    path = path.resolve()
    return all(_may(user, step, stat.S_IXUSR, stat.S_IXOTH) for step in (path, *path.parents))


def _may(user: pwd.struct_passwd, path: Path, as_owner: int, as_other: int) -> bool:
    status = path.stat()
    return bool(status.st_mode & (as_owner if status.st_uid == user.pw_uid else as_other))


def _user_by_id(uid: int | None) -> pwd.struct_passwd | None:
    # A number without a name won't do: PostgreSQL looks itself up.
    try:
        return None if uid is None else pwd.getpwuid(uid)
    except KeyError:
        return None


def _user_by_name(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _name_of(uid: int | None) -> str:
    user = _user_by_id(uid)
    return user.pw_name if user else f"user {uid}"
