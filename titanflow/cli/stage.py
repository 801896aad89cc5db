"""The stage of demos and promise tests: embedded servers, the sandbox, the server; each can be killed and restarted."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from titanflow import embedded
from titanflow.cli.api_client import ApiClient
from titanflow.errors import ConfigurationError, Unavailable
from titanflow.services import tokens
from titanflow.storage.database import Database, connect
from titanflow.storage.migrations import migrate

_START_S = 30.0
_STOP_S = 60.0


@dataclass
class Stage:
    """Real processes on this machine. Call `stop` at the end, whatever happened.

    source: the folder whose code the server runs. environment: what the server gets beside its settings.
    """

    data_dir: Path
    profile: str = "clean"
    latency_ms: float = 100.0
    speed: float = 4.0
    port: int = 0
    seed: int = 1
    source: Path = field(default_factory=lambda: Path(__file__).resolve().parents[2])
    environment: dict[str, str] = field(default_factory=dict)
    config: Path | None = None  # another gunicorn configuration than the project's, for measurements
    pin: str = field(default_factory=lambda: f"{secrets.randbelow(10**6):06d}-{secrets.token_hex(2)}")

    def __post_init__(self) -> None:
        self.port = self.port or free_port()
        self.sandbox_port = free_port()
        self._app_secret = secrets.token_hex(16)
        self._server: subprocess.Popen[bytes] | None = None
        self._sandbox: subprocess.Popen[bytes] | None = None
        self.cpu_of_the_dead_s = 0.0
        self.data_dir.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> str:
        """Where the server is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def server_pid(self) -> int:
        """The server's master process and its session; 0 if it doesn't run."""
        return self._server.pid if self._server is not None else 0

    def start(self) -> None:
        """Start everything from nothing, on a new database."""
        check_port(f"127.0.0.1:{self.port}", setting="--port")  # whoever answers there is not ours
        self.servers = embedded.start(self.data_dir)
        self.database_url = _fresh_database(self.servers.urls.database_url)
        migrate(self.database_url)
        database = Database(self.database_url, pool_size=2)
        try:
            self.token = tokens.create(database, "demo", "admin")
        finally:
            database.close()
        self.start_sandbox()
        self.start_server()
        if self._sandbox is not None and self._sandbox.poll() is not None:
            raise Unavailable("The sandbox did not start", why=_last_line(self.data_dir / "sandbox.log"))
        self.api = ApiClient(self.address, self.token)
        self.meta = ApiClient(f"http://127.0.0.1:{self.sandbox_port}", "sandbox")

    def start_sandbox(self) -> None:
        """Start the fake Meta, with an empty ledger."""
        arguments = {
            "--port": self.sandbox_port,
            "--webhook-url": f"{self.address}/api/webhooks/whatsapp",
            "--app-secret": self._app_secret,
            "--profile": self.profile,
            "--latency-ms": self.latency_ms,
            "--speed": self.speed,
            "--seed": self.seed,
        }
        command = [sys.executable, "-m", "titanflow.sandbox"]
        self._sandbox = subprocess.Popen(
            command + [str(part) for pair in arguments.items() for part in pair],
            stdout=(self.data_dir / "sandbox.log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        # The judge's clock must not be late: it counts what arrives within a second. Only root may raise a priority.
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, self._sandbox.pid, -10)

    def stop_sandbox(self) -> None:
        """End the fake Meta; what it remembers is gone."""
        if self._sandbox is not None:
            self._sandbox.terminate()
            self._sandbox.wait(timeout=10)
            self._sandbox = None

    def start_server(self) -> None:
        """Start the server and wait until it is ready."""
        environment = {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.servers.urls.redis_url,
            "SECRET_KEY": embedded.secret_key(self.data_dir),
            "ADMIN_PIN": self.pin,
            "META_APP_SECRET": self._app_secret,
            "META_VERIFY_TOKEN": "demo",
            "META_GRAPH_URL": f"http://127.0.0.1:{self.sandbox_port}",
            "BIND": f"127.0.0.1:{self.port}",
            "DATA_DIR": str(self.data_dir.resolve()),
            "LOG_FORMAT": "json",
            "API_REQUESTS_PER_SECOND": "1000",  # tests and demos ask more often than a client may
            "PYTHONPATH": os.pathsep.join(filter(None, [str(self.source), os.environ.get("PYTHONPATH", "")])),
            **self.environment,
        }
        self._server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", str(self.config or self.source / "gunicorn.conf.py")],
            cwd=self.source,
            env=environment,
            stdout=(self.data_dir / "server.log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        ready = ApiClient(self.address, "")
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self._server.poll() is not None:
                break
            if ready.is_up("/health/ready"):
                return
            time.sleep(0.05)
        raise Unavailable("The server did not start", why=_last_line(self.data_dir / "server.log"))

    def freeze_server(self) -> Callable[[], None]:
        """Stop the server's processes in mid-air (SIGSTOP). Returns what lets these very processes go on."""
        group = self._server.pid if self._server is not None else 0
        if group:
            os.killpg(group, signal.SIGSTOP)

        def thaw() -> None:
            if group:
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGCONT)

        return thaw

    def kill_server(self) -> None:
        """kill -9 the server: master and workers at once."""
        if self._server is not None:
            self.cpu_of_the_dead_s += self._cpu_s()
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(timeout=10)
            self._server = None

    def stop_server(self) -> None:
        """Stop the server gracefully."""
        if self._server is not None:
            self.cpu_of_the_dead_s += self._cpu_s()
            self._server.terminate()
            try:
                self._server.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._server.pid, signal.SIGKILL)
                self._server.wait(timeout=10)
                raise Unavailable(f"The server did not stop within {_STOP_S:.0f} s") from None
            finally:
                self._server = None

    def cpu_s(self) -> float:
        """CPU seconds of all server processes so far, the dead ones as read before their end."""
        return self.cpu_of_the_dead_s + self._cpu_s()

    def _cpu_s(self) -> float:
        ticks = sum(int(fields[11]) + int(fields[12]) for fields in self._processes())
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self) -> list[int]:
        """Resident memory of each server process."""
        return [int(fields[21]) * os.sysconf("SC_PAGE_SIZE") for fields in self._processes()]

    def _processes(self) -> Iterator[list[str]]:
        """Yield /proc/PID/stat of the server's session, from the state on."""
        if self._server is None:
            return
        for process in Path("/proc").glob("[0-9]*"):
            try:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self._server.pid:  # its session
                yield fields

    def stop(self) -> None:
        """Stop everything that was started."""
        try:
            self.stop_server()
        finally:
            try:
                self.stop_sandbox()
            finally:
                if hasattr(self, "servers"):
                    self.servers.stop()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def gunicorn_config() -> Path:
    """The project's gunicorn.conf.py."""
    return Path(__file__).resolve().parents[2] / "gunicorn.conf.py"


def check_port(bind: str, *, setting: str = "BIND") -> None:
    """Raise ConfigurationError if nobody can listen on `bind`. setting: what the operator would change."""
    host, _, port = bind.rpartition(":")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]") or "0.0.0.0", int(port)))  # noqa: S104  (what the operator asked for)
        except OSError as error:
            raise ConfigurationError(
                f"{setting} {bind} can't be used",
                why=error.strerror or str(error),
                fix=f"Choose another with {setting}.",
            ) from None


def free_port() -> int:
    """Return a loopback port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _fresh_database(url: str) -> str:
    """Drop the databases of earlier runs that nobody uses any more, make a new one, return its URL."""
    name = f"titanflow_run_{int(time.time() * 1000)}"
    with connect(url) as connection:
        old = connection.execute(
            "SELECT datname FROM pg_database AS one WHERE datname LIKE 'titanflow_run_%'"
            " AND NOT EXISTS (SELECT FROM pg_stat_activity AS used WHERE used.datname = one.datname)"
        ).fetchall()
        for (database,) in old:
            connection.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)'.encode())
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
