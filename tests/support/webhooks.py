"""Meta's webhooks as bodies, through the parser and the group commit, as the door hands them on."""

import time
from typing import Any

import orjson

from titanflow.domain.webhooks import WebhookBatch, parse
from titanflow.storage.database import Database
from titanflow.storage.webhook_batches import store


def now() -> int:
    """Seconds, as Meta has them. Never at import: a test may run many minutes later."""
    return int(time.time())


def says(text: str, *, wamid: str, sender: str = "491510000000", at: int | None = None, **more: Any) -> dict[str, Any]:
    """A text message, by default of this moment. more: further members, such as context."""
    stamp = str(now() if at is None else at)
    return {"from": sender, "id": wamid, "timestamp": stamp, "type": "text", "text": {"body": text}, **more}


def body_of(*messages: dict[str, Any], number: str = "1001", statuses: Any = ()) -> bytes:
    """One webhook with messages of one number."""
    value = {"metadata": {"phone_number_id": number}, "messages": list(messages), "statuses": list(statuses)}
    return orjson.dumps({"entry": [{"id": "9001", "changes": [{"field": "messages", "value": value}]}]})


def webhook(db: Database, *messages: dict[str, Any], number: str = "1001", statuses: Any = ()) -> WebhookBatch:
    """Commit one webhook's messages, as the ingestor does."""
    batch = parse(body_of(*messages, number=number, statuses=statuses))
    assert batch.quarantined == ()
    store(db, batch, node_id=3)
    return batch
