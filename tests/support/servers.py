"""Real PostgreSQL and Valkey for the tests: one pair a session, one database a test.

tests/conftest.py imports the fixtures by name. Nothing here is durable: fsync is off.
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis
from psycopg import sql

from titanflow import embedded
from titanflow.storage.migrations import migrate

_TEMPLATE = "titanflow_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def servers() -> Iterator[embedded.EmbeddedServers]:
    """One PostgreSQL and one Valkey for the whole session. A test that kills them starts its own pair."""
    with short_folder() as folder, embedded.start(folder / "data", durable=False) as running:
        yield running


@pytest.fixture(scope="session")
def migrated_template(servers: embedded.EmbeddedServers) -> str:
    """The name of a database with all migrations applied, to copy for `fresh_database`."""
    _administer(servers, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
    migrate(database_url_of(servers, _TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def database_url(servers: embedded.EmbeddedServers, migrated_template: str) -> Iterator[str]:
    """A migrated, empty database of the test's own."""
    with fresh_database(servers, template=migrated_template) as url:
        yield url


@pytest.fixture
def redis_url(servers: embedded.EmbeddedServers) -> str:
    """The session's Valkey, emptied."""
    with redis.Redis.from_url(servers.urls.redis_url, socket_timeout=5) as client:
        client.flushall()
    return servers.urls.redis_url


@contextmanager
def fresh_database(servers: embedded.EmbeddedServers, *, template: str | None = None) -> Iterator[str]:
    """Create a database, empty or a copy of `template`, yield its URL and drop it, whoever is connected.

    Close pools before the block ends, else their connections are cut.
    """
    name = f"test_{next(_numbers)}"
    _administer(
        servers,
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template or "template0")),
    )
    try:
        yield database_url_of(servers, name)
    finally:
        _administer(servers, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def database_url_of(servers: embedded.EmbeddedServers, name: str) -> str:
    """Return the URL of another database of the same server."""
    return urlunsplit(urlsplit(servers.urls.database_url)._replace(path=f"/{name}"))


@contextmanager
def short_folder() -> Iterator[Path]:
    """Yield a temporary folder that every user may enter: root's servers run as `nobody`."""
    folder = Path(tempfile.mkdtemp(prefix="tf-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _administer(servers: embedded.EmbeddedServers, statement: sql.Composed) -> None:
    with psycopg.connect(servers.urls.database_url, autocommit=True, connect_timeout=10) as connection:
        connection.execute(statement)
