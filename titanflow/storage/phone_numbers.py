"""Phone numbers as the API shows them; never their access tokens."""

from typing import Any

from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all, fetch_one


def insert(db: Database, values: dict[str, Any]) -> dict[str, Any] | None:
    """Add a number. Returns None if Meta's id is known already."""
    row = fetch_one(
        db,
        "INSERT INTO phone_numbers (phone_number_id, waba_id, display_phone_number, name, access_token, max_mps)"
        " VALUES (%(phone_number_id)s, %(waba_id)s, %(display_phone_number)s, %(name)s, %(access_token)s, %(max_mps)s)"
        " ON CONFLICT (phone_number_id) DO NOTHING RETURNING phone_number_id",
        values,
    )
    return get(db, values["phone_number_id"]) if row else None


def get(db: Database, phone_number_id: str) -> dict[str, Any] | None:
    """Return one number by Meta's id."""
    return fetch_one(
        db,
        "SELECT phone_number_id, waba_id, display_phone_number, name, max_mps, quality, tier, state, state_reason,"
        " paused_until, created_at, updated_at FROM phone_numbers WHERE phone_number_id = %(id)s",
        {"id": phone_number_id},
    )


def page(db: Database, *, after: int, limit: int) -> list[dict[str, Any]]:
    """Return numbers by their inner id, with it as `row_id` and the count of all as `total`."""
    return fetch_all(
        db,
        "SELECT id AS row_id, (SELECT count(*) FROM phone_numbers) AS total, phone_number_id, waba_id,"
        " display_phone_number, name, max_mps, quality, tier, state, state_reason, paused_until, created_at, updated_at"
        " FROM phone_numbers WHERE id > %(after)s ORDER BY id LIMIT %(limit)s",
        {"after": after, "limit": limit},
    )


def update(db: Database, phone_number_id: str, values: dict[str, Any]) -> dict[str, Any] | None:
    """Change what is given (not None) of name, display_phone_number, max_mps, access_token, quality, tier."""
    defaults = dict.fromkeys(("name", "display_phone_number", "max_mps", "access_token", "quality", "tier"))
    row = fetch_one(
        db,
        "UPDATE phone_numbers SET name = coalesce(%(name)s, name), max_mps = coalesce(%(max_mps)s, max_mps),"
        " display_phone_number = coalesce(%(display_phone_number)s, display_phone_number),"
        " access_token = coalesce(%(access_token)s, access_token), quality = coalesce(%(quality)s, quality),"
        " tier = coalesce(%(tier)s, tier), updated_at = now()"
        " WHERE phone_number_id = %(id)s RETURNING phone_number_id",
        {**defaults, **values, "id": phone_number_id},
    )
    return get(db, phone_number_id) if row else None


def set_state(db: Database, phone_number_id: str, *, state: str, reason: str | None) -> dict[str, Any] | None:
    """Pause (until resumed) or resume a number."""
    return fetch_one(
        db,
        "UPDATE phone_numbers SET state = %(state)s, state_reason = %(reason)s, paused_until = NULL, updated_at = now()"
        " WHERE phone_number_id = %(id)s RETURNING phone_number_id AS id, state",
        {"id": phone_number_id, "state": state, "reason": reason},
    )


def delete(db: Database, phone_number_id: str) -> bool:
    """Delete a number that no campaign uses. Returns False if one does, or there is no such number."""
    row = fetch_one(
        db,
        "DELETE FROM phone_numbers AS number WHERE phone_number_id = %(id)s AND NOT EXISTS"
        " (SELECT FROM campaign_numbers AS link WHERE link.number_id = number.id) RETURNING id",
        {"id": phone_number_id},
    )
    return row is not None


def access(db: Database) -> list[dict[str, Any]]:
    """Return one number of each account, with its encrypted token: enough to ask Meta about the account."""
    return fetch_all(
        db,
        "SELECT DISTINCT ON (waba_id) waba_id, phone_number_id, access_token FROM phone_numbers"
        " WHERE state <> 'blocked' ORDER BY waba_id, id",
        {},
    )


def token_of(db: Database, phone_number_id: str) -> bytes | None:
    """Return a number's encrypted access token."""
    row = fetch_one(
        db, "SELECT access_token FROM phone_numbers WHERE phone_number_id = %(id)s", {"id": phone_number_id}
    )
    return bytes(row["access_token"]) if row else None
