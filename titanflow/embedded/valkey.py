"""Valkey (or Redis): configuration and readiness."""

import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from titanflow.embedded import launcher
from titanflow.embedded.binaries import find_redis
from titanflow.embedded.launcher import Launcher
from titanflow.embedded.layout import Kind, Layout, kept_secret

_ANSWER_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Valkey:
    """One embedded Valkey, ready to be started on any port."""

    layout: Layout
    launcher: Launcher
    binary: Path
    password: str
    durable: bool

    kind = Kind.REDIS
    title = "Valkey"
    stop_signals = (signal.SIGTERM,)
    ready_within_s = 120.0  # it may have a long append-only file to load

    def command(self, port: int) -> list[str | Path]:
        return [self.binary, self._configuration]

    def url(self, port: int) -> str:
        return f"redis://:{self.password}@127.0.0.1:{port}/0"

    def before_start(self, port: int) -> None:
        """Write the configuration: a file, since a command line shows its password to everybody."""
        folder = self.layout.data(self.kind)
        settings = {
            "bind": "127.0.0.1",
            "port": str(port),
            "requirepass": self.password,
            "dir": f'"{folder}"',
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "logfile": '""',
        }
        self._configuration.unlink(missing_ok=True)
        self._configuration.touch(mode=0o600)
        self._configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        self.launcher.hand_over(self._configuration)

    def is_ready(self, pid: int, port: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_WITHIN_S) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and (received := connection.recv(256)):
                    answer += received
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"  # while it loads its data, PING gets -LOADING

    @property
    def _configuration(self) -> Path:
        return self.layout.data(self.kind) / "valkey.conf"


def prepare(layout: Layout, *, durable: bool) -> Valkey:
    """Find a binary, make the folder, and return the server."""
    binary = find_redis()
    data = layout.data(Kind.REDIS)
    how = launcher.choose(binary, data)
    how.folder(data)
    return Valkey(layout, how, binary, kept_secret(layout.password), durable)
