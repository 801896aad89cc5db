"""Who is who: business-scoped user ids, and people who changed their number. Learnt from what comes in; free otherwise.

A person who hides the phone is met by user id alone. Whoever said no once is to be left alone under either.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from titanflow.domain.phones import same_person
from titanflow.domain.webhooks import InboundMessage, Preference
from titanflow.storage.database import Connection

# An opt-out that was given while only the user id was known is the phone's, too.
_LEARN = """
    WITH told AS (
        SELECT DISTINCT ON (user_id) * FROM unnest(%(user_ids)s::text[], %(phones)s::text[], %(ats)s::timestamptz[])
            AS told (user_id, phone, at)
        ORDER BY user_id, at DESC
    ), learnt AS (
        INSERT INTO user_ids AS known (user_id, phone, told_at)
        SELECT user_id, phone, at FROM told ORDER BY user_id
        ON CONFLICT (user_id) DO UPDATE SET phone = EXCLUDED.phone, told_at = EXCLUDED.told_at
        WHERE known.phone <> EXCLUDED.phone AND known.told_at <= EXCLUDED.told_at
        RETURNING user_id, phone
    )
    INSERT INTO suppressions (phone, reason, source, note, created_at, expires_at)
    SELECT learnt.phone, said.reason, said.source, said.note, said.created_at, said.expires_at
    FROM learnt JOIN suppressions AS said ON said.phone = learnt.user_id ORDER BY learnt.phone
    ON CONFLICT (phone) DO NOTHING
"""

# Whoever opted out stays opted out under a new number or a new user id.
_MOVED = """
    INSERT INTO suppressions (phone, reason, source, note, created_at)
    SELECT DISTINCT ON (moved.to_phone) moved.to_phone, said.reason, said.source, said.note, said.created_at
    FROM unnest(%(from_phones)s::text[], %(to_phones)s::text[]) AS moved (from_phone, to_phone)
    JOIN suppressions AS said ON said.phone = moved.from_phone
    WHERE said.reason = 'opted_out' AND said.expires_at IS NULL
    ORDER BY moved.to_phone
    ON CONFLICT (phone) DO NOTHING
"""


def of_messages(transaction: Connection, messages: Sequence[InboundMessage]) -> list[InboundMessage]:
    """Return the messages with the sender's phone wherever it is known, and keep what they tell about who is who.

    Two statements at most, none if nobody has a user id or a new number.
    """
    _learn(transaction, [(one.user_id, one.sender, one.at) for one in messages])
    moved = [pair for one in messages if one.type == "system" for pair in _moves(one)]
    if moved:
        parameters = {"from_phones": [old for old, _ in moved], "to_phones": [new for _, new in moved]}
        transaction.execute(_MOVED, parameters)
    phones = _phones(transaction, [one.sender for one in messages])
    return [replace(one, sender=phones[one.sender]) if one.sender in phones else one for one in messages]


def of_preferences(transaction: Connection, preferences: Sequence[Preference]) -> list[Preference]:
    """Return the preferences with the phone wherever it is known; an unknown user id stands for itself."""
    _learn(transaction, [(one.user_id, one.phone, one.at) for one in preferences])
    phones = _phones(transaction, [one.phone for one in preferences])
    return [replace(one, phone=phones[one.phone]) if one.phone in phones else one for one in preferences]


def _learn(transaction: Connection, told: Sequence[tuple[str | None, str, datetime]]) -> None:
    pairs = [(user_id, phone, at) for user_id, phone, at in told if user_id and phone.startswith("+")]
    if pairs:
        transaction.execute(
            _LEARN,
            {
                "user_ids": [user_id for user_id, _, _ in pairs],
                "phones": [phone for _, phone, _ in pairs],
                "ats": [at for _, _, at in pairs],
            },
        )


def _phones(transaction: Connection, people: Sequence[str]) -> dict[str, str]:
    """The phones of those who are named by user id."""
    hidden = sorted({one for one in people if not one.startswith("+")})
    if not hidden:
        return {}
    rows = transaction.execute("SELECT user_id, phone FROM user_ids WHERE user_id = ANY(%s)", [hidden]).fetchall()
    return {str(user_id): str(phone) for user_id, phone in rows}


def _moves(message: InboundMessage) -> list[tuple[str, str]]:
    """From every form of the old phone or user id to every form of the new one."""
    system: Any = message.content.get("system")
    if not isinstance(system, dict):
        return []
    kind, wa_id, user_id = system.get("type"), system.get("wa_id"), system.get("user_id")
    if kind == "user_changed_number" and isinstance(wa_id, str) and wa_id.lstrip("+").isdigit():
        new = same_person("+" + wa_id.lstrip("+"))
        return [(old, one) for old in same_person(message.sender) for one in new]
    if kind == "user_changed_user_id" and isinstance(user_id, str) and user_id:
        return [(old, user_id) for old in (*same_person(message.sender), *filter(None, [message.user_id]))]
    return []
