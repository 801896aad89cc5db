"""Alarms reach whoever listens, each change once, and end when their cause is gone."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from tests.support.builders import a_number
from titanflow.actors.node.alarm_keeper import AlarmKeeper
from titanflow.meta.error_policy import RULES
from titanflow.storage import pauses, phone_numbers, redis_keys
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.supervision import start, stop
from titanflow.supervision.testing import eventually


@pytest.fixture
def fast_copy(redis_url: str) -> Iterator[FastCopy]:
    made = FastCopy(redis_url)
    yield made
    made.close()


def test_an_alarm_is_published_once_when_raised_and_once_when_over(db: Database, fast_copy: FastCopy) -> None:
    number = a_number(db)
    events = fast_copy.listen(redis_keys.EVENTS, wait_s=0.05)
    next(events)  # subscribed
    heard: list[dict[str, Any]] = []

    def hear(count: int) -> bool:
        message = next(events)
        if message is not None:
            heard.append(orjson.loads(message))
        return len(heard) >= count

    keepers = [start(AlarmKeeper(db, fast_copy)) for _ in range(2)]  # two nodes
    pauses.block(db, RULES[190], number)
    eventually(lambda: hear(1), timeout_s=20)
    phone_numbers.set_state(db, "1001", state="active", reason=None)
    eventually(lambda: hear(2), timeout_s=20)
    eventually(lambda: hear(3), timeout_s=2.5, must=False)  # two more rounds bring nothing
    for pid in keepers:
        stop(pid)
    events.close()

    kinds = [(one["type"], one["state"], one["kind"], one["target"]) for one in heard]
    assert kinds == [("alarm", "open", "account_blocked", "9001"), ("alarm", "cleared", "account_blocked", "9001")]
    assert heard[0]["sentence"] == RULES[190].sentence_and_code
