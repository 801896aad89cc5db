"""Recorded webhooks, through the real door, signed, to the rows: each file of corpus/ beside what it must change.

NAME.json is the body as Meta sends it, byte for byte. NAME.expected.json says what it is about, what is `given` (see
world.py), and `then`: all that is different afterwards, and nothing else may be.
"""

import hashlib
import hmac
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import short_folder
from tests.webhooks import world
from titanflow import embedded
from titanflow.cli.stage import Stage
from titanflow.domain.vault import Vault
from titanflow.services.webhook_replay import replay
from titanflow.storage import reports, webhook_files
from titanflow.storage.database import Database
from titanflow.supervision.testing import eventually

_CORPUS = Path(__file__).parent / "corpus"
_CASES = sorted(path.name.removesuffix(".expected.json") for path in _CORPUS.glob("*.expected.json"))
_SECRETS = ("the secret of before", "the secret of now")


class Door:
    """A running server, and the rows behind it. Polls of Meta find nobody: what is seen is the webhook's doing."""

    def __init__(self, stage: Stage) -> None:
        self.db = Database(stage.database_url, pool_size=2)
        self.kept = stage.data_dir / "webhooks"
        self.token = Vault([embedded.secret_key(stage.data_dir)]).encrypt("a token")
        self._port = stage.port

    def post(self, body: bytes, secret: str = _SECRETS[-1]) -> int:
        """Deliver a body as Meta would. Returns the status."""
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("POST", "/api/webhooks/whatsapp", body, headers)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with short_folder() as folder:
        environment = {"META_GRAPH_URL": "http://127.0.0.1:9", "META_APP_SECRET": ",".join(_SECRETS)}
        stage = Stage(folder / "data", environment=environment)
        try:
            stage.start()
            opened = Door(stage)
            yield opened
            opened.db.close()
        finally:
            stage.stop()


def _expected(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((_CORPUS / f"{name}.expected.json").read_bytes())
    return loaded


def test_each_payload_has_its_expectation() -> None:
    assert {path.stem for path in _CORPUS.glob("*.json") if not path.name.endswith(".expected.json")} == set(_CASES)
    assert len(_CASES) >= 60


@pytest.mark.parametrize("name", _CASES)
def test_a_recorded_webhook(door: Door, name: str) -> None:
    body, expected = (_CORPUS / f"{name}.json").read_bytes(), _expected(name)
    world.reset(door.db, expected["given"], token=door.token)
    before = world.look(door.db)

    statuses = [door.post(body)]
    first = world.look(door.db)
    statuses += [door.post(body, _SECRETS[0])]  # Meta repeats itself, and rotates its secret meanwhile
    second = world.look(door.db)

    assert statuses == [200, 200]
    assert world.changed(before, first) == expected["then"]
    assert set(world.changed(first, second)) <= set(world.KEPT_EACH_TIME)
    for campaign_id in reports.campaign_ids(door.db):
        assert reports.audit(door.db, campaign_id)["counter_drift"] == 0


@pytest.mark.parametrize("name", ["status-delivered-v24", "text-escaped-unicode"])
def test_a_recorded_webhook_that_is_not_signed_changes_nothing(door: Door, name: str) -> None:
    body, expected = (_CORPUS / f"{name}.json").read_bytes(), _expected(name)
    world.reset(door.db, expected["given"], token=door.token)
    before = world.look(door.db)

    assert door.post(body, "a secret of somebody else") == 401
    assert world.changed(before, world.look(door.db)) == {}


@pytest.mark.parametrize("name", ["statuses-in-reverse", "text-half-an-emoji", "body-html"])
def test_what_came_is_kept_as_it_came_and_can_be_replayed(door: Door, name: str) -> None:
    """The file has it byte for byte; replayed into a world where it never came, it changes the same."""
    body, expected = (_CORPUS / f"{name}.json").read_bytes(), _expected(name)
    world.reset(door.db, expected["given"], token=door.token)
    assert door.post(body) == 200
    eventually(lambda: body in _kept(door), timeout_s=10)
    world.reset(door.db, expected["given"], token=door.token)
    before = world.look(door.db)

    told = replay(door.db, [kept for kept in _kept(door) if kept == body])

    assert (told.unreadable > 0, told.updates > 0) == ((True, False) if name == "body-html" else (False, True))
    changed = world.changed(before, world.look(door.db))
    assert changed == {part: rows for part, rows in expected["then"].items() if part != "quarantined"}


def _kept(door: Door) -> list[bytes]:
    return [body for path in door.kept.glob("*.ndjson.gz") for body in webhook_files.read(path)]
