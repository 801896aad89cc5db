"""API tokens, kept as SHA-256 of 256 random bits."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all, fetch_one


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose token it is, and what it may do."""

    id: int
    name: str
    scopes: list[str]


def insert(db: Database, *, name: str, digest: bytes, scopes: list[str], expires_at: datetime | None) -> int:
    """Keep a token. Returns its id."""
    row = fetch_one(
        db,
        "INSERT INTO api_tokens (name, hash, scopes, expires_at)"
        " VALUES (%(name)s, %(hash)s, %(scopes)s, %(expires_at)s) RETURNING id",
        {"name": name, "hash": digest, "scopes": scopes, "expires_at": expires_at},
    )
    assert row is not None
    return int(row["id"])


_HOLDER = """
    WITH used AS (UPDATE api_tokens SET last_used_at = now() WHERE hash = %(hash)s AND revoked_at IS NULL
                  AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute'))
    SELECT id, name, scopes FROM api_tokens
    WHERE hash = %(hash)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""


def holder(db: Database, digest: bytes) -> Holder | None:
    """Return whose token it is unless it is revoked or over, and note its use at most once a minute."""
    with db.connection() as connection, connection.cursor(row_factory=class_row(Holder)) as cursor:
        return cursor.execute(_HOLDER, {"hash": digest}).fetchone()


def list_all(db: Database) -> list[dict[str, Any]]:
    """Return all tokens, without anything that could be used."""
    return fetch_all(
        db,
        "SELECT id, name, scopes, created_at, last_used_at, expires_at, revoked_at FROM api_tokens"
        " ORDER BY id LIMIT 1000",
        {},
    )


def revoke(db: Database, token_id: int) -> bool:
    """End a token. Returns False if there is none."""
    row = fetch_one(
        db,
        "UPDATE api_tokens SET revoked_at = coalesce(revoked_at, now()) WHERE id = %(id)s RETURNING id",
        {"id": token_id},
    )
    return row is not None
