"""Phone numbers as the API shows them; never their access tokens."""

from typing import Any

from psycopg.rows import dict_row

from titanflow.domain.account_events import FIX
from titanflow.domain.number_facts import NumberFacts
from titanflow.storage import alarms, pauses
from titanflow.storage.alarms import Alarm
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
        "SELECT phone_number_id, waba_id, display_phone_number, name, max_mps, quality, tier, status, throughput,"
        " portfolio_id, shown_state AS state, shown_reason AS state_reason, paused_until, created_at, updated_at"
        " FROM phone_numbers WHERE phone_number_id = %(id)s",
        {"id": phone_number_id},
    )


def page(db: Database, *, after: int, limit: int) -> list[dict[str, Any]]:
    """Return numbers by their inner id, with it as `row_id` and the count of all as `total`."""
    return fetch_all(
        db,
        "SELECT id AS row_id, (SELECT count(*) FROM phone_numbers) AS total, phone_number_id, waba_id,"
        " display_phone_number, name, max_mps, quality, tier, status, throughput, portfolio_id, shown_state AS state,"
        " shown_reason AS state_reason, paused_until, created_at, updated_at"
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
    """Pause (until resumed) or resume a number.

    A resume is the operator's word against the pauses that Meta's answers put on it, and against Meta's block, too.
    """
    with db.transaction() as transaction, transaction.cursor(row_factory=dict_row) as cursor:
        if state == "active":
            pauses.lift(transaction, phone_number_id)
        return cursor.execute(
            "UPDATE phone_numbers SET state = %(state)s, state_reason = %(reason)s, paused_until = NULL,"
            " updated_at = now(), meta_block = CASE WHEN %(state)s <> 'active' THEN meta_block END,"
            " meta_block_kind = CASE WHEN %(state)s <> 'active' THEN meta_block_kind END,"
            " meta_block_until = CASE WHEN %(state)s <> 'active' THEN meta_block_until END"
            " WHERE phone_number_id = %(id)s RETURNING phone_number_id AS id, shown_state AS state",
            {"id": phone_number_id, "state": state, "reason": reason},
        ).fetchone()


def delete(db: Database, phone_number_id: str) -> bool:
    """Delete a number that no campaign uses and nobody has talked with. Returns False if not, or there is none."""
    row = fetch_one(
        db,
        "DELETE FROM phone_numbers AS number WHERE phone_number_id = %(id)s AND NOT EXISTS"
        " (SELECT FROM campaign_numbers AS link WHERE link.number_id = number.id) AND NOT EXISTS"
        " (SELECT FROM conversations AS conversation WHERE conversation.number_id = number.id) RETURNING id",
        {"id": phone_number_id},
    )
    return row is not None


_SYNC = """
    UPDATE phone_numbers AS known
    SET display_phone_number = coalesce(%(display)s, display_phone_number), quality = coalesce(%(quality)s, quality),
        tier = coalesce(%(tier)s, tier), status = coalesce(%(status)s, status),
        throughput = coalesce(%(throughput)s, throughput),
        meta_block = CASE WHEN stays THEN meta_block ELSE %(block)s END,
        meta_block_kind = CASE WHEN stays THEN meta_block_kind WHEN %(block)s::text IS NOT NULL THEN 'status' END,
        meta_block_until = CASE WHEN stays THEN meta_block_until END,
        updated_at = now()
    FROM (SELECT id AS row_id, meta_block IS NULL AS was_free, quality <> 'RED' AS was_better,
                 coalesce(CASE meta_block_kind
                     WHEN 'account' THEN meta_block_until IS NULL OR meta_block_until > now()
                     WHEN 'status' THEN meta_block_until > now() AND NOT %(returned)s END, false) AS stays
          FROM phone_numbers WHERE phone_number_id = %(id)s FOR UPDATE) AS block
    WHERE known.id = block.row_id
    RETURNING shown_state, was_free AND meta_block IS NOT NULL AS newly_blocked,
              was_better AND quality = 'RED' AS newly_red
"""
_RED_FIX = "Send to people who expect it, and less; Meta restricts numbers of low quality."


def sync(
    db: Database, phone_number_id: str, facts: NumberFacts, *, block: str | None, returned: bool = False
) -> str | None:
    """Keep what Meta says of a number. block: why its status doesn't let it send. Returns its state, None if unknown.

    An account's block stays until Meta has taken it back or its time is over; then the status decides. returned: the
    status let it not send before, and does now: that ends what its refusals have told.
    """
    parameters = {
        "returned": returned,
        "id": phone_number_id,
        "display": facts.display_phone_number,
        "quality": facts.quality,
        "tier": facts.tier,
        "status": facts.status,
        "throughput": facts.throughput,
        "block": block,
    }
    with db.transaction() as transaction, transaction.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SYNC, parameters).fetchone()
        if row and row["newly_blocked"] and block:
            sentence = block.removesuffix(f". {FIX}")
            alarms.raise_alarm(transaction, Alarm("number_blocked", "number", phone_number_id, sentence, FIX))
        if row and row["newly_red"]:
            sentence = "Meta rates the number's quality RED: many people block or report it"
            alarms.raise_alarm(transaction, Alarm("number_quality", "number", phone_number_id, sentence, _RED_FIX))
    return str(row["shown_state"]) if row else None


def ciphertexts(db: Database) -> list[tuple[str, bytes]]:
    """Return Meta's id and the encrypted access token of every number."""
    with db.connection() as connection:
        rows = connection.execute("SELECT phone_number_id, access_token FROM phone_numbers ORDER BY id").fetchall()
    return [(str(row[0]), bytes(row[1])) for row in rows]


def replace_ciphertext(db: Database, phone_number_id: str, *, old: bytes, new: bytes) -> None:
    """Put another ciphertext in the place of one, unless somebody has changed the token meanwhile."""
    with db.connection() as connection:
        connection.execute(
            "UPDATE phone_numbers SET access_token = %s WHERE phone_number_id = %s AND access_token = %s",
            [new, phone_number_id, old],
        )


def access(db: Database, phone_number_id: str) -> dict[str, Any] | None:
    """Return a number's account and encrypted token, and if its portfolio is known."""
    return fetch_one(
        db,
        "SELECT waba_id, access_token, portfolio_id, shown_state AS state, status FROM phone_numbers"
        " WHERE phone_number_id = %(id)s",
        {"id": phone_number_id},
    )


def all_ids(db: Database) -> set[str]:
    """Return Meta's ids of all numbers that are registered here."""
    return {str(row["phone_number_id"]) for row in fetch_all(db, "SELECT phone_number_id FROM phone_numbers", {})}
