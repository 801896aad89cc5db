"""API tokens, kept as SHA-256 of 256 random bits."""

from typing import Any

from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all, fetch_one


def insert(db: Database, *, name: str, digest: bytes, scopes: list[str]) -> int:
    """Keep a token. Returns its id."""
    row = fetch_one(
        db,
        "INSERT INTO api_tokens (name, hash, scopes) VALUES (%(name)s, %(hash)s, %(scopes)s) RETURNING id",
        {"name": name, "hash": digest, "scopes": scopes},
    )
    assert row is not None
    return int(row["id"])


def scopes_of(db: Database, digest: bytes) -> list[str] | None:
    """Return the scopes of a token that is not revoked, and note its use at most once a minute."""
    row = fetch_one(
        db,
        "WITH used AS (UPDATE api_tokens SET last_used_at = now() WHERE hash = %(hash)s AND revoked_at IS NULL"
        " AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute'))"
        " SELECT scopes FROM api_tokens WHERE hash = %(hash)s AND revoked_at IS NULL",
        {"hash": digest},
    )
    return list(row["scopes"]) if row else None


def list_all(db: Database) -> list[dict[str, Any]]:
    """Return all tokens, without anything that could be used."""
    return fetch_all(
        db, "SELECT id, name, scopes, created_at, last_used_at, revoked_at FROM api_tokens ORDER BY id LIMIT 1000", {}
    )


def revoke(db: Database, token_id: int) -> bool:
    """End a token. Returns False if there is none."""
    row = fetch_one(
        db,
        "UPDATE api_tokens SET revoked_at = coalesce(revoked_at, now()) WHERE id = %(id)s RETURNING id",
        {"id": token_id},
    )
    return row is not None
