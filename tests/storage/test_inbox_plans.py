"""The inbox with 100,000 conversations: each list and search uses the index that is meant for it."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.servers import fresh_database
from titanflow import embedded
from titanflow.storage import conversations, desired, outbox
from titanflow.storage.conversations import Filters, Position
from titanflow.storage.database import Database

_CONVERSATIONS = 100_000

_FILL = """
    INSERT INTO phone_numbers (phone_number_id, waba_id, access_token)
    SELECT 'n' || n, 'w', '' FROM generate_series(1, 20) AS n;
    INSERT INTO conversations (number_id, phone, profile_name, last_message_at, last_inbound_at, unread, assigned_to,
                               labels)
    SELECT 1 + n % 20, '+4915' || (100000000 + n * 7), 'Person ' || n, now() - n * interval '1 minute',
           now() - n * interval '1 minute', (n % 50 = 0)::integer, CASE WHEN n % 100 = 0 THEN 'bea' END,
           CASE WHEN n % 5000 = 0 THEN '{vip}'::text[] ELSE '{}' END
    FROM generate_series(1, {conversations}) AS n;
    INSERT INTO inbox_messages (conversation_id, direction, wamid, type, content, at)
    SELECT id, 'inbound', 'w' || id || '.' || n, 'text',
           jsonb_build_object('text', jsonb_build_object('body', 'message number ' || n || ' word' || id)), now()
    FROM conversations, generate_series(1, 2) AS n;
    ANALYZE;
"""


@pytest.fixture(scope="module")
def full(servers: embedded.EmbeddedServers, migrated_template: str) -> Iterator[Database]:
    """A database with many conversations, made once for all tests here. They only read."""
    with fresh_database(servers, template=migrated_template) as url:
        database = Database(url, pool_size=2, statement_timeout_ms=60_000)
        with database.connection() as connection:
            for statement in _FILL.replace("{conversations}", str(_CONVERSATIONS)).split(";\n"):
                if statement.strip():
                    connection.execute(statement.encode())
        yield database
        database.close()


def _plan(db: Database, statement: str, parameters: dict[str, Any], *, generic: bool = False) -> str:
    """The plan of a statement; generic: the one that fits all values, as a prepared statement may get it."""
    with db.transaction() as transaction:
        mode = b"force_generic_plan" if generic else b"force_custom_plan"
        transaction.execute(b"SET LOCAL plan_cache_mode = " + mode)
        rows = transaction.execute(f"EXPLAIN {statement}".encode(), parameters, prepare=True).fetchall()
    return "\n".join(row[0] for row in rows)


_LAST = datetime.now(UTC) - timedelta(hours=3)


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        (Filters(), "conversations_by_time"),
        (Filters(unread=True), "conversations_unread"),
        (Filters(assigned_to="bea"), "conversations_assigned"),
        (Filters(label="vip"), "conversations_by_label"),
        (Filters(phone_number_id="n3"), "conversations_by_number"),
        (Filters(q="word4711"), "inbox_messages_search"),
        (Filters(q="Person 4711"), "conversations_by_name"),
        (Filters(q="+49 151 000"), "conversations_by_phone"),
        (Filters(q="0032977"), "conversations_by_last_digits"),
    ],
)
@pytest.mark.parametrize("after", [None, Position(_LAST, 500)])
def test_a_page_uses_the_index_of_its_filter(
    full: Database, filters: Filters, index: str, after: Position | None
) -> None:
    statement = conversations.page_statement(filters, after=after)
    plan = _plan(full, statement, conversations.page_parameters(filters, after=after, limit=50))

    assert index in plan, plan
    assert "Seq Scan on conversations" not in plan, plan
    assert "Seq Scan on inbox_messages" not in plan, plan


def test_a_prepared_search_uses_the_indexes_too(full: Database) -> None:
    filters = Filters(q="0032977")
    plan = _plan(
        full,
        conversations.page_statement(filters, after=None),
        conversations.page_parameters(filters, after=None, limit=50),
        generic=True,
    )
    for index in ("inbox_messages_search", "conversations_by_name", "conversations_by_last_digits"):
        assert index in plan, plan


def test_messages_and_the_outbox_are_read_by_index(full: Database) -> None:
    plan = _plan(full, conversations._MESSAGES_DOWN, {"conversation_id": 77, "after": 2**62, "limit": 50})
    assert "inbox_messages_by_conversation" in plan
    plan = _plan(full, outbox._DUE, {"number_id": 3, "limit": 8})
    assert "inbox_messages_outbox" in plan, plan
    assert "Seq Scan on inbox_messages" not in plan, plan
    plan = _plan(full, desired._NUMBERS, {})  # asked each second, by each node
    assert "inbox_messages_outbox" in plan, plan
    assert "Seq Scan on inbox_messages" not in plan, plan
    plan = _plan(full, outbox._DOUBT, {"number_id": 3, "epoch": 7})
    assert "inbox_messages_outbox" in plan, plan


def test_lists_and_searches_find_what_there_is_and_soon(full: Database) -> None:
    """No measurement: a scan of everything would take far longer than this allows."""
    asked = {
        "all": (Filters(), _CONVERSATIONS),
        "unread": (Filters(unread=True), _CONVERSATIONS // 50),
        "bea": (Filters(assigned_to="bea"), _CONVERSATIONS // 100),
        "vip": (Filters(label="vip"), _CONVERSATIONS // 5000),
        "one word": (Filters(q="word99999"), 1),
        "beginning": (Filters(q="word471"), 1 + 10 + 100),
        "every word": (Filters(q="number message"), _CONVERSATIONS),
        "name": (Filters(q="Person 4711"), 1 + 10),
        "phone": (Filters(q="+49 15 100000007"), 1),
        "last digits": (Filters(q="0032977"), 1),
        "nothing": (Filters(q="!!!"), 0),
    }
    for name, (filters, total) in asked.items():
        begun = time.perf_counter()
        page = conversations.page(full, filters, after=None, limit=50)
        took_ms = (time.perf_counter() - begun) * 1000
        assert conversations.count(full, filters) == total, name
        assert len(page) == min(50, total), name
        assert took_ms < 3_000, (name, took_ms)
        print(f"{name}: {took_ms:.1f} ms")
