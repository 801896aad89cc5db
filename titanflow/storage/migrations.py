"""Applies migrations/NNNN_what.sql, each once, whoever else does the same at this moment.

A file is sent in one transaction together with its row in schema_migrations. A file whose first line is
`-- no-transaction` is sent one statement at a time (CREATE INDEX CONCURRENTLY), and must be repeatable.
The lock is polled, never waited for inside PostgreSQL: a CONCURRENTLY build would wait for that waiter.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from titanflow.errors import ConfigurationError, StorageUnavailable
from titanflow.storage.database import Connection, connect

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_LOCK = 0x717A4F10
_LOCK_PATIENCE_S = 120.0
_OLDEST_SERVER = 15


def migrate(url: str, folder: Path = MIGRATIONS) -> list[str]:
    """Bring the schema up to date. Returns the names of the files applied now, in order.

    Raises ConfigurationError if the database was migrated by newer code, an applied file was edited since, or
    PostgreSQL is too old; StorageUnavailable if PostgreSQL is away, also half-way.
    """
    files = {file.stem: file.read_text() for file in sorted(folder.glob("[0-9]*.sql"))}
    with _said_in_words(), connect(url) as lock, connect(url, options="-c lock_timeout=5000") as work:
        check_server(work.info.server_version)
        _take_lock(lock)
        work.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (name text PRIMARY KEY, sha256 text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        applied = _check_applied(work, files)
        missing = [name for name in files if name not in applied]
        for name in missing:
            _apply(work, name, files[name])
    return missing


def pending(url: str, folder: Path = MIGRATIONS) -> list[str]:
    """Return the names of the files not applied yet. Raises as `migrate` does; changes nothing."""
    files = {file.stem: file.read_text() for file in sorted(folder.glob("[0-9]*.sql"))}
    with _said_in_words(), connect(url) as work:
        check_server(work.info.server_version)
        if work.execute("SELECT to_regclass('schema_migrations')").fetchone() == (None,):
            return list(files)
        applied = _check_applied(work, files)
    return [name for name in files if name not in applied]


def check_server(version: int) -> None:
    """Raise ConfigurationError unless PostgreSQL is new enough. version: as libpq tells it, 150004 for 15.4."""
    if version // 10_000 < _OLDEST_SERVER:
        raise ConfigurationError(
            f"PostgreSQL {version // 10_000} is too old: {_OLDEST_SERVER} or newer is needed",
            fix="Upgrade the server that DATABASE_URL names, or name another one.",
        )


@contextmanager
def _said_in_words() -> Iterator[None]:
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StorageUnavailable(
            "PostgreSQL went away during the migrations",
            why=_first_line(error),
            fix="Run `titanflow migrate` again: what was applied stays, the rest follows.",
        ) from error
    except psycopg.DatabaseError as error:
        raise ConfigurationError(
            "The migrations can't be applied",
            why=_first_line(error),
            fix="The user of DATABASE_URL must own the schema; nothing of the failed migration was kept.",
        ) from error


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _take_lock(connection: Connection) -> None:
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while connection.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchone() != (True,):
        if time.monotonic() > deadline:
            raise ConfigurationError(
                "The migrations can't start",
                why=f"another process has been migrating for {_LOCK_PATIENCE_S:.0f} s",
                fix="Find it in pg_locks (locktype advisory), end it, and start again.",
            )
        time.sleep(0.1)


def _check_applied(work: Connection, files: dict[str, str]) -> set[str]:
    applied: dict[str, str] = dict(work.execute("SELECT name, sha256 FROM schema_migrations").fetchall())
    unknown = sorted(set(applied) - set(files))
    if unknown:
        raise ConfigurationError(
            f"The database is newer than this program: it has migration {unknown[-1]}",
            fix="Start the newer version, or restore the backup made before the upgrade.",
        )
    for name, digest in applied.items():
        if digest != _sha256(files[name]):
            raise ConfigurationError(
                f"Migration {name} was edited after it had been applied",
                fix="Restore the file and put the change into a new migration.",
            )
    return set(applied)


def _apply(work: Connection, name: str, text: str) -> None:
    record = "INSERT INTO schema_migrations (name, sha256) VALUES (%s, %s)"
    if text.startswith("-- no-transaction"):
        for statement in text.split(";\n"):
            if statement.strip():
                work.execute(sql.SQL(statement))
        work.execute(record, [name, _sha256(text)])
        return
    with work.transaction():
        work.execute(sql.SQL(text))
        work.execute(record, [name, _sha256(text)])


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
