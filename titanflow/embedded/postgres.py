"""PostgreSQL: making the data, the command line, readiness."""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from titanflow.embedded import launcher
from titanflow.embedded.binaries import PostgresBinaries, find_postgres
from titanflow.embedded.launcher import Launcher
from titanflow.embedded.layout import Kind, Layout, kept_secret
from titanflow.errors import Conflict, Unavailable

_NAME = "titanflow"  # of the superuser and of the database

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may have 107 bytes at most; TCP always works
    "max_connections": "200",
    "shared_buffers": "256MB",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
}
_DURABLE = {"fsync": "on", "full_page_writes": "on"}
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class Postgres:
    """One embedded PostgreSQL, ready to be started on any port."""

    layout: Layout
    launcher: Launcher
    binaries: PostgresBinaries
    password: str
    durable: bool

    kind = Kind.POSTGRES
    title = "PostgreSQL"
    stop_signals = (signal.SIGINT, signal.SIGQUIT)  # fast; immediate, if that takes too long
    ready_within_s = 300.0  # it may have gigabytes of WAL to replay; whoever dies meanwhile is noticed

    def command(self, port: int) -> list[str | Path]:
        settings = _SETTINGS | (_DURABLE if self.durable else _NOT_DURABLE) | {"port": str(port)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [self.binaries.folder / "postgres", "-D", self.layout.data(self.kind), *options]

    def url(self, port: int) -> str:
        return f"postgresql://{_NAME}:{self.password}@127.0.0.1:{port}/{_NAME}"

    def before_start(self, port: int) -> None:
        """Remove the pid file that a killed server left: PostgreSQL would take any process for itself.

        The caller holds the server's lock, so none of ours lives; one started by hand is left alone.
        """
        pid_file = self.layout.data(self.kind) / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            pid = 0
        if pid and os.fspath(self.layout.data(self.kind)) in _command_line(pid):
            raise Conflict(
                f"A PostgreSQL (process {pid}) that was started by hand uses {self.layout.data(self.kind)}",
                fix="Stop it, or set DATABASE_URL to it.",
            )
        pid_file.unlink(missing_ok=True)

    def is_ready(self, pid: int, port: int) -> bool:
        # The line that pg_ctl waits for: written once connections are taken.
        try:
            lines = (self.layout.data(self.kind) / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


def prepare(layout: Layout, *, durable: bool) -> Postgres:
    """Find binaries, make the data if there are none, and return the server. Takes 0.6 s the first time."""
    data = layout.data(Kind.POSTGRES)
    binaries = find_postgres(_made_by(data))
    how = launcher.choose(binaries.folder / "postgres", data)
    knows_password = layout.password.exists()
    server = Postgres(layout, how, binaries, kept_secret(layout.password), durable)
    if not data.exists():
        _initialise(server)
    else:
        how.folder(data)
        if not knows_password:
            _single_user(server, data, f"ALTER ROLE {_NAME} PASSWORD '{server.password}'")
    return server


def _made_by(data: Path) -> int | None:
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def _initialise(server: Postgres) -> None:
    """Make the data aside and rename them in the end: a start that was killed leaves nothing half-made."""
    data = server.layout.data(server.kind)
    draft = data.with_name("pg.new")
    password_file = server.layout.run / "initdb.password"
    if draft.exists():
        shutil.rmtree(draft)
    server.launcher.folder(draft)
    password_file.unlink(missing_ok=True)
    password_file.touch(mode=0o600)
    password_file.write_text(server.password)
    server.launcher.hand_over(password_file)
    options = ["--no-locale", "-E", "UTF8", "-U", _NAME, "-A", "scram-sha-256", "--no-instructions"]
    if not server.durable:
        options.append("--no-sync")
    try:
        _run(server, "initdb", ["-D", draft, "--pwfile", password_file, *options])
    finally:
        password_file.unlink()
    _single_user(server, draft, f"CREATE DATABASE {_NAME}")
    draft.rename(data)


def _single_user(server: Postgres, data: Path, statement: str) -> None:
    options: list[str | Path] = ["--single", "-D", data, "-c", "exit_on_error=on", "postgres"]
    _run(server, "postgres", options, stdin=f"{statement};\n")


def _run(server: Postgres, program: str, options: list[str | Path], stdin: str = "") -> None:
    try:
        server.launcher.run([server.binaries.folder / program, *options], stdin=stdin)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = [line for line in str(error.output or "").splitlines() if line.strip()]
        telling = [line for line in said if "error:" in line or "FATAL" in line]
        raise Unavailable(
            f"The embedded PostgreSQL could not be set up ({program})", why=(telling or said or [str(error)])[0]
        ) from error


def _command_line(pid: int) -> str:
    process = Path(f"/proc/{pid}/cmdline")
    try:
        if process.parent.parent.joinpath("self").exists():
            return process.read_text(errors="replace")
        listed = subprocess.run(
            ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
        )
    except OSError:
        return ""
    return listed.stdout
