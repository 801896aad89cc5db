"""The do-not-send list as an operator or a CRM writes it. Decisive at the claim, by its join on the phone.

Every change is one statement, in one transaction with its entry in audit_log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from titanflow.storage.database import Connection, Database
from titanflow.storage.rows import fetch_all
from titanflow.telemetry.masking import mask_phones


@dataclass(frozen=True, slots=True)
class Suppression:
    """One phone that nothing is sent to. expires_at None: for good."""

    phone: str
    reason: str
    source: str
    note: str | None
    expires_at: datetime | None


_PAGE = """
    WITH chosen AS (
        SELECT * FROM suppressions
        WHERE (%(reason)s::text IS NULL OR reason = %(reason)s)
          AND (%(source)s::text IS NULL OR source = %(source)s)
          AND (%(search)s::text IS NULL OR phone LIKE %(search)s OR note ILIKE %(search)s)
          AND (%(active)s::boolean IS NULL OR (expires_at IS NULL OR expires_at > now()) = %(active)s)
    )
    SELECT phone, reason, source, note, created_at, expires_at, (SELECT count(*) FROM chosen) AS total
    FROM chosen WHERE phone > %(after)s ORDER BY phone LIMIT %(limit)s
"""


def page(
    db: Database,
    *,
    after: str,
    limit: int,
    reason: str | None = None,
    source: str | None = None,
    search: str | None = None,
    active: bool | None = None,
) -> list[dict[str, Any]]:
    """Return suppressions by phone, those behind `after`, each with the count of all that fit as `total`.

    search: part of the phone or the note. active: False for those that are over.
    """
    pattern = "%" + search.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_") + "%" if search else None
    return fetch_all(
        db,
        _PAGE,
        {
            "after": after,
            "limit": limit,
            "reason": reason,
            "source": source,
            "search": pattern,
            "active": active,
        },
    )


def of_phones(db: Database, phones: Sequence[str]) -> list[dict[str, Any]]:
    """Return the suppressions of these phones, also those that are over."""
    return fetch_all(
        db,
        "SELECT phone, reason, source, note, created_at, expires_at, expires_at <= now() IS TRUE AS is_over"
        " FROM suppressions WHERE phone = ANY(%(phones)s) ORDER BY is_over, phone",
        {"phones": list(phones)},
    )


# created_at is since when: a change of the note doesn't make it younger.
_PUT = """
    INSERT INTO suppressions AS known (phone, reason, source, note, expires_at)
    SELECT phone, %(reason)s, %(source)s, %(note)s, %(expires_at)s FROM unnest(%(phones)s::text[]) AS one (phone)
    ORDER BY phone
    ON CONFLICT (phone) DO UPDATE
    SET reason = EXCLUDED.reason, source = EXCLUDED.source, note = EXCLUDED.note, expires_at = EXCLUDED.expires_at,
        repeats = 0, created_at = CASE WHEN known.expires_at <= now() THEN now() ELSE known.created_at END
    RETURNING xmax = 0 AS is_new
"""

# Of a list, nothing ever becomes weaker: what has no end stays as it is, an end only moves away.
_ADD = """
    WITH given AS (
        SELECT DISTINCT ON (phone) * FROM unnest(%(phones)s::text[], %(reasons)s::text[], %(sources)s::text[],
            %(notes)s::text[], %(ends)s::timestamptz[]) WITH ORDINALITY AS one (phone, reason, source, note, ends, n)
        ORDER BY phone, ends DESC NULLS FIRST, n
    ), written AS (
        INSERT INTO suppressions AS known (phone, reason, source, note, expires_at)
        SELECT phone, reason, source, note, ends FROM given ORDER BY phone
        ON CONFLICT (phone) DO UPDATE
        SET reason = EXCLUDED.reason, source = EXCLUDED.source, note = EXCLUDED.note, repeats = 0,
            expires_at = EXCLUDED.expires_at,
            created_at = CASE WHEN known.expires_at <= now() THEN now() ELSE known.created_at END
        WHERE known.expires_at < coalesce(EXCLUDED.expires_at, 'infinity')
        RETURNING xmax = 0 AS is_new
    )
    SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new), (SELECT count(*) FROM given)
    FROM written
