"""Promises 2 and 3 for what is answered by itself: the server is killed while people ask and say STOP."""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import on_stage
from tests.support.servers import short_folder
from titanflow.cli.stage import Stage
from titanflow.storage.database import Database

_NUMBER = "710000001"
_SEED = 20261125
_ASKING, _STOPPING = 60, 20


@pytest.fixture
def stage() -> Iterator[Stage]:
    with short_folder() as folder:
        made = Stage(folder / "data", latency_ms=50, speed=8, seed=_SEED)
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.mark.timeout(180)
def test_three_kills_while_people_write_lose_no_answer_and_send_none_twice(stage: Stage) -> None:
    """kill -9 during the commit, between commit and 200, between claim and POST: wherever. Meta delivers again."""
    rng = random.Random(_SEED)
    on_stage.numbers(stage, "710000000", [_NUMBER], mps=50)
    faq = stage.api.post("/api/v1/faqs", {"keywords": ["hours"], "answer": "9 to 5"})
    people = [f"4915177{n:06d}" for n in range(_ASKING + _STOPPING)]
    for n, person in enumerate(people):
        text = "What are your hours?" if n < _ASKING else "STOP"
        stage.meta.post("/_sandbox/inbound", {"number": _NUMBER, "from": person, "text": text, "in_s": n * 0.05})

    for _ in range(3):
        time.sleep(rng.uniform(0.3, 1.2))  # the moment is the point, not a wait for something
        stage.kill_server()
        stage.start_server()
    stage.meta.get("/_sandbox/idle?timeout=60")
    db = Database(stage.database_url, pool_size=2)
    try:
        on_stage.until(lambda: _waiting(db) == 0, "all answers have left, or are in doubt")
        answers = _answers(db)
    finally:
        db.close()

    got = Counter(row["to"].lstrip("+") for row in map(json.loads, stage.meta.lines("/_sandbox/ledger")))
    assert Counter(source for _, source, _ in answers) == {f"faq:{faq['id']}": _ASKING, "opt_out:stop": _STOPPING}
    assert len({phone for phone, _, _ in answers}) == len(people)
    assert max(got.values()) == 1
    for phone, _, state in answers:
        assert state == "in_doubt" or got[phone.lstrip("+")] == 1, (phone, state)
    assert stage.api.get("/api/v1/suppressions?limit=500")["total"] == _STOPPING
    assert stage.meta.get("/_sandbox/summary")["sent_after_stop"] == 0
    shown = stage.api.get(f"/api/v1/conversations/{people[0]}/messages")["items"]
    assert [one["delivery"]["by"] for one in shown if one["direction"] == "outbound"] == [f"faq:{faq['id']}"]


def _waiting(db: Database) -> int:
    with db.connection() as connection:
        row = connection.execute("SELECT count(*) FROM inbox_messages WHERE state IN ('queued', 'claimed')").fetchone()
    assert row is not None
    return int(row[0])


def _answers(db: Database) -> list[Any]:
    with db.connection() as connection:
        return connection.execute(
            "SELECT conversation.phone, message.source, message.state::text FROM inbox_messages AS message"
            " JOIN conversations AS conversation ON conversation.id = message.conversation_id"
            " WHERE message.direction = 'outbound'"
        ).fetchall()
