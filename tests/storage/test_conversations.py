"""Conversations: walks that see each row, and unread counts that equal a recount, whatever happens meanwhile."""

import random
from datetime import timedelta
from typing import Any

from tests.support.builders import a_number
from tests.support.inbox import a_conversation, a_reply, hears
from titanflow.storage import conversations
from titanflow.storage.conversations import Filters, Position
from titanflow.storage.database import Database


def _walk(db: Database, *, oldest_first: bool, moving: list[int]) -> list[int]:
    """Page through all, three at a time; after each page one conversation gets a new message."""
    seen: list[int] = []
    after = None
    while page := conversations.page(db, Filters(), after=after, limit=3, oldest_first=oldest_first):
        seen += [row["id"] for row in page]
        after = Position(page[-1]["last_message_at"], page[-1]["id"])
        if moving:
            a_reply(db, moving.pop())
    return seen


def test_rows_that_move_are_never_seen_twice_and_a_walk_by_age_misses_none(db: Database) -> None:
    number = a_number(db)
    ids = [a_conversation(db, number, phone=f"+4915100000{n:02d}", wrote=timedelta(hours=1)) for n in range(20)]

    by_time = _walk(db, oldest_first=False, moving=[ids[3], ids[18], ids[0], ids[9]])
    by_age = _walk(db, oldest_first=True, moving=[ids[3], ids[18], ids[0], ids[9]])

    assert len(by_time) == len(set(by_time))
    assert by_age == ids


def test_unread_equals_a_recount_whatever_is_read_and_comes_twice(db: Database) -> None:
    """Promise 5."""
    a_number(db)
    rng = random.Random(7)
    sent: list[str] = []
    for _ in range(60):
        match rng.randrange(4):
            case 0 | 1:
                sent.append(f"w{len(sent)}")
                hears(db, {"id": sent[-1]}, *({"id": again} for again in rng.sample(sent, min(2, len(sent)))))
            case 2 if sent:
                hears(db, {"id": rng.choice(sent)})
            case 3 if sent:
                [found] = conversations.page(db, Filters(archived=None), after=None, limit=2)
                last = rng.randint(max(1, found["last_id"] - 3), found["last_id"])
                conversations.change(db, found["id"], {"read_up_to": last, "archived": rng.random() < 0.5})
        for row in conversations.page(db, Filters(archived=None), after=None, limit=2):
            assert row["unread"] == _recount(db, row["id"])


def _recount(db: Database, conversation_id: int) -> Any:
    with db.connection() as connection:
        row = connection.execute(
            "SELECT count(*) FROM inbox_messages AS message JOIN conversations AS one ON one.id = conversation_id"
            " WHERE one.id = %s AND direction = 'inbound' AND message.id > read_up_to",
            [conversation_id],
        ).fetchone()
    assert row is not None
    return row[0]
