"""Conversations, as webhooks make them, and replies in them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from titanflow.domain.webhooks import parse
from titanflow.storage import outbox
from titanflow.storage.database import Database
from titanflow.storage.outbox import NewReply
from titanflow.storage.webhook_batches import store

PERSON = "+491510000000"


def hears(db: Database, *messages: dict[str, Any], number: str = "1001", name: str | None = None) -> None:
    """Store one webhook with these messages. Each is a text of PERSON's, from now, unless it says otherwise."""
    now = int(datetime.now(UTC).timestamp())
    default = {"from": PERSON[1:], "timestamp": str(now), "type": "text", "text": {"body": "hi"}}
    told = [{**default, "id": f"wamid.{number}.{n}", **one} for n, one in enumerate(messages)]
    value: dict[str, Any] = {"metadata": {"phone_number_id": number}, "messages": told}
    if name is not None:
        value["contacts"] = [{"wa_id": one["from"], "profile": {"name": name}} for one in told]
    body = {"entry": [{"id": "9001", "changes": [{"field": "messages", "value": value}]}]}
    store(db, parse(orjson.dumps(body)), node_id=3)


def reported(db: Database, echo: str, *statuses: str, wamid: str = "wamid.out", code: int | None = None) -> None:
    """Store one webhook with these statuses of a message that carries an echo."""
    errors = {"errors": [{"code": code, "title": "no"}]} if code is not None else {}
    one = {"id": wamid, "timestamp": "1750000000", "biz_opaque_callback_data": echo}
    value = {"metadata": {"phone_number_id": "1001"}, "statuses": [{**one, "status": s, **errors} for s in statuses]}
    body = {"entry": [{"id": "9001", "changes": [{"field": "messages", "value": value}]}]}
    store(db, parse(orjson.dumps(body)), node_id=3)


def a_conversation(db: Database, number_id: int, *, phone: str = PERSON, wrote: timedelta | None = None) -> int:
    """Insert a conversation whose person wrote so long ago; None: never."""
    with db.connection() as connection:
        row = connection.execute(
            "INSERT INTO conversations (number_id, phone, last_message_at, last_inbound_at)"
            " VALUES (%s, %s, now(), now() - %s::interval) RETURNING id",
            [number_id, phone, wrote],
        ).fetchone()
    assert row is not None
    return int(row[0])


def a_reply(db: Database, conversation_id: int, text: str = "hello", *, template_id: int | None = None) -> int:
    """Put a reply into the outbox."""
    content: dict[str, Any] = {"type": "text", "text": {"body": text}}
    if template_id is not None:
        content = {"type": "template", "template": {"name": "hello", "language": {"code": "en_US"}}}
    with db.transaction() as transaction:
        [made] = outbox.enqueue(transaction, [NewReply(conversation_id, content, "test", template_id)])
    return made


def reply(db: Database, reply_id: int) -> dict[str, Any]:
    """What is known of a reply."""
    with db.connection() as connection:
        cursor = connection.execute(
            "SELECT state::text AS state, attempt, wamid, error_code, error_detail, sent_at, delivered_at"
            " FROM inbox_messages WHERE id = %s",
            [reply_id],
        )
        row = cursor.fetchone()
        assert row is not None
        assert cursor.description is not None
        return dict(zip([one.name for one in cursor.description], row, strict=True))
