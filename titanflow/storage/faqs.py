"""Rules that answer frequent questions by themselves, in an operator's order."""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

from psycopg.rows import dict_row

from titanflow.domain.faqs import MAX_RULES, Faq
from titanflow.storage.database import Connection, Database
from titanflow.storage.inbox_settings import move
from titanflow.storage.rows import fetch_all, fetch_one

_COLUMNS: LiteralString = 'id, position, name, keywords, answer, is_on AS "on", created_at, updated_at'


_GET: LiteralString = f"SELECT {_COLUMNS} FROM faqs WHERE id = %(id)s"  # noqa: S608  (constants only)


def active(transaction: Connection) -> list[Faq]:
    """Return the rules that are on, in order."""
    rows = transaction.execute("SELECT id, keywords, answer FROM faqs WHERE is_on ORDER BY position, id").fetchall()
    return [Faq(row[0], tuple(row[1]), row[2]) for row in rows]


def list_all(db: Database) -> list[dict[str, Any]]:
    """Return all rules, at most MAX_RULES, in order."""
    return fetch_all(db, f"SELECT {_COLUMNS} FROM faqs ORDER BY position, id", {})  # noqa: S608  (constants only)


def get(db: Database, faq_id: int) -> dict[str, Any] | None:
    """Return one rule."""
    return fetch_one(db, _GET, {"id": faq_id})


# The lock on inbox_settings makes the count exact: two writers never both add the last one.
_ADD: LiteralString = f"""
    INSERT INTO faqs (position, name, keywords, answer, is_on)
    SELECT coalesce(max(position), 0) + 1, %(name)s, %(keywords)s, %(answer)s, %(on)s FROM faqs
    HAVING count(*) < %(most)s
    RETURNING {_COLUMNS}
"""  # noqa: S608  (constants only)

_CHANGE: LiteralString = f"""
    UPDATE faqs SET name = coalesce(%(name)s, name), keywords = coalesce(%(keywords)s, keywords),
        answer = coalesce(%(answer)s, answer), is_on = coalesce(%(on)s, is_on), updated_at = now()
    WHERE id = %(id)s
    RETURNING {_COLUMNS}
"""  # noqa: S608  (constants only)


def add(db: Database, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Add a rule behind all others. None: there are MAX_RULES already."""
    return _write(db, _ADD, {**values, "most": MAX_RULES})


def change(db: Database, faq_id: int, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Change what is given of a rule. None: there is no such rule."""
    names = ("name", "keywords", "answer", "on")
    return _write(db, _CHANGE, {**{name: values.get(name) for name in names}, "id": faq_id})


def delete(db: Database, faq_id: int) -> bool:
    """Delete a rule; what it has answered stays. Returns if there was one."""
    return _write(db, "DELETE FROM faqs WHERE id = %(id)s RETURNING id", {"id": faq_id}) is not None


def reorder(db: Database, ids: Sequence[int]) -> bool:
    """Put the rules into this order. False, and nothing is changed, unless it names each of them once."""
    with db.transaction() as transaction:
        move(transaction)
        known = {row[0] for row in transaction.execute("SELECT id FROM faqs")}
        if set(ids) != known or len(ids) != len(known):
            return False
        transaction.execute(
            "UPDATE faqs SET position = wanted.position"
            " FROM unnest(%s::integer[]) WITH ORDINALITY AS wanted (id, position) WHERE faqs.id = wanted.id",
            [list(ids)],
        )
    return True


def switch(db: Database, phones: Sequence[str], *, on: bool) -> bool:
    """Let the conversations of a person be answered by themselves, or not. Returns if there is any."""
    with db.connection() as connection:
        changed = connection.execute(
            "UPDATE conversations SET auto_replies_on = %s WHERE id IN"
            " (SELECT id FROM conversations WHERE phone = ANY(%s) ORDER BY id FOR UPDATE)",
            [on, list(phones)],
        )
    return changed.rowcount > 0


def _write(db: Database, statement: LiteralString, values: Mapping[str, Any]) -> dict[str, Any] | None:
    with db.transaction() as transaction, transaction.cursor(row_factory=dict_row) as cursor:
        move(transaction)
        return cursor.execute(statement, values).fetchone()
