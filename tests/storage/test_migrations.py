"""Migrations: each once, in order, whoever else migrates at this moment; and what refuses to start says why."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tests.support.servers import fresh_database
from titanflow.embedded import EmbeddedServers
from titanflow.errors import ConfigurationError
from titanflow.storage.database import connect
from titanflow.storage.migrations import check_server, migrate, pending


@pytest.fixture
def empty_url(servers: EmbeddedServers) -> Iterator[str]:
    """A database without any table."""
    with fresh_database(servers) as url:
        yield url


def _write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.sql").write_text(text)


def test_files_are_applied_once_and_in_order(empty_url: str, tmp_path: Path) -> None:
    _write(tmp_path, "0002_second", "INSERT INTO one (n) VALUES (2);")
    _write(tmp_path, "0001_first", "CREATE TABLE one (n integer);")
    assert pending(empty_url, tmp_path) == ["0001_first", "0002_second"]

    assert migrate(empty_url, tmp_path) == ["0001_first", "0002_second"]

    assert migrate(empty_url, tmp_path) == []
    assert pending(empty_url, tmp_path) == []
    with connect(empty_url) as connection:
        assert connection.execute("SELECT n FROM one").fetchall() == [(2,)]


def test_many_who_migrate_at_once_apply_each_file_once(empty_url: str, tmp_path: Path) -> None:
    _write(tmp_path, "0001_first", "CREATE TABLE one (n integer); INSERT INTO one VALUES (1); SELECT pg_sleep(0.2);")
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(lambda _: migrate(empty_url, tmp_path), range(4)))

    assert sorted(applied) == [[], [], [], ["0001_first"]]


def test_a_failed_file_leaves_nothing_behind_and_the_earlier_ones_stay(empty_url: str, tmp_path: Path) -> None:
    _write(tmp_path, "0001_first", "CREATE TABLE one (n integer);")
    _write(tmp_path, "0002_second", "CREATE TABLE two (n integer); SELECT 1 / 0;")
    with pytest.raises(ConfigurationError, match="can't be applied"):
        migrate(empty_url, tmp_path)

    assert pending(empty_url, tmp_path) == ["0002_second"]
    with connect(empty_url) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT FROM two")


def test_a_file_without_transaction_builds_indexes_concurrently(empty_url: str, tmp_path: Path) -> None:
    _write(tmp_path, "0001_first", "CREATE TABLE one (n integer);")
    _write(
        tmp_path,
        "0002_index",
        "-- no-transaction\nDROP INDEX IF EXISTS one_n;\nCREATE INDEX CONCURRENTLY one_n ON one (n);\n",
    )

    assert migrate(empty_url, tmp_path) == ["0001_first", "0002_index"]
    with connect(empty_url) as connection:
        assert connection.execute("SELECT to_regclass('one_n') IS NOT NULL").fetchone() == (True,)


def test_an_edited_file_is_refused(empty_url: str, tmp_path: Path) -> None:
    _write(tmp_path, "0001_first", "CREATE TABLE one (n integer);")
    migrate(empty_url, tmp_path)
    _write(tmp_path, "0001_first", "CREATE TABLE one (n bigint);")

    with pytest.raises(ConfigurationError, match="0001_first was edited"):
        migrate(empty_url, tmp_path)


def test_a_database_of_a_newer_version_is_refused(empty_url: str, tmp_path: Path) -> None:
    _write(tmp_path, "0001_first", "CREATE TABLE one (n integer);")
    _write(tmp_path, "0009_later", "CREATE TABLE nine (n integer);")
    migrate(empty_url, tmp_path)
    (tmp_path / "0009_later.sql").unlink()

    with pytest.raises(ConfigurationError, match="it has migration 0009_later"):
        migrate(empty_url, tmp_path)


def test_an_old_server_is_refused_in_words() -> None:
    with pytest.raises(ConfigurationError, match="PostgreSQL 14 is too old: 15 or newer"):
        check_server(140_011)
    check_server(150_000)
