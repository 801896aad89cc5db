"""Messages that come in: kept once, counted once."""

import time
from datetime import UTC, datetime
from typing import Any

import orjson

from tests.support.builders import a_number
from tests.support.inbox import hears
from titanflow.domain.webhooks import InboundMessage, parse
from titanflow.storage import inbox
from titanflow.storage.database import Database
from titanflow.storage.webhook_batches import store
from titanflow.supervision import sleep_ms, spawn_plain


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


def test_one_webhook_delivered_twice_at_once_counts_once(db: Database, database_url: str) -> None:
    """Promise 5: the second delivery waits for the first one's conversation, and then sees its message."""
    a_number(db)
    other = Database(database_url, pool_size=1)
    message = InboundMessage("1001", "a", "+491510000000", None, "text", {"id": "a"}, datetime(2026, 1, 1, tzinfo=UTC))
    try:
        with db.transaction() as first:
            assert len(inbox.receive(first, [message])) == 1
            second = spawn_plain(lambda: _webhook(other, "a", "b"))
            _await_a_waiter(db)
        second.join(10)
    finally:
        other.close()

    assert _unread(db) == 2


def test_what_lies_ahead_and_what_the_network_says_opens_no_window(db: Database) -> None:
    a_number(db)
    hears(db, {"type": "system", "system": {"body": "changed"}})
    with db.connection() as connection:
        assert connection.execute("SELECT last_inbound_at FROM conversations").fetchone() == (None,)
    hears(db, {"id": "later", "timestamp": "9999999999"})
    with db.connection() as connection:
        assert connection.execute("SELECT last_inbound_at <= now() FROM conversations").fetchone() == (True,)


def test_a_text_of_a_megabyte_is_kept_and_can_be_searched(db: Database) -> None:
    """PostgreSQL refuses to index a longer text: that must not cost a webhook, again and again."""
    a_number(db)
    words = " ".join(f"word{n}" for n in range(200_000))
    hears(db, {"text": {"body": words}})
    with db.connection() as connection:
        found = connection.execute(
            "SELECT count(*) FROM inbox_messages"
            " WHERE to_tsvector('simple', inbox_text(content)) @@ to_tsquery('simple', 'word7')"
        ).fetchone()
    assert found == (1,)


def _await_a_waiter(db: Database) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with db.connection() as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchone()
        if row == (1,):
            return
        sleep_ms(20)
    raise AssertionError("nobody waits")
