"""Erasing a person: every row that holds the phone, in one transaction; what was counted stays counted.

The contact stays as a tombstone with its state, so that the books balance. Who was erased is kept as a keyed hash that
imports and the inbox ask for: a claim then finds a tombstone, or an excluded contact, and takes neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from psycopg.types.json import Jsonb

from titanflow.domain.erased import traces
from titanflow.storage.claims import Claim, exclude_suppressed
from titanflow.storage.database import Connection, Database
from titanflow.storage.rows import fetch_all, fetch_one

# Shared by imports while they merge: they ask who was erased, and write phones.
_LOCK = 771304
_SHARED = "SELECT pg_advisory_xact_lock_shared(%s)"
_ALONE = "SELECT pg_try_advisory_xact_lock(%s)"


@dataclass(frozen=True, slots=True)
class Person:
    """All names of one person: phones in every form, Meta's user ids. hashes: one a name."""

    names: list[str]
    hashes: list[bytes]


def names_of(db: Database, phones: Sequence[str]) -> list[str]:
    """Return these names and all others that are known of the same person."""
    rows = fetch_all(
        db,
        "SELECT user_id, phone FROM user_ids WHERE phone = ANY(%(names)s) OR user_id = ANY(%(names)s)",
        {"names": list(phones)},
    )
    return sorted({*phones, *(row["user_id"] for row in rows), *(row["phone"] for row in rows)})


def sealed_key(db: Database) -> bytes | None:
    """Return the key of the hashes, encrypted; None if nobody was ever erased."""
    row = fetch_one(db, "SELECT sealed FROM erasure_key", {})
    return bytes(row["sealed"]) if row else None


def keep_key(db: Database, sealed: bytes) -> bytes:
    """Keep a new key unless there is one. Returns the one that counts."""
    with db.connection() as connection:
        connection.execute("INSERT INTO erasure_key (sealed) VALUES (%s) ON CONFLICT DO NOTHING", [sealed])
    kept = sealed_key(db)
    assert kept is not None
    return kept


def replace_key(db: Database, *, old: bytes, new: bytes) -> None:
    """Put the same key, encrypted anew, in the place of the old text."""
    with db.connection() as connection:
        connection.execute("UPDATE erasure_key SET sealed = %s WHERE sealed = %s", [new, old])


def erased_at(db: Database, hashes: Sequence[bytes]) -> datetime | None:
    """Return since when a person with one of these hashes is erased; None: never was."""
    row = fetch_one(
        db, "SELECT min(erased_at) AS at FROM erased_people WHERE hash = ANY(%(hashes)s)", {"hashes": list(hashes)}
    )
    return row["at"] if row else None


def forget(db: Database, hashes: Sequence[bytes]) -> int:
    """Let an erased person be sent to again. Returns how many hashes there were."""
    with db.connection() as connection:
        return connection.execute("DELETE FROM erased_people WHERE hash = ANY(%s)", [list(hashes)]).rowcount


def hold(transaction: Connection) -> None:
    """Let nobody be erased until the transaction ends. Ask who was erased after it."""
    transaction.execute(_SHARED, [_LOCK])


# From here on no claim takes the person; the row goes with the last step.
_BLOCK = """
    INSERT INTO suppressions (phone, reason, source)
    SELECT name, 'opted_out', 'erasure' FROM unnest(%(names)s::text[]) AS one (name) ORDER BY name
    ON CONFLICT (phone) DO UPDATE SET reason = 'opted_out', source = 'erasure', expires_at = NULL
"""
_WAITING = """
    SELECT contact.campaign_id, array_agg(contact.id) AS contact_ids
    FROM contacts AS contact
    JOIN campaigns AS campaign ON campaign.id = contact.campaign_id
        AND campaign.state IN ('draft', 'importing', 'ready', 'scheduled', 'running', 'paused')
    LEFT JOIN message_logs AS message
        ON message.campaign_id = contact.campaign_id AND message.contact_id = contact.id
    WHERE contact.phone = ANY(%(names)s) AND contact.excluded_reason IS NULL
      AND (message.id IS NULL OR message.state = 'retrying')
    GROUP BY contact.campaign_id ORDER BY contact.campaign_id
"""


