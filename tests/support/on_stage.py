"""Campaigns on a running stage: made through the API, watched through it, judged by the sandbox's ledger."""

import http.client
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from titanflow.cli.stage import Stage
from titanflow.supervision import sleep_ms

DEADLINE_S = 60.0
TEXTS = {
    "body.1": {"column": "first_name", "default": "there"},
    "body.2": {"column": "code", "default": "X1"},
    "body.3": {"column": "city", "default": "Rome"},
}


def ask(stage: Stage, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    """One request with any body. Returns status and answer."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=DEADLINE_S)
    given = {"Authorization": f"Bearer {stage.token}", **{name.replace("_", "-"): one for name, one in headers.items()}}
    try:
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    finally:
        connection.close()


def until(condition: Callable[[], Any], what: str, *, timeout_s: float = DEADLINE_S) -> Any:
    """Return condition() as soon as it is true: for what only a poll of the API can tell."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not come about in {timeout_s:.0f} s: {what}"
        sleep_ms(100)
    return found


def numbers(stage: Stage, waba_id: str, ids: list[str], *, mps: int = 50) -> None:
    """Add numbers of one account to the sandbox and the server, and read the account's templates."""
    for n, number_id in enumerate(ids):
        display = f"1555{number_id[-4:]}{n:03d}"
        known = {"phone_number_id": number_id, "waba_id": waba_id, "display_phone_number": display}
        stage.meta.post("/_sandbox/numbers", {**known, "mps": mps})
        stage.api.post("/api/v1/phone-numbers", {**known, "access_token": "a-token", "max_mps": mps})
    stage.api.post("/api/v1/templates/sync")


def template(stage: Stage, waba_id: str, name: str) -> dict[str, Any]:
    """Return a template of an account as the API shows it."""
    items = stage.api.get("/api/v1/templates?limit=500")["items"]
    found: dict[str, Any] = next(one for one in items if (one["waba_id"], one["name"]) == (waba_id, name))
    return found


def campaign(stage: Stage, template_ids: list[int], ids: list[str], people: int, **more: Any) -> int:
    """Make a ready campaign. Its people are its own: their phones begin with the campaign's id."""
    body = {"name": "c", "template_ids": template_ids, "phone_number_ids": ids, "variables": TEXTS, **more}
    campaign_id = int(stage.api.post("/api/v1/campaigns", body)["id"])
    lines = ["phone,first_name"] + [f"+49151{campaign_id % 1000:03d}{n:05d},Ana{n}" for n in range(people)]
    path = f"/api/v1/campaigns/{campaign_id}"
    status, made = ask(stage, "POST", f"{path}/contacts", "\n".join(lines).encode(), Content_Type="text/csv")
    assert status == 202, made
    until(lambda: stage.api.get(f"{path}/imports/{made['id']}")["state"] == "done", "the import")
    return campaign_id


def start(stage: Stage, campaign_id: int) -> None:
    """Press start."""
    stage.api.post(f"/api/v1/campaigns/{campaign_id}/start")


def stats(stage: Stage, campaign_id: int) -> dict[str, Any]:
    """How it stands."""
    found: dict[str, Any] = stage.api.get(f"/api/v1/campaigns/{campaign_id}/stats")
    return found


def completed(stage: Stage, campaign_id: int, *, timeout_s: float = DEADLINE_S) -> dict[str, Any]:
    """Wait for the end; return the stats. Fails with the stats if it doesn't come."""
    deadline = time.monotonic() + timeout_s
    while (now := stats(stage, campaign_id))["state"] != "completed":
        assert time.monotonic() < deadline, now
        sleep_ms(200)
    return now


def accepted(stage: Stage, campaign_id: int) -> list[dict[str, Any]]:
    """What Meta accepted for the campaign's people, and that nobody got it twice."""
    begin = f"+49151{campaign_id % 1000:03d}"
    rows = [json.loads(line) for line in stage.meta.lines("/_sandbox/ledger")]
    ours = [row for row in rows if row["to"].startswith(begin)]
    twice = [to for to, count in Counter(row["to"] for row in ours).items() if count > 1]
    assert twice == []
    return ours


def remove_rules(stage: Stage) -> None:
    """Let nothing go wrong any more that a rule of the sandbox asked for."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.sandbox_port, timeout=DEADLINE_S)
    try:
        connection.request("DELETE", "/_sandbox/rules")
        assert connection.getresponse().status == 200
    finally:
        connection.close()
