"""What is chosen for all conversations: one row, and the words of opting out by language.

Each change moves `version`: whoever keeps a copy compares it, in the transaction that needs it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row

from titanflow.domain.opt_out import BUILT_IN, Language
from titanflow.storage.database import Connection, Database


@dataclass(frozen=True, slots=True)
class InboxSettings:
    """The row. version: 1 until anything was chosen."""

    version: int
    reply_window_hours: int
    confirm_opt_out: bool
    faqs_on: bool
    faq_per_hour: int
    faq_per_day: int
    faq_max_age_minutes: int


_READ = """
    SELECT version, reply_window_hours, confirm_opt_out, faqs_on, faq_per_hour, faq_per_day, faq_max_age_minutes
    FROM inbox_settings
"""

# Random, so that no two databases nor two changes ever share one: a copy belongs to exactly one version.
_MOVE = "UPDATE inbox_settings SET version = 2 + floor(random() * 9e18)::bigint"

_CHANGE = """
    UPDATE inbox_settings SET
        reply_window_hours = coalesce(%(reply_window_hours)s, reply_window_hours),
        confirm_opt_out = coalesce(%(confirm_opt_out)s, confirm_opt_out),
        faqs_on = coalesce(%(faqs_on)s, faqs_on),
        faq_per_hour = coalesce(%(faq_per_hour)s, faq_per_hour),
        faq_per_day = coalesce(%(faq_per_day)s, faq_per_day),
        faq_max_age_minutes = coalesce(%(faq_max_age_minutes)s, faq_max_age_minutes)
"""

_LANGUAGES = """
    SELECT language, stop_words AS stop, start_words AS start, stop_reply, start_reply
    FROM opt_out_languages ORDER BY position
"""


def read(transaction: Connection) -> InboxSettings:
    """Return the settings as they are now."""
    with transaction.cursor(row_factory=class_row(InboxSettings)) as cursor:
        found = cursor.execute(_READ).fetchone()
    assert found is not None
    return found


def move(transaction: Connection) -> None:
    """Say that something has changed, before it is changed: writers wait for each other here."""
    transaction.execute(_MOVE)


def change(db: Database, values: Mapping[str, Any]) -> InboxSettings:
    """Change some of the settings, by their names. Returns all."""
    names = [name for name in InboxSettings.__dataclass_fields__ if name != "version"]
    with db.transaction() as transaction:
        move(transaction)
        transaction.execute(_CHANGE, {name: values.get(name) for name in names})
        return read(transaction)


def languages(transaction: Connection) -> tuple[Language, ...] | None:
    """Return an operator's own words of opting out, None while the built-in ones hold."""
    rows = transaction.execute(_LANGUAGES).fetchall()
    return tuple(Language(row[0], tuple(row[1]), tuple(row[2]), row[3], row[4]) for row in rows) or None


def write_languages(db: Database, own: Sequence[Language] | None, *, confirm: bool) -> None:
    """Put these words in the place of all others, and say if they are confirmed. None: the built-in ones hold again."""
    with db.transaction() as transaction:
        move(transaction)
        transaction.execute("UPDATE inbox_settings SET confirm_opt_out = %s", [confirm])
        transaction.execute("DELETE FROM opt_out_languages")
        for position, one in enumerate(own or ()):
            transaction.execute(
                "INSERT INTO opt_out_languages"
                " (language, position, stop_words, start_words, stop_reply, start_reply)"
                " VALUES (%s, %s, %s, %s, %s, %s)",
                [one.language, position, list(one.stop), list(one.start), one.stop_reply, one.start_reply],
            )


def opt_out(db: Database) -> tuple[bool, tuple[Language, ...], bool]:
    """Return if STOP and START are confirmed, the languages that hold, and if they are the built-in ones."""
    with db.transaction() as transaction:
        confirm, own = read(transaction).confirm_opt_out, languages(transaction)
    return confirm, own or BUILT_IN, own is None