"""

_WAITING = """
    SELECT count(*) FROM contacts AS contact
    JOIN campaigns AS campaign ON campaign.id = contact.campaign_id
    LEFT JOIN message_logs AS message
        ON message.campaign_id = contact.campaign_id AND message.contact_id = contact.id
    WHERE contact.phone = ANY(%(phones)s) AND contact.excluded_reason IS NULL
      AND campaign.state IN ('draft', 'importing', 'ready', 'scheduled', 'running', 'paused')
      AND (message.id IS NULL OR message.state = 'retrying')
"""


def put(db: Database, phones: Sequence[str], wanted: Suppression, *, who: str) -> tuple[bool, int]:
    """Write one person's suppression as given, whatever it was; `phones`: all forms of the person's phone.

    Returns if it is new, and how many contacts wait that it keeps from being sent to.
    """
    parameters = {
        "phones": list(phones),
        "reason": wanted.reason,
        "source": wanted.source,
        "note": wanted.note,
        "expires_at": wanted.expires_at,
    }
    with db.transaction() as transaction:
        before = _before(transaction, phones)
        is_new = all(row[0] for row in transaction.execute(_PUT, parameters).fetchall())
        detail = {"reason": wanted.reason, "source": wanted.source, "expires_at": wanted.expires_at, "before": before}
        _note(transaction, who, "suppression.put", wanted.phone, detail)
        return is_new, _waiting(transaction, phones)


def add(db: Database, wanted: Sequence[Suppression], *, who: str) -> tuple[int, int, int, int]:
    """Add a list. Returns how many are new, changed, and were there with no earlier end; and the contacts that wait."""
    phones = [one.phone for one in wanted]
    parameters = {
        "phones": phones,
        "reasons": [one.reason for one in wanted],
        "sources": [one.source for one in wanted],
        "notes": [one.note for one in wanted],
        "ends": [one.expires_at for one in wanted],
    }
    with db.transaction() as transaction:
        row = transaction.execute(_ADD, parameters).fetchone()
        new, changed, given = row if row is not None else (0, 0, 0)
        detail = {"given": given, "new": new, "changed": changed}
        _note(transaction, who, "suppressions.added", f"{given} phones", detail)
        return new, changed, given - new - changed, _waiting(transaction, phones)


def delete(db: Database, phones: Sequence[str], *, who: str) -> list[dict[str, Any]]:
    """Take a person off the list. Returns what there was, nothing if the person wasn't on it."""
    with db.transaction() as transaction:
        before = _before(transaction, phones)
        if before:
            transaction.execute("DELETE FROM suppressions WHERE phone = ANY(%s)", [list(phones)])
            _note(transaction, who, "suppression.deleted", phones[0], {"before": before})
        return before


def _before(transaction: Connection, phones: Sequence[str]) -> list[dict[str, Any]]:
    rows = transaction.execute(
        "SELECT jsonb_build_object('reason', reason, 'source', source, 'note', note,"
        " 'created_at', created_at, 'expires_at', expires_at)"
        " FROM suppressions WHERE phone = ANY(%s) ORDER BY phone FOR UPDATE",
        [list(phones)],
    ).fetchall()
    return [row[0] for row in rows]


def _waiting(transaction: Connection, phones: Sequence[str]) -> int:
    row = transaction.execute(_WAITING, {"phones": list(phones)}).fetchone()
    return int(row[0]) if row else 0


def _note(transaction: Connection, who: str, what: str, target: str, detail: dict[str, Any]) -> None:
    told = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in detail.items()}
    transaction.execute(
        "INSERT INTO audit_log (who, what, target, detail, outcome) VALUES (%s, %s, %s, %s, 'done')",
        [who, what, mask_phones(target), Jsonb(told)],
    )
