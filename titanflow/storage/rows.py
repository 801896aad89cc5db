"""One helper for lists: rows as dictionaries whose times are ISO 8601 texts, ready for JSON."""

from collections.abc import Mapping
from typing import Any, LiteralString

from psycopg.rows import dict_row

from titanflow.storage.database import Database


def fetch_all(db: Database, statement: LiteralString, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all rows of a statement."""
    with db.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, parameters).fetchall()


def fetch_one(db: Database, statement: LiteralString, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the only row of a statement, or None."""
    with db.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, parameters).fetchone()
