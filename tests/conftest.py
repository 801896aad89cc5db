"""Fixtures that every test may use."""

from collections.abc import Iterator

import pytest

from tests.support.servers import database_url, migrated_template, redis_url, servers
from titanflow.storage.database import Database

__all__ = ["database_url", "db", "migrated_template", "redis_url", "servers"]


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A pool on a migrated, empty database."""
    database = Database(database_url, pool_size=6)
    yield database
    database.close()
