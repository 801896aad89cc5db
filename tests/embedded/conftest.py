"""One DATA_DIR for a module's tests (making it takes most of a second), and owners in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis

from tests.support.servers import short_folder
from titanflow.embedded import EmbeddedUrls, locks
from titanflow.embedded.layout import Kind, Layout

SOURCE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def module_folder() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture
def data_dir(module_folder: Path) -> Iterator[Path]:
    """A DATA_DIR shared by the module's tests; each must leave no process and no record behind."""
    path = module_folder / "data"
    yield path
    assert_nothing_left(path)


def assert_nothing_left(data_dir: Path) -> None:
    layout = Layout(data_dir)
    assert [kind for kind in Kind if locks.is_held(layout.server_lock(kind))] == []
    assert [kind for kind in Kind if locks.is_held(layout.owner_lock(kind))] == []
    assert processes_naming(data_dir) == []
    assert not layout.state.exists()


def processes_naming(path: Path) -> list[str]:
    """Return the command lines that name the path: PostgreSQL's, Valkey's at its start, the watcher's."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_text(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if f"{path}/" in line or f"{path} " in line:
            lines.append(line)
    return lines


def answers(urls: EmbeddedUrls) -> bool:
    """Tell whether both servers do their work."""
    with psycopg.connect(urls.database_url, connect_timeout=5) as connection:
        with redis.Redis.from_url(urls.redis_url, socket_timeout=5) as client:
            return connection.execute("SELECT 1").fetchone() == (1,) and bool(client.ping())


@dataclass
class Owner:
    """`python -m titanflow.embedded` in a process of its own, un-patched."""

    process: subprocess.Popen[str]

    def urls(self) -> EmbeddedUrls:
        """Wait until it has printed them."""
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline() for _ in range(2)]
        values = dict(line.strip().split("=", 1) for line in lines if "=" in line)
        assert set(values) == {"DATABASE_URL", "REDIS_URL"}, self.process.communicate(timeout=10)
        return EmbeddedUrls(values["DATABASE_URL"], values["REDIS_URL"])

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


class Owners:
    """Starts owners and ends those that a failed test left."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def start(self, data_dir: Path, *, prefix: tuple[str, ...] = (), user: int | None = None) -> Owner:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "titanflow.embedded", "--data-dir", str(data_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            user=user,
        )
        self._stack.callback(self._end, process)
        return Owner(process)

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


@pytest.fixture
def owners() -> Iterator[Owners]:
    with ExitStack() as stack:
        yield Owners(stack)


def wait_until_gone(data_dir: Path, *, timeout_s: float = 15) -> None:
    """Wait for servers, owners and the watcher of this DATA_DIR to end."""
    deadline = time.monotonic() + timeout_s
    layout = Layout(data_dir)
    for kind in Kind:
        assert locks.wait_free(layout.server_lock(kind), timeout_s=timeout_s)
    while processes_naming(data_dir):
        assert time.monotonic() < deadline, processes_naming(data_dir)
        time.sleep(0.01)
