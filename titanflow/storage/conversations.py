"""Conversations and their messages as the API shows them: lists by keyset, search by full text, name or phone.

Statements are put together from constants, one for each filter that is given: so each has the plan of its own index.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all, fetch_one

_COLUMNS: LiteralString = """
    SELECT conversation.id, conversation.phone, conversation.profile_name AS name, number.phone_number_id,
           conversation.unread, conversation.assigned_to, conversation.labels, conversation.archived_at,
           conversation.last_message_at, conversation.last_inbound_at, conversation.created_at,
           last.id AS last_id, last.direction AS last_direction, last.type AS last_type, last.content AS last_content,
           last.state::text AS last_state
"""

_JOINED: LiteralString = """
    JOIN phone_numbers AS number ON number.id = conversation.number_id
    LEFT JOIN LATERAL (
        SELECT id, direction, type, content, state FROM inbox_messages
        WHERE conversation_id = conversation.id ORDER BY id DESC LIMIT 1) AS last ON true
"""

# Words in any order, the last one may be unfinished. Null, hence nothing found, if the text has no word in it.
_WORDS: LiteralString = "to_tsquery('simple', nullif(plainto_tsquery('simple', %(q)s)::text, '') || ':*')"

_FILTERS: dict[str, LiteralString] = {
    "unread": "conversation.unread > 0",
    "all_read": "conversation.unread = 0",
    "assigned_to": "conversation.assigned_to = %(assigned_to)s",
    "unassigned": "conversation.assigned_to IS NULL",
    "label": "conversation.labels @> ARRAY[%(label)s::text]",
    "phone_number_id": "conversation.number_id ="
    " (SELECT id FROM phone_numbers WHERE phone_number_id = %(phone_number_id)s)",
    "open": "conversation.archived_at IS NULL",
    "archived": "conversation.archived_at IS NOT NULL",
    # An array: what was found is looked up by id. The planner takes an unfinished word for a common one, and would
    # rather read all conversations. Plain comparisons in place of LIKE: a plan for any value can use the index, too.
    "q": f"""conversation.id = ANY(ARRAY(
        SELECT conversation_id FROM inbox_messages WHERE to_tsvector('simple', inbox_text(content)) @@ {_WORDS}
        UNION SELECT id FROM conversations WHERE to_tsvector('simple', coalesce(profile_name, '')) @@ {_WORDS}
        UNION SELECT id FROM conversations WHERE phone ~>=~ %(begins)s AND phone ~<~ (%(begins)s || ':')
        UNION SELECT id FROM conversations
              WHERE reverse(phone) ~>=~ %(ends)s AND reverse(phone) ~<~ (%(ends)s || ':')))""",  # noqa: S608  (constants only)
}

_NEWEST: LiteralString = "(conversation.last_message_at, conversation.id) < (%(before_at)s, %(before_id)s)"
_OLDEST: LiteralString = "conversation.id > %(before_id)s"

_BY_TIME: LiteralString = "conversation.last_message_at DESC, conversation.id DESC"
_BY_AGE: LiteralString = "conversation.id"

_LAST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Filters:
    """Which conversations; all that are given must fit. archived None: those and the others."""

    unread: bool | None = None
    assigned_to: str | None = None
    unassigned: bool = False
    label: str | None = None
    phone_number_id: str | None = None
    archived: bool | None = False
    q: str | None = None

    def names(self) -> list[str]:
        """Return which of _FILTERS apply."""
        named = [name for name in ("assigned_to", "label", "phone_number_id", "q") if getattr(self, name) is not None]
        if self.unread is not None:
            named.append("unread" if self.unread else "all_read")
        if self.unassigned:
            named.append("unassigned")
        if self.archived is not None:
            named.append("archived" if self.archived else "open")
        return named

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of those."""
        digits = phone_digits(self.q or "")
        return {
            "assigned_to": self.assigned_to,
            "label": self.label,
            "phone_number_id": self.phone_number_id,
            "q": self.q,
            "begins": f"+{digits}" if digits else None,
            "ends": digits.lstrip("0")[::-1] or None,
        }


def phone_digits(text: str) -> str:
    """Return the digits of what may be a part of a phone number, "" if it can't be one."""
    return re.sub(r"\D", "", text) if re.fullmatch(r"[\d\s()+./-]{3,30}", text) and re.search(r"\d{3}", text) else ""


@dataclass(frozen=True, slots=True)
class Position:
    """Behind which conversation a page begins."""

    at: datetime
    id: int


def page(
    db: Database, filters: Filters, *, after: Position | None, limit: int, oldest_first: bool = False
) -> list[dict[str, Any]]:
    """Return conversations, the latest message's first, or by age. A row that moves up meanwhile is not seen twice."""
    statement = page_statement(filters, after=after, oldest_first=oldest_first)
    return fetch_all(db, statement, page_parameters(filters, after=after, limit=limit))


def page_statement(filters: Filters, *, after: Position | None, oldest_first: bool = False) -> LiteralString:
    """Return the statement of a page: constants, put together."""
    conditions = [_FILTERS[name] for name in filters.names()]
    if after is not None:
        conditions.append(_OLDEST if oldest_first else _NEWEST)
    order = _BY_AGE if oldest_first else _BY_TIME
    chosen: LiteralString = (
        f"SELECT conversation.* FROM conversations AS conversation WHERE {_all(conditions)}"  # noqa: S608  (constants)
        f" ORDER BY {order} LIMIT %(limit)s"
    )
    return f"{_COLUMNS} FROM ({chosen}) AS conversation {_JOINED} ORDER BY {order}"


def page_parameters(filters: Filters, *, after: Position | None, limit: int) -> dict[str, Any]:
    """Return the parameters of page_statement."""
    place = {"before_at": after.at, "before_id": after.id} if after else {}
    return {**filters.parameters(), **place, "limit": limit}


