"""TemplateSync and NumberSync over HTTP against the sandbox: what news and time make due is asked, each on its own."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from tests.sandbox.fake_meta import FakeMeta, running_sandbox
from tests.support.builders import a_number
from titanflow.actors.node.meta_sync import MetaQuestions, MetaSync
from titanflow.domain.vault import Vault
from titanflow.domain.webhooks import parse
from titanflow.storage import phone_numbers, templates
from titanflow.storage.database import Database
from titanflow.storage.webhook_batches import store
from titanflow.supervision import ChildSpec, Supervisor, TaskSupervisor, start, stop, via
from titanflow.supervision.testing import eventually

_VAULT = Vault(["a key for the tests alone"])


@pytest.fixture(scope="module")
def meta() -> Iterator[FakeMeta]:
    with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def syncing(db: Database, meta: FakeMeta) -> Iterator[None]:
    """Both actors and their tasks, on two numbers of two accounts."""
    for number, waba in (("1001", "9001"), ("1002", "9002")):
        meta.control("POST", "numbers", {"phone_number_id": number, "waba_id": waba, "mps": 80})
        a_number(db, phone_number_id=number, waba_id=waba)
        phone_numbers.update(db, number, {"access_token": _VAULT.encrypt("token")})
    questions = MetaQuestions(db, _VAULT, f"http://127.0.0.1:{meta.port}", "v25.0")
    children = [
        ChildSpec("tasks", TaskSupervisor, type="supervisor", name=via("tasks")),
        ChildSpec("template_sync", lambda: MetaSync(db, questions, "templates"), name=via("template_sync")),
        ChildSpec("number_sync", lambda: MetaSync(db, questions, "number"), name=via("number_sync")),
    ]
    root = start(Supervisor(children))
    yield
    stop(root)
    meta.control("DELETE", "rules")


def _statuses(db: Database, waba_id: str) -> dict[str, str]:
    return {one["name"]: one["status"] for one in templates.page(db, after=0, limit=500) if one["waba_id"] == waba_id}


def test_new_numbers_are_asked_about_by_themselves(db: Database, syncing: None) -> None:
    eventually(
        lambda: "spring_offer" in _statuses(db, "9001") and "spring_offer" in _statuses(db, "9002"), timeout_s=30
    )
    eventually(lambda: (phone_numbers.get(db, "1001") or {})["status"] == "CONNECTED", timeout_s=30)
    number = phone_numbers.get(db, "1001")
    assert number is not None
    assert (number["quality"], number["tier"], number["throughput"]) == ("GREEN", "TIER_UNLIMITED", "STANDARD")


def test_an_account_that_fails_costs_only_itself(db: Database, meta: FakeMeta, syncing: None) -> None:
    meta.rule(where="management", path="9001/message_templates", code=80008)
    with db.connection() as connection:
        eventually(lambda: "spring_offer" in _statuses(db, "9002"), timeout_s=30)
        eventually(lambda: _error(connection, "9001") is not None, timeout_s=30)
    assert _statuses(db, "9001") == {}


def _error(connection: Any, key: str) -> str | None:
    row = connection.execute("SELECT error FROM meta_syncs WHERE subject = 'templates' AND key = %s", [key]).fetchone()
    return row[0] if row else None


def test_a_webhooks_good_news_is_read_again_before_it_is_believed(db: Database, meta: FakeMeta, syncing: None) -> None:
    eventually(lambda: _statuses(db, "9001").get("spring_offer") == "APPROVED", timeout_s=30)
    event = {
        "event": "PAUSED",
        "message_template_id": 9001000,
        "message_template_name": "spring_offer",
        "message_template_language": "en_US",
    }
    meta.control("POST", "templates", {"waba_id": "9001", "name": "spring_offer", "status": "PAUSED"})
    _hear(db, event)
    _hear(db, {**event, "event": "APPROVED"})  # overtaken by Meta itself

    assert _statuses(db, "9001")["spring_offer"] == "PAUSED"
    meta.control("POST", "templates", {"waba_id": "9001", "name": "spring_offer", "status": "APPROVED"})
    _hear(db, {**event, "event": "APPROVED"})
    eventually(lambda: _statuses(db, "9001")["spring_offer"] == "APPROVED", timeout_s=30)


def _hear(db: Database, event: dict[str, Any]) -> None:
    change = {"field": "message_template_status_update", "value": event}
    store(db, parse(orjson.dumps({"entry": [{"id": "9001", "changes": [change]}]})), node_id=1)