def block(db: Database, names: Sequence[str]) -> None:
    """Keep a person from being sent to, and exclude those contacts that wait, with their counters."""
    with db.connection() as connection:
        connection.execute(_BLOCK, {"names": list(names)})
    for row in fetch_all(db, _WAITING, {"names": list(names)}):
        waiting = [Claim(contact_id, None, 1, "opted_out") for contact_id in row["contact_ids"]]
        exclude_suppressed(db, waiting, {"campaign_id": row["campaign_id"], "shard": 0})


# Budgets are written under the portfolio's lock alone, which comes before all others.
_PORTFOLIOS = """
    SELECT id FROM portfolios
    WHERE EXISTS (SELECT FROM portfolio_people AS person
                  WHERE person.portfolio_id = portfolios.id AND person.phone = ANY(%(names)s))
    ORDER BY id FOR NO KEY UPDATE
"""
_MESSAGES = """
    SELECT message.id, message.state::text, message.wamid
    FROM contacts AS contact
    JOIN message_logs AS message ON message.campaign_id = contact.campaign_id AND message.contact_id = contact.id
    WHERE contact.phone = ANY(%(names)s) ORDER BY message.id FOR UPDATE OF message
"""
_REPLIES = """
    SELECT reply.id FROM conversations AS conversation
    JOIN inbox_messages AS reply ON reply.conversation_id = conversation.id
    WHERE conversation.phone = ANY(%(names)s) AND reply.state IN ('queued', 'claimed')
    ORDER BY reply.id FOR UPDATE OF reply
"""
_CLAIMED_REPLIES = "SELECT count(*) FROM inbox_messages WHERE id = ANY(%(replies)s) AND state = 'claimed'"

_DIGITS = r"regexp_replace({0}, '\D', '', 'g')"
_ERRORS = """
    UPDATE imports SET first_errors = (
        SELECT jsonb_agg(CASE WHEN {match} THEN jsonb_set(line, '{{value}}', '"(erased)"') ELSE line END ORDER BY n)
        FROM jsonb_array_elements(first_errors) WITH ORDINALITY AS one (line, n))
    WHERE EXISTS (SELECT FROM jsonb_array_elements(first_errors) AS line WHERE {match})
"""

# In order. names: as they are stored; patterns: as they stand within bodies and sentences; ends: the last nine digits.
_STATEMENTS: tuple[tuple[str, LiteralString], ...] = (
    (
        "places of daily limits",
        "UPDATE portfolio_people AS person SET phone = coalesce('erased:' || (SELECT max(id) FROM contacts AS contact"
        " WHERE contact.phone = person.phone), 'erased:' || gen_random_uuid())"
        " WHERE portfolio_id IN (SELECT id FROM portfolios) AND phone = ANY(%(names)s)",
    ),
    ("", "DELETE FROM portfolio_rechecks WHERE phone = ANY(%(names)s)"),
    ("", "DELETE FROM parked_statuses WHERE wamid = ANY(%(wamids)s)"),
    (
        "contacts",
        "UPDATE contacts SET phone = 'erased:' || id, variables = '{}' WHERE phone = ANY(%(names)s)",
    ),
    # A wamid holds the phone, in base64.
    (
        "messages",
        "UPDATE message_logs SET wamid = NULL, error_detail = NULL WHERE id = ANY(%(log_ids)s)",
    ),
    ("", "UPDATE message_attempts SET wamid = NULL, error_detail = NULL WHERE log_id = ANY(%(log_ids)s)"),
    ("", "DELETE FROM auto_replies WHERE sender = ANY(%(names)s)"),
    ("conversations", "DELETE FROM conversations WHERE phone = ANY(%(names)s)"),
    ("", "DELETE FROM user_ids WHERE phone = ANY(%(names)s) OR user_id = ANY(%(names)s)"),
    (
        "rejected lines",
        r"UPDATE import_rejects SET value = '(erased)'"
        r" WHERE right(regexp_replace(value, '\D', '', 'g'), 9) = ANY(%(ends)s)"
        r" OR regexp_replace(value, '\D', '', 'g') LIKE ANY(%(patterns)s)",
    ),
    ("", _ERRORS.format(match=_DIGITS.format("line->>'value'") + " LIKE ANY(%(patterns)s)")),
    ("unreadable webhooks", "DELETE FROM webhook_quarantine WHERE body::text LIKE ANY(%(patterns)s)"),
    ("", "DELETE FROM idempotency_keys WHERE location LIKE ANY(%(patterns)s)"),
    ("", "DELETE FROM suppressions WHERE phone = ANY(%(names)s)"),
)

