"""The stage of many rounds: one PostgreSQL, one Valkey, one server; a new fake Meta for each round."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psycopg
import redis

from tests.chaos.plan import Plan
from titanflow.cli.stage import Stage
from titanflow.errors import TitanFlowError, Unavailable
from titanflow.storage.database import connect

WABA = "900000001"

_SPEED = 40.0  # people read within seconds, not minutes
_ROOM_MIB = 64  # what a small disk has left once the data lie on it
_LAST_FILES_S = 10.0
SHIM = Path(__file__).parent / "clock_shim"

# What was committed asynchronously stays in memory until somebody commits synchronously: a claim that was
# made so is lost with PostgreSQL, not just sometimes.
_LAZY_WAL_WRITER = ("ALTER SYSTEM SET wal_writer_delay = '10s'", "SELECT pg_reload_conf()")

R = TypeVar("R")


@dataclass
class World:
    """Everything that lives longer than a round. source: whose code the server runs; sql: run after migration."""

    folder: Path
    source: Path | None = None
    sql: tuple[str, ...] = ()
    small_disk: bool = False
    mounted: Path | None = None
    stage: Stage = field(init=False)

    def start(self) -> None:
        """Start everything from nothing. Call `stop` at the end, whatever happened."""
        self.clock_file = self.folder / "clock"
        self.clock_file.write_text("0")
        environment = {
            "CHAOS_CLOCK_FILE": str(self.clock_file),
            "PYTHONPATH": os.pathsep.join([str(SHIM), str(self.source or Path(__file__).resolve().parents[2])]),
        }
        self.stage = Stage(self.folder / "data", speed=_SPEED, environment=environment)
        if self.source is not None:
            self.stage.source = self.source
        self.stage.start()
        self.execute(*_LAZY_WAL_WRITER)
        self.execute(*self.sql)
        if self.small_disk:
            self._move_to_small_disk()

    def stop(self) -> None:
        """Stop everything and give the disk back."""
        try:
            if hasattr(self, "stage"):
                self.stage.stop()
        finally:
            if self.mounted is not None:
                _run("umount", "--lazy", str(self.mounted))
                self.mounted = None

    def new_sandbox(self, plan: Plan) -> None:
        """Replace the fake Meta: its ledger, its windows and its people are this round's alone."""
        stage = self.stage
        stage.stop_sandbox()
        stage.seed, stage.latency_ms, stage.profile = plan.seed, plan.latency_ms, plan.profile
        stage.start_sandbox()
        persist(lambda: stage.meta.get("/_sandbox/summary"))

    def execute(self, *statements: str) -> None:
        """Run statements of our own, each in a transaction of its own."""
        with connect(self.stage.database_url) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def flush_redis(self) -> None:
        """FLUSHALL."""
        with redis.Redis.from_url(self.stage.servers.urls.redis_url, socket_timeout=10) as client:
            client.flushall()

    def move_clock(self, seconds: float) -> None:
        """Move the server's wall clock to so many seconds from the true time."""
        self.clock_file.write_text(str(seconds))

    def fill_disk(self, for_s: float, *, with_wal: bool) -> None:
        """Leave PostgreSQL not one block for a while; with_wal: its log needs one at once, so that it breaks down."""
        assert self.mounted is not None
        filler = self.mounted / "filler"
        try:
            with filler.open("wb", buffering=0) as file:
                while file.write(b"\0" * 65536):
                    pass
        except OSError:
            pass
        try:
            if with_wal:
                self.execute("SELECT pg_switch_wal()", "CREATE TABLE IF NOT EXISTS chaos ()", "SELECT pg_switch_wal()")
        except (TitanFlowError, psycopg.Error):
            pass  # that it fails is the point
        time.sleep(for_s)
        filler.unlink()
        persist(lambda: self.stage.servers.mend(), within_s=60)

    def _move_to_small_disk(self) -> None:
        stage = self.stage
        stage.stop_server()
        stage.servers.kill_postgres()
        data = stage.data_dir / "pg"
        aside = data.with_name("pg.aside")
        data.rename(aside)
        data.mkdir(mode=0o700)
        owner = aside.stat()
        mib = int(_run("du", "-sm", str(aside)).split()[0]) + _ROOM_MIB
        options = f"size={mib}m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
        _run("mount", "-t", "tmpfs", "-o", options, "chaos", str(data))
        self.mounted = data
        _run("cp", "-a", f"{aside}/.", str(data))
        shutil.rmtree(aside)
        stage.servers.restart_postgres("fast")
        stage.start_server()


@contextmanager
def a_world(*, source: Path | None = None, sql: tuple[str, ...] = (), small_disk: bool = False) -> Iterator[World]:
    """Yield a running world; afterwards nothing of it is left, neither process nor mount nor file."""
    folder = Path(tempfile.mkdtemp(prefix="tf-chaos-"))
    folder.chmod(0o755)  # root's servers run as `nobody`
    world = World(folder, source, sql, small_disk)
    try:
        world.start()
        yield world
    finally:
        try:
            world.stop()
        finally:
            deadline = time.monotonic() + _LAST_FILES_S
            while folder.exists() and time.monotonic() < deadline:  # an interrupted initdb may still be writing
                shutil.rmtree(folder, ignore_errors=True)
                time.sleep(0.05)


def why_no_small_disk() -> str | None:
    """Return why this machine can't mount a small disk; None if it can."""
    if os.geteuid() != 0:
        return "mounting a tmpfs needs root"
    with tempfile.TemporaryDirectory() as folder:
        try:
            _run("mount", "-t", "tmpfs", "-o", "size=1m", "chaos", folder)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"a tmpfs can't be mounted: {error}"
        _run("umount", folder)
    return None


def persist(action: Callable[[], R], *, within_s: float = 60.0) -> R:
    """Do it until it succeeds: whatever is away may come back. Raises Unavailable after within_s."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return action()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
