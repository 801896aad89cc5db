"""The API on a real server: what clients and Meta get, above all for bad input."""

import gzip
import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from tests.support.asking import ask
from titanflow.cli.api_client import ApiClient
from titanflow.cli.stage import Stage
from titanflow.services import tokens
from titanflow.storage.database import Database


def _campaign(stage: Stage, **more: Any) -> int:
    return int(stage.api.post("/api/v1/campaigns", {"name": "c", **more})["id"])


def _number(stage: Stage, number_id: str) -> dict[str, Any]:
    body = {"phone_number_id": number_id, "waba_id": "900000001", "access_token": "secret-token-value"}
    made: dict[str, Any] = stage.api.post("/api/v1/phone-numbers", body)
    return made


def test_without_token_is_401_and_a_weak_token_403(stage: Stage) -> None:
    database = Database(stage.database_url, pool_size=1)
    weak = tokens.create(database, "weak", "read")
    database.close()

    assert ask(stage, "GET", "/api/v1/campaigns", token="")[0] == 401
    assert ask(stage, "GET", "/api/v1/campaigns", token="tf_wrong")[0] == 401
    assert ask(stage, "GET", "/api/v1/campaigns", token=weak)[0] == 200
    status, problem, _ = ask(stage, "POST", "/api/v1/campaigns", b'{"name": "x"}', token=weak)
    assert (status, problem["code"]) == (403, "forbidden")


def test_every_route_needs_a_token_but_the_public_ones(stage: Stage) -> None:
    paths = ("/phone-numbers", "/templates", "/campaigns/1/stats", "/supervision", "/nodes", "/tokens")
    assert {ask(stage, "GET", f"/api/v1{path}", token="")[0] for path in paths} == {401}
    assert ask(stage, "GET", "/health/live", token="")[0] == 200
    assert ask(stage, "GET", "/health/ready", token="")[0] == 200
    assert ask(stage, "GET", "/metrics", token="")[0] == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 422, "invalid_input"),
        (b'{"name": ""}', 422, "invalid_input"),
        (b'{"name": "x", "unknown": 1}', 422, "invalid_input"),
        (b'{"name": "x", "send_window": {}}', 422, "invalid_input"),
        (b'{"name": "x", "media": {"link": "http://example.com/a.png"}}', 422, "invalid_input"),
        (b'{"name": "x", "media": {"link": "https://169.254.169.254/a.png"}}', 422, "invalid_input"),
        (b'{"name": "x", "media": {"link": "https://u:p@example.com/a.png"}}', 422, "invalid_input"),
        (b'{"name": "x", "variables": {"header.link": {"value": "https://localhost/a"}}}', 422, "invalid_input"),
        (b'{"name": "x", "variables": {"header.link": {"column": "a", "default": "ftp://b.c"}}}', 422, "invalid_input"),
        (b'{"name": "x", "variables": {"nonsense": {"value": "1"}}}', 422, "invalid_input"),
        (b'{"name": "x", "template_ids": [99999]}', 422, "unknown_template"),
        (b'{"name": "x", "phone_number_ids": ["99999"]}', 422, "unknown_number"),
        (b'{"name": "' + b"x" * 1_100_000 + b'"}', 413, "too_large"),
    ],
)
def test_bad_bodies_are_refused_in_words(stage: Stage, body: bytes, status: int, code: str) -> None:
    answered, problem, headers = ask(stage, "POST", "/api/v1/campaigns", body)
    assert (answered, problem["code"]) == (status, code)
    assert headers["content-type"] == "application/problem+json"


def test_what_is_not_there_is_404_as_a_problem(stage: Stage) -> None:
    assert ask(stage, "GET", "/api/v1/campaigns/99999")[1]["code"] == "campaign_not_found"
    assert ask(stage, "GET", "/api/v1/nonsense")[0] == 404
    assert ask(stage, "DELETE", "/api/v1/campaigns")[0] == 405


def test_an_access_token_is_never_shown(stage: Stage) -> None:
    made = _number(stage, "2001")
    assert "access_token" not in made
    assert "secret-token-value" not in json.dumps(stage.api.get("/api/v1/phone-numbers"))
    again = json.dumps({"phone_number_id": "2001", "waba_id": "1", "access_token": "x"}).encode()
    assert ask(stage, "POST", "/api/v1/phone-numbers", again)[1]["code"] == "number_exists"


def test_a_start_says_all_that_is_missing(stage: Stage) -> None:
    status, problem, _ = ask(stage, "POST", f"/api/v1/campaigns/{_campaign(stage)}/start")
    assert status == 409
    assert problem["missing"] == ["no_template", "no_number", "no_contacts"]