# Where somebody else's row mentions the person: the name alone is taken out of it. In JSON a 0 fits text and number.
_MENTIONS: tuple[LiteralString, ...] = (
    "UPDATE audit_log SET target = replace(target, %(text)s, '0'), detail = replace(detail::text, %(text)s, '0')::jsonb"
    " WHERE target LIKE %(pattern)s OR detail::text LIKE %(pattern)s",
    "UPDATE inbox_messages SET content = replace(content::text, %(text)s, '0')::jsonb"
    " WHERE content::text LIKE %(pattern)s",
    "UPDATE suppressions SET note = replace(note, %(text)s, '0') WHERE note LIKE %(pattern)s",
    "UPDATE alarms SET sentence = replace(sentence, %(text)s, '0'), fix = replace(fix, %(text)s, '0')"
    " WHERE sentence LIKE %(pattern)s OR fix LIKE %(pattern)s",
    "UPDATE rehearsals SET result = replace(result::text, %(text)s, '0')::jsonb, error = replace(error, %(text)s, '0')"
    " WHERE result::text LIKE %(pattern)s OR error LIKE %(pattern)s",
    "UPDATE imports SET error = replace(error, %(text)s, '0') WHERE error LIKE %(pattern)s",
    "UPDATE parked_statuses SET error_detail = replace(error_detail, %(text)s, '0')"
    " WHERE error_detail LIKE %(pattern)s",
    "UPDATE conversations SET profile_name = replace(profile_name, %(text)s, '0') WHERE profile_name LIKE %(pattern)s",
)


def erase(db: Database, person: Person, *, who: str) -> dict[str, int] | None:
    """Take a blocked person out of every row and keep the hashes. Returns how much of what there was.

    None: not now, since a message to the person is on its way, or a list is just being merged that may name the person.
    """
    parameters: dict[str, Any] = {"names": person.names, **_texts(person.names)}
    with db.transaction() as transaction:
        transaction.execute("SET LOCAL statement_timeout = '120s'")
        if transaction.execute(_ALONE, [_LOCK]).fetchone() != (True,):
            return None
        transaction.execute(_PORTFOLIOS, parameters)
        messages = transaction.execute(_MESSAGES, parameters).fetchall()
        parameters["replies"] = [row[0] for row in transaction.execute(_REPLIES, parameters).fetchall()]
        on_their_way = transaction.execute(_CLAIMED_REPLIES, parameters).fetchone()
        waiting = transaction.execute(_WAITING, parameters).fetchone()
        if any(row[1] in ("claimed", "retrying") for row in messages) or on_their_way != (0,) or waiting is not None:
            return None
        parameters |= {"log_ids": [row[0] for row in messages], "wamids": [row[2] for row in messages if row[2]]}
        found = _carry_out(transaction, parameters)
        transaction.execute(
            "INSERT INTO erased_people (hash) SELECT unnest(%s::bytea[]) ON CONFLICT DO NOTHING", [person.hashes]
        )
        transaction.execute(
            "INSERT INTO audit_log (who, what, target, detail, outcome) VALUES (%s, 'person.erased', %s, %s, 'done')",
            [who, f"person {person.hashes[0].hex()[:16]}", Jsonb(found)],
        )
    return found


def _carry_out(transaction: Connection, parameters: Mapping[str, Any]) -> dict[str, int]:
    found = {}
    for name, statement in _STATEMENTS:
        count = transaction.execute(statement, parameters).rowcount
        if name:
            found[name.replace(" ", "_")] = count
    for text, pattern in zip(parameters["texts"], parameters["patterns"], strict=True):
        for statement in _MENTIONS:
            transaction.execute(statement, {"text": text, "pattern": pattern})
    return found


def _texts(names: Sequence[str]) -> dict[str, list[str]]:
    texts = [traces(name) for name in names]
    return {
        "texts": texts,
        "patterns": [f"%{text}%" for text in texts],
        "ends": [text[-9:] for text in texts if text.isdigit() and len(text) >= 9],
    }


def answers(db: Database) -> list[dict[str, Any]]:
    """Return the kept answers to POSTs with an Idempotency-Key, encrypted: owner, key, body."""
    return fetch_all(db, "SELECT owner, key, body FROM idempotency_keys WHERE body IS NOT NULL", {})


def forget_answer(db: Database, owner: str, key: str) -> None:
    """Forget one of them."""
    with db.connection() as connection:
        connection.execute("DELETE FROM idempotency_keys WHERE owner = %s AND key = %s", [owner, key])
