"""The pool of PostgreSQL connections, and the one place where psycopg's errors become ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg
import psycopg_pool
from psycopg.rows import TupleRow
from psycopg.types.json import set_json_dumps, set_json_loads

from titanflow.errors import ConfigurationError, StorageUnavailable

Connection = psycopg.Connection[TupleRow]

# Half of what reading contacts ahead costs is parsing their variables, in one go on the hub.
set_json_loads(orjson.loads)
set_json_dumps(orjson.dumps)

_STATEMENT_TIMEOUT_MS = 15_000
_CONNECT_TIMEOUT_S = 5
_CHECKOUT_TIMEOUT_S = 5.0


class Database:
    """A bounded pool of connections, all in autocommit mode.

    url: a libpq URL. pool_size: at most so many connections; few are better than many (docs/performance.md).
    statement_timeout_ms: the server ends a longer statement itself, since a client that gives up does not.
    """

    def __init__(self, url: str, *, pool_size: int = 8, statement_timeout_ms: int = _STATEMENT_TIMEOUT_MS) -> None:
        options = (
            f"-c statement_timeout={statement_timeout_ms} -c lock_timeout={statement_timeout_ms} "
            "-c idle_in_transaction_session_timeout=60000 -c timezone=UTC"
        )
        self._url = url
        self._options: dict[str, Any] = {
            "autocommit": True,
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "options": options,
            "application_name": "titanflow",
        }
        self._pool: psycopg_pool.ConnectionPool[Connection] = psycopg_pool.ConnectionPool(
            url,
            min_size=0,
            max_size=pool_size,
            timeout=_CHECKOUT_TIMEOUT_S,
            reconnect_timeout=_CONNECT_TIMEOUT_S,
            kwargs=self._options,
            open=True,
        )

    @contextmanager
    def connection(self, *, within_s: float | None = None) -> Iterator[Connection]:
        """Lend a connection in autocommit mode: a single statement costs a single round trip.

        within_s: how long to wait for a free one, for whoever has somebody waiting.
        Raises StorageUnavailable if PostgreSQL is away or doesn't answer in time; a write may have happened then.
        """
        with _said_in_words(), self._pool.connection(timeout=within_s) as connection:
            yield connection

    @contextmanager
    def own_connection(self) -> Iterator[Connection]:
        """Open a connection beside the pool, for what takes long: an export must not keep the others waiting."""
        with _said_in_words(), psycopg.connect(self._url, **self._options) as connection:
            yield connection

    @contextmanager
    def transaction(self, *, within_s: float | None = None) -> Iterator[Connection]:
        """Lend a connection inside a transaction that commits at the end, or rolls back on an exception."""
        with self.connection(within_s=within_s) as connection, connection.transaction():
            yield connection

    def gauges(self) -> dict[str, int]:
        """Return the pool's own figures: sizes, waiting requests, errors."""
        return dict(self._pool.get_stats())

    def close(self) -> None:
        """Close all connections. Nothing may use the database afterwards."""
        self._pool.close(timeout=5)


@contextmanager
def _said_in_words() -> Iterator[None]:
    """psycopg's errors become ours."""
    try:
        yield
    except (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        psycopg_pool.PoolTimeout,
        psycopg_pool.PoolClosed,
    ) as error:
        raise StorageUnavailable(
            "PostgreSQL can't be reached or didn't answer in time",
            why=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
            fix="It is tried again; see `titanflow doctor`.",
        ) from error


def connect(url: str, **options: Any) -> Connection:
    """Open one connection outside the pool, in autocommit mode: migrations, exports, tools.

    Raises StorageUnavailable if PostgreSQL can't be reached, ConfigurationError if the URL can't be read.
    """
    try:
        return psycopg.connect(
            url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S, application_name="titanflow", **options
        )
    except psycopg.OperationalError as error:
        raise StorageUnavailable(
            "PostgreSQL can't be reached",
            why=str(error).strip().splitlines()[0],
            fix="Check DATABASE_URL and that the server runs.",
        ) from error
    except psycopg.ProgrammingError:  # its text would show the password
        raise ConfigurationError(
            "DATABASE_URL can't be used",
            why="it is no URL that PostgreSQL understands",
            fix="It must look like postgresql://user:password@host:5432/name.",
        ) from None