def test_a_wrong_change_of_state_says_what_would_be_right(stage: Stage) -> None:
    status, problem, _ = ask(stage, "POST", f"/api/v1/campaigns/{_campaign(stage)}/resume")
    assert (status, problem["code"]) == (409, "wrong_state")
    assert "paused" in problem["detail"]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"name,city\nA,B\n", 1),
        (b"phone,name\n+491,a\n+492,\xff\n", 3),
        (b"\x7fELF\x00", 1),
        (b"phone\n" + b"1" * 70000, 2),
    ],
)
def test_a_bad_list_is_422_with_its_line_and_nothing_is_left(stage: Stage, data: bytes, line: int) -> None:
    campaign_id = _campaign(stage)
    status, problem, _ = ask(stage, "POST", f"/api/v1/campaigns/{campaign_id}/contacts", data)
    assert (status, problem["code"], problem["line"]) == (422, "invalid_csv", line)
    assert stage.api.get(f"/api/v1/campaigns/{campaign_id}")["state"] == "draft"
    assert list((stage.data_dir / "uploads").glob("*.csv")) == []


def test_a_gzipped_list_with_duplicates_and_rejects(stage: Stage) -> None:
    campaign_id = _campaign(stage, default_country="DE")
    rows = b"Mobile;first name\n0151 00001234;Ana\n+4915100001234;Bo\n\n12;Cy\n+4915100001235;Di\nx\n"
    imported = json.loads(json.dumps(ask(
        stage, "POST", f"/api/v1/campaigns/{campaign_id}/contacts", gzip.compress(rows))[1]))  # fmt: skip
    for _ in range(200):
        imported = stage.api.get(f"/api/v1/campaigns/{campaign_id}/imports/{imported['id']}")
        if imported["state"] != "running":
            break
        time.sleep(0.05)

    figures = {key: imported[key] for key in ("state", "rows", "accepted", "duplicates", "rejected", "by_reason")}
    assert figures == {
        "state": "done",
        "rows": 5,
        "accepted": 2,
        "duplicates": 1,
        "rejected": 2,
        "by_reason": {"invalid_number": 1, "wrong_column_count": 1},
    }
    assert [(one["line"], one["reason"]) for one in imported["first_errors"]] == [
        (5, "invalid_number"),
        (7, "wrong_column_count"),
    ]
    stats = stage.api.get(f"/api/v1/campaigns/{campaign_id}/stats")
    assert (stats["state"], stats["total"], stats["counts"]["pending"]) == ("ready", 2, 2)
    rows_shown = stage.api.get(f"/api/v1/campaigns/{campaign_id}/messages?state=pending")
    assert [one["phone"] for one in rows_shown["items"]] == ["+4915100001234", "+4915100001235"]
    cancelled = stage.api.post(f"/api/v1/campaigns/{campaign_id}/cancel")
    assert cancelled == {"id": campaign_id, "state": "cancelled"}
    audit = stage.api.get(f"/api/v1/campaigns/{campaign_id}/audit")
    assert (audit["counts"]["cancelled"], audit["counter_drift"], audit["balanced"]) == (2, 0, True)


def test_webhooks_need_the_right_signature(stage: Stage) -> None:
    body = b'{"entry": []}'
    path = "/api/webhooks/whatsapp"
    right = "sha256=" + hmac.new(stage._app_secret.encode(), body, hashlib.sha256).hexdigest()

    assert ask(stage, "POST", path, body, token="", X_Hub_Signature_256=right)[0] == 200
    assert ask(stage, "POST", path, body + b" ", token="", X_Hub_Signature_256=right)[0] == 401
    assert ask(stage, "POST", "/api/webhooks", body, token="")[0] == 401
    assert ask(stage, "POST", path, b"x" * (3 * 2**20 + 1), token="")[0] == 413


def test_metas_handshake(stage: Stage) -> None:
    path = "/api/webhooks/whatsapp?hub.mode=subscribe&hub.challenge=115&hub.verify_token="
    assert ask(stage, "GET", path + "demo", token="")[:2] == (200, b"115")
    assert ask(stage, "GET", path + "wrong", token="")[0] == 403


def test_the_status_page_needs_the_pin(stage: Stage) -> None:
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    assert ask(stage, "GET", "/", token="")[0] == 303
    assert ask(stage, "POST", "/login", b"pin=wrong", token="", **form)[0] == 401
    status, _, headers = ask(stage, "POST", "/login", b"pin=" + stage.pin.encode(), token="", **form)
    assert status == 303
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    status, page, headers = ask(stage, "GET", "/", token="", Cookie=cookie.split(";")[0])
    assert status == 200
    assert b"status.js" in page
    assert "unsafe-inline" not in headers["content-security-policy"]
    assert ask(stage, "GET", "/api/v1/campaigns", token="", Cookie=cookie.split(";")[0])[0] == 200
    assert ask(stage, "POST", "/api/v1/campaigns", b"{}", token="", Cookie=cookie.split(";")[0])[1]["code"] == "csrf"


def test_the_supervision_tree_can_be_looked_at(stage: Stage) -> None:
    tree = stage.api.get("/api/v1/supervision")
    assert "reconciler" in json.dumps(tree)
    assert stage.api.get("/api/v1/nodes")["total"] == 1


def test_an_unreachable_server_is_said_in_words() -> None:
    with pytest.raises(Exception, match="can't be reached"):
        ApiClient("http://127.0.0.1:9", "x").get("/")
