"""What PostgreSQL does for a call of the storage layer: its statements, caught on their way, explained.

`explained(url, call)` runs the call once as it is, then each of its statements below EXPLAIN (ANALYZE, BUFFERS).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from titanflow.storage.database import Connection, Database


@dataclass(frozen=True)
class Plan:
    """One statement's plan. statement: with its parameters; root: as JSON has it; text: as people read it."""

    statement: str
    root: dict[str, Any]
    text: str

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Yield all nodes, the root first."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.get("Plans", [])

    def read(self, table: str) -> list[tuple[str, str]]:
        """Return how a table is read: (kind of scan, index or "")."""
        return [
            (node["Node Type"], str(node.get("Index Name", "")))
            for node in self.nodes()
            if node.get("Relation Name") == table
        ]

    def rows_touched(self, *tables: str) -> float:
        """Return how many rows the scans of these tables returned or threw away, over all loops."""
        touched = 0.0
        for node in self.nodes():
            if "Scan" in node["Node Type"] and node.get("Relation Name") in tables:
                gone = sum(float(node.get(f"Rows Removed by {what}", 0)) for what in ("Filter", "Index Recheck"))
                touched += (float(node["Actual Rows"]) + gone) * float(node["Actual Loops"])
        return touched

    @property
    def milliseconds(self) -> float:
        """How long the root took."""
        return float(self.root["Actual Total Time"])


class _Recorded(psycopg.Cursor[Any]):
    statements: list[tuple[Any, Any]] = []

    def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
        self.statements.append((query, params))
        return super().execute(query, params, **more)


class _Recording(Database):
    @contextmanager
    def connection(self, *, within_s: float | None = None) -> Iterator[Connection]:
        """Lend a connection whose cursors note what they execute."""
        with super().connection(within_s=within_s) as connection:
            connection.cursor_factory = _Recorded
            yield connection


def explained(url: str, call: Callable[[Database], object]) -> list[Plan]:
    """Run a call against the database and return the plan of each of its statements, in order."""
    database = _Recording(url, pool_size=2, statement_timeout_ms=120_000)
    try:
        _Recorded.statements = []
        call(database)
        statements = [
            (text, given) for text, given in _Recorded.statements if str(text).split()[0] in ("SELECT", "WITH")
        ]
        _Recorded.statements = []
        with database.connection() as connection:
            return [_explain(connection, text, given) for text, given in statements]
    finally:
        database.close()


def _explain(connection: Connection, statement: Any, parameters: Any) -> Plan:
    cursor = psycopg.Cursor(connection)
    as_json = cursor.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement.encode(), parameters).fetchone()
    as_text = cursor.execute(b"EXPLAIN (ANALYZE, BUFFERS) " + statement.encode(), parameters).fetchall()
    assert as_json is not None
    return Plan(f"{statement}\n{parameters}", as_json[0][0]["Plan"], "\n".join(row[0] for row in as_text))
