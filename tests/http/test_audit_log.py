"""Who did what: every request that may change something is kept, by whom and how it ended."""

import json
import time
from typing import Any

from tests.support.asking import ask
from titanflow.cli.stage import Stage


def _entries(stage: Stage, **filters: str) -> list[dict[str, Any]]:
    query = "&".join(f"{key}={value}" for key, value in filters.items())
    items: list[dict[str, Any]] = stage.api.get(f"/api/v1/audit-log?limit=200&{query}")["items"]
    return items


def test_changes_are_kept_with_their_token_and_outcome_and_reads_are_not(stage: Stage) -> None:
    secret = {"phone_number_id": "3001", "waba_id": "9001", "access_token": "secret-token-value"}
    token = ask(stage, "POST", "/api/v1/tokens", {"name": "crm", "scope": "admin"})[1]["token"]
    ask(stage, "POST", "/api/v1/phone-numbers", secret, token=token)
    campaign_id = ask(stage, "POST", "/api/v1/campaigns", {"name": "c"}, token=token)[1]["id"]
    ask(stage, "POST", f"/api/v1/campaigns/{campaign_id}/start", token=token)
    ask(stage, "GET", "/api/v1/campaigns", token=token)
    ask(stage, "POST", "/api/v1/campaigns", b"{", token=token)
    ask(stage, "DELETE", f"/api/v1/campaigns/{campaign_id}", token=token)

    mine = _entries(stage, who="token%202")

    assert [(one["what"], one["target"], one["outcome"]) for one in reversed(mine)] == [
        ("POST /phone-numbers", "/phone-numbers", "done"),
        ("POST /campaigns", "/campaigns", "done"),
        ("POST /campaigns/{campaign_id}/start", f"/campaigns/{campaign_id}/start", "refused"),
        ("POST /campaigns", "/campaigns", "refused"),
        ("DELETE /campaigns/{campaign_id}", f"/campaigns/{campaign_id}", "done"),
    ]
    assert {one["who"] for one in mine} == {"token 2 (crm)"}
    assert mine[2]["detail"]["code"] == "no_template"
    assert mine[4]["detail"]["fields"] == ["access_token", "phone_number_id", "waba_id"]
    assert "secret-token-value" not in json.dumps(mine)


def test_the_log_is_for_admins_and_comes_in_pages_and_by_filters(stage: Stage) -> None:
    weak = ask(stage, "POST", "/api/v1/tokens", {"name": "weak", "scope": "send"})[1]["token"]
    for name in ("a", "b", "c"):
        ask(stage, "POST", "/api/v1/campaigns", {"name": name}, token=weak)

    assert ask(stage, "GET", "/api/v1/audit-log", token=weak)[0] == 403
    first = stage.api.get("/api/v1/audit-log?limit=2&what=POST%20/campaigns")
    second = stage.api.get(f"/api/v1/audit-log?limit=2&what=POST%20/campaigns&cursor={first['next_cursor']}")
    ids = [one["id"] for one in first["items"] + second["items"]]
    assert len(ids) >= 3
    assert ids == sorted(ids, reverse=True)
    assert first["total"] >= 3
    assert _entries(stage, since="2100-01-01T00:00:00Z") == []
    assert len(_entries(stage, until="2100-01-01T00:00:00Z")) > 3
    assert ask(stage, "GET", "/api/v1/audit-log?since=yesterday")[1]["code"] == "invalid_input"
    assert ask(stage, "GET", "/api/v1/audit-log?since=2026-01-01T00:00:00")[0] == 422


def test_a_phone_in_a_path_is_kept_masked(stage: Stage) -> None:
    ask(stage, "POST", "/api/v1/phone-numbers/%2B4915112345678/pause")

    assert _entries(stage)[0]["target"] == "/phone-numbers/+4915...78/pause"


def test_a_token_may_end_by_itself_and_its_revocation_counts_within_a_second(stage: Stage) -> None:
    made = ask(stage, "POST", "/api/v1/tokens", {"name": "guest", "scope": "read", "expires_in_days": 1})[1]
    assert ask(stage, "GET", "/api/v1/campaigns", token=made["token"])[0] == 200
    listed = next(one for one in stage.api.get("/api/v1/tokens")["items"] if one["name"] == "guest")
    assert listed["expires_at"] == made["expires_at"]
    assert listed["last_used_at"] is not None

    ask(stage, "DELETE", f"/api/v1/tokens/{listed['id']}")
    time.sleep(1.0)  # the promise is about wall time

    assert ask(stage, "GET", "/api/v1/campaigns", token=made["token"])[0] == 401


def test_names_that_can_not_be_kept_or_shown_cost_nothing(stage: Stage) -> None:
    """A NUL in the name of a field was a 500, after the request had been refused."""
    status, problem, _ = ask(stage, "PUT", "/api/v1/settings/opt-out", {"\x00\x07evil": True})

    assert (status, problem["code"]) == (422, "invalid_input")
    _, listed, _ = ask(stage, "GET", "/api/v1/audit-log?limit=1")
    assert listed["items"][0]["detail"]["fields"] == ["??evil"]