def count(db: Database, filters: Filters) -> int:
    """Return how many conversations fit."""
    row = fetch_one(db, count_statement(filters), filters.parameters())
    return int(row["total"]) if row else 0


def count_statement(filters: Filters) -> LiteralString:
    """Return the statement that counts them."""
    conditions = [_FILTERS[name] for name in filters.names()]
    return f"SELECT count(*) AS total FROM conversations AS conversation WHERE {_all(conditions)}"  # noqa: S608


def _all(conditions: list[LiteralString]) -> LiteralString:
    return " AND ".join(conditions) or "true"


_OF_PERSON: LiteralString = f"""
    {_COLUMNS}, conversation.number_id, number.waba_id FROM conversations AS conversation {_JOINED}
    WHERE conversation.phone = ANY(%(phones)s)
    ORDER BY conversation.last_inbound_at DESC NULLS LAST, last.id DESC NULLS LAST  -- Meta's times are whole seconds
"""


def of_person(db: Database, phones: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return a person's conversations with each of our numbers, the one that the person wrote to last first."""
    return fetch_all(db, _OF_PERSON, {"phones": list(phones)})


_OPEN = """
    INSERT INTO conversations (number_id, phone, last_message_at)
    SELECT id, %(phone)s, now() FROM phone_numbers WHERE phone_number_id = %(phone_number_id)s
    ON CONFLICT (phone, number_id) DO NOTHING
"""


def open_conversation(db: Database, phone: str, phone_number_id: str) -> None:
    """Make sure that there is a conversation, for a first message of ours."""
    with db.connection() as connection:
        connection.execute(_OPEN, {"phone": phone, "phone_number_id": phone_number_id})


_CHANGE = """
    UPDATE conversations
    SET assigned_to = CASE WHEN %(assigns)s THEN %(assigned_to)s ELSE assigned_to END,
        labels = coalesce(%(labels)s::text[], labels),
        archived_at = CASE %(archived)s::boolean WHEN true THEN coalesce(archived_at, now()) WHEN false THEN NULL
                           ELSE archived_at END
    WHERE id = %(id)s
"""

# A statement of its own, behind the lock that _CHANGE took: it sees every message that has been counted.
_READ = """
    UPDATE conversations AS conversation
    SET read_up_to = greatest(read_up_to, %(read_up_to)s::bigint),
        unread = (SELECT count(*) FROM inbox_messages AS message
                  WHERE message.conversation_id = conversation.id AND message.direction = 'inbound'
                    AND message.id > greatest(conversation.read_up_to, %(read_up_to)s::bigint))
    WHERE id = %(id)s
"""


def change(db: Database, conversation_id: int, given: Mapping[str, Any]) -> None:
    """Change what is given of assigned_to, labels, archived, read_up_to (the id of the last message that was seen)."""
    parameters = {
        "id": conversation_id,
        "assigns": "assigned_to" in given,
        **{name: given.get(name) for name in ("assigned_to", "labels", "archived", "read_up_to")},
    }
    with db.transaction() as transaction:
        transaction.execute(_CHANGE, parameters)
        if given.get("read_up_to") is not None:
            transaction.execute(_READ, parameters)


_MESSAGE: LiteralString = """
    SELECT message.id, message.direction, message.type, message.content, message.wamid, message.at,
           message.state::text AS state, message.attempt, message.source, message.template_id, message.media_id,
           message.error_code, message.error_detail, message.sent_at, message.delivered_at, message.read_at,
           message.failed_at, message.campaign_id, message.intent,
           file.state AS file_state, file.size_bytes AS file_size_bytes, file.mime_type AS file_mime_type,
           file.error AS file_error,
           CASE WHEN message.state = 'queued' AND number.shown_state <> 'active'
                THEN concat_ws(': ', 'The number is ' || number.shown_state, number.shown_reason) END AS held_by
    FROM inbox_messages AS message
    LEFT JOIN inbound_media AS file ON file.message_id = message.id
    LEFT JOIN phone_numbers AS number ON number.id = message.number_id
"""
_MESSAGES_DOWN: LiteralString = (
    f"{_MESSAGE} WHERE message.conversation_id = %(conversation_id)s AND message.id < %(after)s"
    " ORDER BY message.id DESC LIMIT %(limit)s"
)
_MESSAGES_UP: LiteralString = (
    f"{_MESSAGE} WHERE message.conversation_id = %(conversation_id)s AND message.id > %(after)s"
    " ORDER BY message.id LIMIT %(limit)s"
)
_ONE_MESSAGE: LiteralString = f"{_MESSAGE} WHERE message.conversation_id = %(conversation_id)s AND message.id = %(id)s"


def messages(
    db: Database, conversation_id: int, *, after: int, limit: int, oldest_first: bool = False
) -> list[dict[str, Any]]:
    """Return messages by id, from the newest down or from the oldest up. after: 0 at the start."""
    if oldest_first:
        return fetch_all(db, _MESSAGES_UP, {"conversation_id": conversation_id, "after": after, "limit": limit})
    place = after or _LAST_ID
    return fetch_all(db, _MESSAGES_DOWN, {"conversation_id": conversation_id, "after": place, "limit": limit})


def count_messages(db: Database, conversation_id: int) -> int:
    """Return how many messages a conversation has."""
    row = fetch_one(
        db, "SELECT count(*) AS total FROM inbox_messages WHERE conversation_id = %(id)s", {"id": conversation_id}
    )
    return int(row["total"]) if row else 0


def message(db: Database, conversation_id: int, message_id: int) -> dict[str, Any] | None:
    """Return one message of a conversation."""
    return fetch_one(db, _ONE_MESSAGE, {"conversation_id": conversation_id, "id": message_id})
