"""A rehearsal on a real server: its forecast beside what then really happens, and what clients get."""

import http.client
import json
import os
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import a_campaign
from titanflow.cli.stage import Stage
from titanflow.errors import TitanFlowError
from titanflow.storage.database import Database

_MPS = 40
_PEOPLE = 250


@pytest.fixture(scope="module")
def campaign_id(stage: Stage) -> int:
    """Ready: 250 Germans on a number that sends 40 a second; three of them without the code that the template needs."""
    stage.meta.post("/_sandbox/numbers", {"phone_number_id": "7001", "waba_id": "900000001", "mps": _MPS})
    number = {"phone_number_id": "7001", "waba_id": "900000001", "access_token": "secret-token", "max_mps": _MPS}
    stage.api.post("/api/v1/phone-numbers", number)
    stage.api.post("/api/v1/templates/sync")
    templates = stage.api.get("/api/v1/templates?limit=100")["items"]
    template = next(one for one in templates if one["name"] == "spring_offer")
    variables = {"body.1": {"column": "name"}, "body.2": {"column": "code"}, "body.3": {"value": "Berlin"}}
    fields = {
        "name": "c",
        "template_ids": [template["id"]],
        "phone_number_ids": ["7001"],
        "variables": variables,
    }
    made = int(stage.api.post("/api/v1/campaigns", fields)["id"])
    lines = [f"+49151{n:08d},Ana,{'' if n in (7, 8, 90) else 'X1'}" for n in range(_PEOPLE)]
    file = stage.data_dir / "people.csv"
    file.write_text("phone,name,code\n" + "\n".join(lines) + "\n")
    imported = stage.api.upload(f"/api/v1/campaigns/{made}/contacts", file)
    _wait(stage, f"/api/v1/campaigns/{made}/imports/{imported['id']}")
    return made


def _wait(stage: Stage, path: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = stage.api.get(path)
        if found["state"] != "running":
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_the_real_run_ends_within_the_forecast(stage: Stage, campaign_id: int) -> None:
    before = stage.api.get(f"/api/v1/campaigns/{campaign_id}")
    audit = stage.api.get(f"/api/v1/campaigns/{campaign_id}/audit")
    posts = stage.meta.get("/_sandbox/summary")["posts"]

    asked = stage.api.post(f"/api/v1/campaigns/{campaign_id}/rehearse")
    rehearsal = _wait(stage, f"/api/v1/campaigns/{campaign_id}/rehearsals/{asked['id']}")

    assert rehearsal["state"] == "done", rehearsal["error"]
    assert stage.api.get(f"/api/v1/campaigns/{campaign_id}") == before
    assert stage.api.get(f"/api/v1/campaigns/{campaign_id}/audit") == audit
    assert stage.meta.get("/_sandbox/summary")["posts"] == posts
    result = rehearsal["result"]
    assert result["audience"]["to_send"] == _PEOPLE
    assert [(one["parameter"], one["count"]) for one in result["failures"]] == [("body.2", 3)]

    stage.api.post(f"/api/v1/campaigns/{campaign_id}/start")
    campaign = _wait(stage, f"/api/v1/campaigns/{campaign_id}")
    rows = stage.api.get(f"/api/v1/campaigns/{campaign_id}/messages?limit=500")["items"]

    assert campaign["state"] == "completed"
    assert sum(1 for row in rows if row["error_code"] == -1) == 3
    last = max(datetime.fromisoformat(row["sent_at"]) for row in rows if row["sent_at"])
    took_s = (last - datetime.fromisoformat(campaign["started_at"])).total_seconds()
    low_s, high_s = result["duration"]["seconds"]
    assert low_s <= took_s + 1  # sent_at is the second in which it left
    assert took_s <= high_s


def test_a_campaign_that_has_ended_is_409_and_says_why(stage: Stage, campaign_id: int) -> None:
    with pytest.raises(TitanFlowError) as caught:
        stage.api.post(f"/api/v1/campaigns/{campaign_id}/rehearse")

    assert caught.value.code == "wrong_state"


def test_the_list_has_it_and_an_ended_one_is_not_cancelled(stage: Stage, campaign_id: int) -> None:
    listed = stage.api.get(f"/api/v1/campaigns/{campaign_id}/rehearsals")
    one = listed["items"][0]

    assert (listed["total"], one["state"], "result" in one) == (1, "done", False)
    cancelled = stage.api.post(f"/api/v1/campaigns/{campaign_id}/rehearsals/{one['id']}/cancel")
    assert cancelled["state"] == "done"


def test_it_is_accepted_with_its_place(stage: Stage) -> None:
    made = int(stage.api.post("/api/v1/campaigns", {"name": "empty"})["id"])
    assert _post(stage, f"/api/v1/campaigns/{made}/rehearse")[0] == 409
    assert _post(stage, "/api/v1/campaigns/99999/rehearse")[0] == 404
    assert _post(stage, f"/api/v1/campaigns/{made}/rehearsals/99999/cancel")[0] == 404
    assert _post(stage, f"/api/v1/campaigns/{made}/rehearse", token="")[0] == 401


def _begin_a_long_one(stage: Stage, phone: int) -> tuple[str, int]:
    """Rehearse 100,000 contacts on the server. Returns the rehearsal's path and its worker's pid, once it has begun."""
    database = Database(stage.database_url, pool_size=1)
    made = a_campaign(database, contacts=100_000, state="ready", first_phone=phone)
    database.close()
    asked = stage.api.post(f"/api/v1/campaigns/{made.id}/rehearse")
    path = f"/api/v1/campaigns/{made.id}/rehearsals/{asked['id']}"
    assert stage.api.post(f"/api/v1/campaigns/{made.id}/rehearse")["id"] == asked["id"]
    deadline = time.monotonic() + 60
    while stage.api.get(path)["checked"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path, _worker_of(stage, asked["id"])


def _worker_of(stage: Stage, rehearsal_id: int) -> int:
    ours = f"DATA_DIR={stage.data_dir.resolve()}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        wanted = {b"titanflow.services.rehearsal_worker", str(rehearsal_id).encode()}
        if wanted <= set(words) and ours in environment:
            return int(process.name)
    raise AssertionError("the worker is not there")


def test_a_killed_worker_fails_its_rehearsal_with_the_reason(stage: Stage) -> None:
    path, worker = _begin_a_long_one(stage, 491520000000)

    os.kill(worker, signal.SIGKILL)

    found = _wait(stage, path)
    assert (found["state"], found["error"]) == ("failed", "The rehearsal broke off: exit code -9")
    assert list((stage.data_dir / "uploads").glob("rehearsal-*")) == []


def test_a_server_that_stops_takes_its_rehearsal_along(stage: Stage) -> None:
    path, worker = _begin_a_long_one(stage, 491530000000)

    stage.stop_server()

    assert not Path(f"/proc/{worker}").exists()
    stage.start_server()
    found = stage.api.get(path)
    assert (found["state"], found["error"]) == ("failed", "The server was stopped. Ask again.")


def _post(stage: Stage, path: str, *, token: str | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=20)
    bearer = stage.token if token is None else token
    try:
        connection.request("POST", path, headers={"Authorization": f"Bearer {bearer}"} if bearer else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
