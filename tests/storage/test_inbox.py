"""Messages that come in: kept once, counted once."""

from typing import Any

import orjson

from tests.support.builders import a_number
from titanflow.domain.webhooks import parse
from titanflow.storage.database import Database
from titanflow.storage.webhook_batches import store


def _webhook(db: Database, *wamids: str) -> None:
    messages: list[dict[str, Any]] = [
        {"from": "491510000000", "id": wamid, "timestamp": "1750000000", "type": "text", "text": {"body": "hi"}}
        for wamid in wamids
    ]
    value = {"metadata": {"phone_number_id": "1001"}, "messages": messages}
    body = {"entry": [{"id": "9001", "changes": [{"field": "messages", "value": value}]}]}
    store(db, parse(orjson.dumps(body)), node_id=3)


def _unread(db: Database) -> int:
    with db.connection() as connection:
        row = connection.execute("SELECT unread FROM conversations").fetchone()
    assert row is not None
    return int(row[0])


def test_unread_counts_the_messages_that_came(db: Database) -> None:
    """Weakness C6 of the Elixir system: the second message set unread to 1 and added 1, so it was always 2."""
    a_number(db)
    seen = []

    for wamids in (["a"], ["b", "c"], ["c", "a"], ["d"]):
        _webhook(db, *wamids)
        seen.append(_unread(db))

    assert seen == [1, 3, 3, 4]
