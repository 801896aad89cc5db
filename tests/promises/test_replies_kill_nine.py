"""Promises 2, 3 and 7 for replies of the inbox: the server is killed again and again while it answers people."""

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import on_stage
from tests.support.servers import short_folder
from titanflow.cli.stage import Stage
from titanflow.storage import outbox
from titanflow.storage.database import Database
from titanflow.storage.outbox import NewReply

_SEED = 20261125
_PEOPLE, _EACH, _MPS, _KILLS = 30, 5, 60, 5


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as made:
        yield made / "data"


def _hear_everybody(stage: Stage, db: Database) -> dict[int, str]:
    """Let everybody write, which opens their windows. Returns phones by conversation."""
    for n in range(_PEOPLE):
        stage.meta.post("/_sandbox/inbound", {"number": "7901", "from": f"49151888{n:05d}", "text": "hi"})

    def heard() -> dict[int, str]:
        with db.connection() as connection:
            rows = dict(connection.execute("SELECT id, phone FROM conversations").fetchall())
        return rows if len(rows) == _PEOPLE else {}

    found: dict[int, str] = on_stage.until(heard, "all conversations")
    return found


def _states(db: Database) -> dict[int, str]:
    with db.connection() as connection:
        rows = connection.execute("SELECT id, state::text FROM inbox_messages WHERE direction = 'outbound'").fetchall()
    return dict(rows)


def _accepted(stage: Stage) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in stage.meta.lines("/_sandbox/ledger")]
    return [row for row in rows if row["echo"].startswith("r:")]


@pytest.mark.timeout(180)
def test_kills_at_random_moments_answer_nobody_twice_and_forget_nobody(folder: Path) -> None:
    rng = random.Random(_SEED)
    stage = Stage(folder, latency_ms=60, speed=20, seed=_SEED)
    try:
        stage.start()
        stage.meta.post("/_sandbox/limits", {"pair": "off"})  # eight in a row to one person, or the test waits minutes
        on_stage.numbers(stage, "790000001", ["7901"], mps=_MPS)
        db = Database(stage.database_url, pool_size=2)
        people = _hear_everybody(stage, db)
        replies = [
            NewReply(conversation_id, {"type": "text", "text": {"body": f"{n}"}}, "test")
            for n in range(_EACH)
            for conversation_id in people
        ]
        with db.transaction() as transaction:
            ids = outbox.enqueue(transaction, replies)
        for _ in range(_KILLS):
            time.sleep(rng.uniform(0.1, 0.9))  # the moment is the point, not a wait for something
            stage.kill_server()
            stage.start_server()
        on_stage.until(lambda: not {"queued", "claimed"} & set(_states(db).values()), "the end of the outbox")
        stage.meta.get("/_sandbox/idle?timeout=30")
        states, rows = _states(db), _accepted(stage)
        rate = stage.meta.get("/_sandbox/summary")["max_rate_1s"]
        db.close()
    finally:
        stage.stop()

    sent = Counter(int(row["echo"].split(":")[1]) for row in rows)
    told = f"seed {_SEED}: {Counter(states.values())}"
    assert set(states) == set(ids), told
    assert [one for one, count in sent.items() if count > 1] == [], told
    # What reached Meta is known; what is still in doubt was claimed by a process that died before it left.
    assert {one for one, state in states.items() if state in ("sent", "delivered", "read", "failed")} == set(sent), told
    assert {state for one, state in states.items() if one not in sent} <= {"in_doubt"}, told
    assert len(sent) > len(ids) * 0.7, told
    assert rate <= _MPS
    by_person: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        by_person[row["to"]].append(int(row["echo"].split(":")[1]))
    assert all(order == sorted(order) for order in by_person.values())
