"""Starting, sharing, stopping and killing the embedded servers of one DATA_DIR.

Each server is owned by the `start` that started it; a later `start` with the same DATA_DIR borrows it.
Two locks a server (see locks.py) say who lives: its own, inherited by all its processes, and its
owner's. Starting and stopping hold a third, so embedded.json has one writer at a time. A watcher
process stops the servers of an owner that was killed.
"""

import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from titanflow.embedded import locks, postgres, valkey
from titanflow.embedded.files import make_folder, open_private
from titanflow.embedded.layout import (
    Kind,
    Layout,
    Running,
    layout_of,
    not_writable,
    read_state,
    write_state,
)
from titanflow.embedded.postgres import Postgres
from titanflow.embedded.valkey import Valkey
from titanflow.errors import Conflict, Unavailable

Server = Postgres | Valkey
RestartMode = Literal["fast", "immediate", "kill"]

_POLL_S = 0.005
_START_LOCK_S = 120.0
_STOP_S = 20.0
_KILLED_S = 5.0
_ORPHANS_S = 1.0
_PORT_TRIES = 5
_PORTS = range(15_000, 32_000)  # below the ports that systems give to outgoing connections
_LARGEST_LOG = 16 * 1024 * 1024


@dataclass(frozen=True)
class EmbeddedUrls:
    """Where the servers are, passwords included; "" for one that doesn't run."""

    database_url: str
    redis_url: str


def start(data_dir: Path, *, postgres: bool = True, redis: bool = True, durable: bool = True) -> "EmbeddedServers":
    """Start what doesn't run yet of this DATA_DIR and borrow the rest; return when all take connections.

    durable=False trades safety for speed (no fsync, no append-only file): for tests alone.
    Raises ConfigurationError (no binaries, DATA_DIR not usable), Unavailable (a server doesn't start),
    Conflict (its data are in use by a server that isn't ours); nothing is left running then.
    """
    layout = layout_of(data_dir)
    wanted = [kind for kind, asked in ((Kind.POSTGRES, postgres), (Kind.REDIS, redis)) if asked]
    try:
        layout.data_dir.mkdir(parents=True, exist_ok=True)
        make_folder(layout.run, 0o755)
        make_folder(layout.logs, 0o700)  # statements that failed are in there, with their values
        servers = EmbeddedServers(layout, durable=durable)
        with ExitStack() as undo:
            undo.callback(servers.stop)
            with locks.held(layout.start_lock, timeout_s=_START_LOCK_S):
                for kind in wanted:
                    servers._provide(kind)
            undo.pop_all()
    except OSError as error:
        raise not_writable(layout, error) from error
    return servers


def find(data_dir: Path) -> EmbeddedUrls | None:
    """Return the URLs of the servers of this DATA_DIR that run now, or None. Changes nothing."""
    layout = layout_of(data_dir)
    try:
        urls = {kind: running.url for kind, running in _living(layout).items()}
    except OSError as error:
        raise not_writable(layout, error) from error
    return EmbeddedUrls(urls.get(Kind.POSTGRES, ""), urls.get(Kind.REDIS, "")) if urls else None


