"""The ingestor under pressure: what it can't take is refused at once, what it took is committed before the answer."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.support.builders import a_campaign, a_sender, claimed
from titanflow.actors.node.node import Node
from titanflow.actors.node.webhook_ingestor import WebhookIngestor, ingest
from titanflow.domain.webhooks import StatusUpdate, WebhookBatch
from titanflow.errors import Unavailable
from titanflow.storage.database import Database
from titanflow.supervision import ChildSpec, PartitionSupervisor, Supervisor, start, stop, via
from titanflow.supervision.testing import eventually

_ROOM = 20
_AT = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.fixture
def webhooks(db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One ingestor with a small mailbox."""
    monkeypatch.setattr(WebhookIngestor, "mailbox_limit", _ROOM)
    children = [
        ChildSpec("node", lambda: Node(db), name=via("node")),
        ChildSpec(
            "webhooks",
            lambda: PartitionSupervisor(lambda _: WebhookIngestor(db), 1),
            type="supervisor",
            name=via("webhooks"),
        ),
    ]
    root = start(Supervisor(children))
    yield
    stop(root)


@pytest.mark.usefixtures("webhooks")
def test_a_full_mailbox_refuses_at_once_and_the_rest_is_committed(db: Database) -> None:
    """Promise 4, and "503 with Retry-After, never a hang": while somebody holds the table, only so many may wait."""
    campaign = a_campaign(db, contacts=4 * _ROOM)
    claims = claimed(db, campaign, a_sender(db, campaign.number_id))
    taken: list[int] = []
    refused_after_s: list[float] = []

    def deliver(log_id: int) -> None:
        began = time.monotonic()
        try:
            ingest(WebhookBatch(statuses=(StatusUpdate(f"w{log_id}", "read", _AT, log_id, 1, None, None),)))
            taken.append(log_id)
        except Unavailable:
            refused_after_s.append(time.monotonic() - began)

    with db.transaction() as transaction:
        transaction.execute("LOCK TABLE message_logs IN ACCESS EXCLUSIVE MODE")
        first = threading.Thread(target=deliver, args=[claims[0].log_id])
        first.start()
        eventually(lambda: _waits_for_the_table(db))
        rest = [threading.Thread(target=deliver, args=[one.log_id]) for one in claims[1:]]
        for thread in rest:
            thread.start()
        eventually(lambda: len(refused_after_s) == len(claims) - 1 - _ROOM)
        taken_while_locked = list(taken)
    for thread in [first, *rest]:
        thread.join()

    assert taken_while_locked == []
    assert len(taken) == 1 + _ROOM
    assert max(refused_after_s) < 5
    with db.connection() as connection:
        read = connection.execute("SELECT id FROM message_logs WHERE state = 'read' ORDER BY id").fetchall()
    assert [row[0] for row in read] == sorted(taken)


def _waits_for_the_table(db: Database) -> bool:
    with db.connection() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    return row == (1,)