class EmbeddedServers:
    """The servers of one `start`; a context manager. Not for several threads or greenlets at once."""

    def __init__(self, layout: Layout, *, durable: bool) -> None:
        self._layout = layout
        self._durable = durable
        self._token = secrets.token_hex(8)
        self._urls: dict[Kind, str] = {}
        self._owned: dict[Kind, Server] = {}
        self._ports: dict[Kind, int] = {}
        self._children: dict[Kind, subprocess.Popen[bytes]] = {}
        self._owner_locks: dict[Kind, int] = {}
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    def urls(self) -> EmbeddedUrls:
        return EmbeddedUrls(self._urls.get(Kind.POSTGRES, ""), self._urls.get(Kind.REDIS, ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop what this start owns, in order and completely; borrowed servers stay. Harmless twice."""
        if self._owned:
            with locks.held(self._layout.start_lock, timeout_s=_START_LOCK_S):
                for kind in self._owned:  # its owner's lock is ours, so whatever runs there is ours too
                    end(self._layout, kind)
                stop_owned(self._layout, self._token)
        for child in self._children.values():
            child.wait(timeout=_KILLED_S)
        for descriptor in self._owner_locks.values():
            locks.release(descriptor)
        if self._watcher is not None:
            self._watcher.communicate(b".", timeout=_START_LOCK_S)
        self._children, self._owner_locks, self._owned, self._watcher = {}, {}, {}, None

    def kill_postgres(self) -> None:
        """SIGKILL the postmaster, as a test of the promises; returns when all its processes are gone."""
        self._end(Kind.POSTGRES, (signal.SIGKILL,))

    def kill_redis(self) -> None:
        """SIGKILL Valkey; returns when it is gone."""
        self._end(Kind.REDIS, (signal.SIGKILL,))

    def restart_redis(self) -> None:
        """Stop Valkey in order, if it still runs, and start it again at the same URL."""
        self._end(Kind.REDIS, (signal.SIGTERM,))
        self._start_again(Kind.REDIS)

    def restart_postgres(self, mode: RestartMode = "fast") -> None:
        """Stop PostgreSQL, if it still runs, and start it again at the same URL.

        mode: `fast` disconnects clients in order, `immediate` leaves recovery to the start,
        `kill` is SIGKILL.
        """
        signals = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}
        self._end(Kind.POSTGRES, (signals[mode],))
        self._start_again(Kind.POSTGRES)

    def mend(self) -> list[str]:
        """Start again, at the same URL, what this start owns and what has died; return their names."""
        dead = [kind for kind in self._owned if not locks.is_held(self._layout.server_lock(kind))]
        for kind in dead:
            self._start_again(kind)
        return [self._owned[kind].title for kind in dead]

    def _provide(self, kind: Kind) -> None:
        """Borrow the server if it runs and its owner lives, else start it and own it."""
        owner_lock = locks.try_take(self._layout.owner_lock(kind))
        if owner_lock is None:
            running = _living(self._layout).get(kind)
            if running is None:  # its owner lives, the server doesn't: between a crash and a restart
                raise Unavailable(
                    f"The embedded server {kind} of {self._layout.data_dir} is down",
                    why="the command that started it still runs, the server doesn't",
                    fix="Stop that command and try again.",
                )
            self._urls[kind] = running.url
            return
        self._owner_locks[kind] = owner_lock
        end(self._layout, kind)  # left by an owner that was killed, or by a killed server's children
        before = read_state(self._layout).get(kind)
        make = postgres.prepare if kind is Kind.POSTGRES else valkey.prepare
        self._watch()
        self._owned[kind] = make(self._layout, durable=self._durable)
        self._launch(kind, before.port if before else None)
        self._urls[kind] = self._owned[kind].url(self._ports[kind])

    def _watch(self) -> None:
        # The watcher reads its standard input: it ends when this process does, in whatever way.
        if self._watcher is None:
            source = Path(__file__).resolve().parents[2]
            self._watcher = subprocess.Popen(
                [sys.executable, "-P", "-m", "titanflow.embedded.watcher", self._layout.data_dir, self._token],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env={**os.environ, "PYTHONPATH": os.fspath(source)},
            )

    def _start_again(self, kind: Kind) -> None:
        with locks.held(self._layout.start_lock, timeout_s=_START_LOCK_S):
            self._launch(kind, self._ports[kind], only_port=True)

    def _launch(self, kind: Kind, port: int | None, *, only_port: bool = False) -> None:
        """Start the server, on `port` if that is free, and return when it takes connections."""
        server = self._owned[kind]
        for attempt in range(_PORT_TRIES):
            if port is None or not (only_port or _is_free(port)):
                port = _free_port()
            log_from = self._spawn(server, port)
            trouble = self._await_ready(server, port, log_from)
            if trouble is None:
                self._ports[kind] = port
                return
            if only_port or "ddress already in use" not in trouble or attempt == _PORT_TRIES - 1:
                break
            port = None
        raise Unavailable(
            f"The embedded {server.title} did not start",
            why=trouble or "",
            fix=f"See {self._layout.log(kind)}",
        )

    def _spawn(self, server: Server, port: int) -> int:
        """Start the process and record it; return where its own lines begin in the log."""
        layout, kind = self._layout, server.kind
        log_path = layout.log(kind)
        if log_path.exists() and log_path.stat().st_size > _LARGEST_LOG:
            log_path.replace(log_path.with_suffix(".log.1"))
        server_lock = locks.take(layout.server_lock(kind), timeout_s=_KILLED_S)
        try:
            server.before_start(port)
            with os.fdopen(open_private(log_path, os.O_WRONLY | os.O_APPEND), "ab") as log:
                log_from = log.tell()
                child = server.launcher.spawn(server.command(port), log=log, keep_open=server_lock)
        finally:
            os.close(server_lock)  # the server has its own copy, which keeps the lock
        self._children[kind] = child
        record = Running(child.pid, port, server.url(port), os.getpid(), self._token)
        write_state(layout, {**read_state(layout), kind: record})
        return log_from

    def _await_ready(self, server: Server, port: int, log_from: int) -> str | None:
        """Return None when the server is ready, else why it isn't; it is gone then."""
        child = self._children[server.kind]
        deadline = time.monotonic() + server.ready_within_s
        while time.monotonic() < deadline:
            if child.poll() is not None:
                return _complaint(self._layout.log(server.kind), log_from)
            if server.is_ready(child.pid, port):
                return None
            time.sleep(_POLL_S)
        self._end(server.kind, (signal.SIGKILL,))
        return f"it wasn't ready after {server.ready_within_s:.0f} s"

    def _end(self, kind: Kind, signals: tuple[signal.Signals, ...]) -> None:
        if kind not in self._owned:
            raise Conflict(f"The embedded server {kind} isn't ours to stop", why="another command started it, or none")
        end(self._layout, kind, signals)
        self._children[kind].wait(timeout=_KILLED_S)


def stop_owned(layout: Layout, token: str) -> None:
    """Stop the servers that the start named `token` owns and forget them. The caller holds the start lock."""
    state = read_state(layout)
    for kind in [kind for kind, running in state.items() if running.token == token]:
        end(layout, kind)
        del state[kind]
    write_state(layout, state)


def end(layout: Layout, kind: Kind, signals: tuple[signal.Signals, ...] | None = None) -> None:
    """Signal the server until all its processes are gone: SIGKILL in the end. Does nothing if none lives."""
    lock = layout.server_lock(kind)
    polite = signals or (Postgres if kind is Kind.POSTGRES else Valkey).stop_signals
    for number in polite:
        if not locks.is_held(lock):
            return
        main = _main_process(layout, kind)
        if main is None:
            break
        with suppress(ProcessLookupError):
            os.kill(main, number)
        if number == signal.SIGKILL:
            break
        if locks.wait_free(lock, timeout_s=_STOP_S):
            return
    if locks.wait_free(lock, timeout_s=_ORPHANS_S):  # children of a killed server end by themselves, as a rule
        return
    main = _main_process(layout, kind)
    for pid in locks.holders(lock) or ([main] if main else []):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if not locks.wait_free(lock, timeout_s=_KILLED_S):
        raise Unavailable(
            f"The embedded server {kind} of {layout.data_dir} can't be stopped",
            why="its processes outlive SIGKILL or belong to somebody else",
        )


def _main_process(layout: Layout, kind: Kind) -> int | None:
    """Return the recorded process if it is the server: it holds the server's lock, as far as one can tell."""
    running = read_state(layout).get(kind)
    if running is None:
        return None
    holders = locks.holders(layout.server_lock(kind))
    return running.pid if holders is None or running.pid in holders else None


def _living(layout: Layout) -> dict[Kind, Running]:
    return {kind: running for kind, running in read_state(layout).items() if locks.is_held(layout.server_lock(kind))}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    ports = (random.choice(_PORTS) for _ in range(1000))  # noqa: S311 - nothing secret about it
    return next(port for port in ports if _is_free(port))


def _complaint(log: Path, log_from: int) -> str:
    with log.open("rb") as file:
        file.seek(log_from)
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("in use", "FATAL", "rror", "ailed"))]
    return telling[0] if telling else (lines[-1] if lines else "it ended without a word")
