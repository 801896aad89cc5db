"""Doubts, retry and send windows over HTTP: bodies, scopes, the page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from tests.support.builders import ACampaign, a_campaign, a_sender, claimed
from tests.support.running import PIN, running_node
from titanflow.http.app import create_app
from titanflow.http.context import Context
from titanflow.http.web import sessions
from titanflow.services import tokens
from titanflow.storage.database import Database
from titanflow.storage.settlements import Settlement, settle

_WINDOW = {"timezone": "Europe/Berlin", "days": ["mon", "tue"], "from": "09:00", "to": "20:00"}


@pytest.fixture
def doubted(db: Database) -> ACampaign:
    """A paused campaign with two messages in doubt and one that has failed."""
    campaign = a_campaign(db, contacts=3)
    one, two, three = claimed(db, campaign, a_sender(db, campaign.number_id))
    outcomes = [
        Settlement(one.log_id or 0, 1, "in_doubt", error_detail="ReadTimeout: <b>no</b> answer"),
        Settlement(two.log_id or 0, 1, "in_doubt", error_code=131016, error_detail="131016: down"),
        Settlement(three.log_id or 0, 1, "failed", error_code=131008, error_detail="131008: missing"),
    ]
    settle(db, outcomes, node_id=1)
    with db.connection() as connection:
        connection.execute("UPDATE campaigns SET state = 'paused', state_by = 'ana', name = 'Spring <sale>'")
    return campaign


@pytest.fixture
def client(
    db: Database, doubted: ACampaign, database_url: str, redis_url: str, tmp_path: Path
) -> Iterator[falcon.testing.TestClient]:
    with running_node(database_url, redis_url, tmp_path) as node:
        app = create_app(Context(node.settings, node.db, node.fast_copy, node.vault, node.root))
        yield falcon.testing.TestClient(app, headers={"Authorization": f"Bearer {tokens.create(db, 'ana', 'send')}"})


def test_doubts_are_listed_and_resolved(client: falcon.testing.TestClient, doubted: ACampaign) -> None:
    path = f"/api/v1/campaigns/{doubted.id}/doubts"
    first = client.simulate_get(path, params={"limit": 1}).json
    second = client.simulate_get(path, params={"limit": 1, "cursor": first["next_cursor"]}).json

    assert (first["total"], len(first["items"]), len(second["items"])) == (2, 1, 1)
    assert set(first["items"][0]) == {
        "log_id", "contact_id", "phone", "attempt", "phone_number_id", "template", "since", "age_seconds",
        "error_code", "evidence", "expect",
    }  # fmt: skip
    told = client.simulate_post(f"{path}/resolve", json={"log_ids": [first["items"][0]["log_id"]], "as": "failed"}).json
    assert told == {"id": doubted.id, "state": "paused", "resolved": 1, "in_doubt": 1}
    told = client.simulate_post(f"{path}/resolve", json={"all_older_than_hours": 0, "as": "resend"}).json
    assert told == {"id": doubted.id, "state": "paused", "resolved": 1, "in_doubt": 0}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"as": "sent"},
        {"log_ids": [1]},
        {"log_ids": [], "as": "sent"},
        {"log_ids": [0], "as": "sent"},
        {"log_ids": [2**63], "as": "sent"},
        {"log_ids": ["1"], "as": "sent"},
        {"log_ids": [1], "all_older_than_hours": 1, "as": "sent"},
        {"log_ids": [1], "as": "delivered"},
        {"log_ids": [1], "as_": "sent"},
        {"all_older_than_hours": -1, "as": "sent"},
    ],
)
def test_a_word_that_is_not_clear_is_refused(
    client: falcon.testing.TestClient, doubted: ACampaign, body: dict[str, Any]
) -> None:
    answer = client.simulate_post(f"/api/v1/campaigns/{doubted.id}/doubts/resolve", json=body)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_input")


def test_reading_is_not_enough_to_resolve_or_retry(
    client: falcon.testing.TestClient, db: Database, doubted: ACampaign
) -> None:
    weak = {"Authorization": f"Bearer {tokens.create(db, 'reader', 'read')}"}
    path = f"/api/v1/campaigns/{doubted.id}"
    assert client.simulate_get(f"{path}/doubts", headers=weak).status_code == 200
    body = {"log_ids": [1], "as": "sent"}
    assert client.simulate_post(f"{path}/doubts/resolve", json=body, headers=weak).status_code == 403
    assert client.simulate_post(f"{path}/retry", json={}, headers=weak).status_code == 403


def test_a_retry_without_and_with_codes(client: falcon.testing.TestClient, doubted: ACampaign) -> None:
    path = f"/api/v1/campaigns/{doubted.id}/retry"
    named = client.simulate_post(path, json={"codes": [131026, "unknown"]}).json
    assert (named["retrying"], named["not_retried"]["131008"]["count"]) == (0, 1)
    answer = client.simulate_post(path)
    assert (answer.status_code, answer.json["state"], answer.json["retrying"]) == (200, "paused", 1)
    assert answer.json["not_retried"] == {}
    bad_bodies: list[dict[str, Any]] = [{"codes": []}, {"codes": [2**31]}, {"codes": ["all"]}, {"code": 1}]
    for bad in bad_bodies:
        assert client.simulate_post(path, json=bad).status_code == 422
    assert client.simulate_post("/api/v1/campaigns/99999/retry").status_code == 404


def test_the_page_shows_the_evidence_to_whoever_is_logged_in(
    client: falcon.testing.TestClient, doubted: ACampaign
) -> None:
    path = f"/campaigns/{doubted.id}/doubts"
    assert client.simulate_get(path).status_code == 303
    signed_in = client.simulate_post("/login", body=f"pin={PIN}")
    cookie = {"Cookie": f"{sessions.COOKIE}={signed_in.cookies[sessions.COOKIE].value}"}
    page = client.simulate_get(path, headers=cookie)
    assert page.status_code == 200
    assert "Spring &lt;sale&gt;: 2 in doubt" in page.text
    assert "ReadTimeout: &lt;b&gt;no&lt;/b&gt; answer" in page.text
    assert "never_resend" in page.text
    assert doubted.phones[0] in page.text


def test_a_window_and_a_policy_are_kept_as_given(client: falcon.testing.TestClient) -> None:
    given = {"name": "c", "send_window": _WINDOW, "doubt_policy": {"resend_after_hours": 6}}
    made = client.simulate_post("/api/v1/campaigns", json=given).json
    assert (made["send_window"], made["doubt_policy"]) == (_WINDOW, {"resend_after_hours": 6})
    ranges = {"timezone": "UTC", "ranges": [{"days": ["sat"], "from": "22:00", "to": "02:00"}]}
    changed = client.simulate_patch(f"/api/v1/campaigns/{made['id']}", json={"send_window": ranges}).json
    assert (changed["send_window"], changed["doubt_policy"]) == (ranges, {"resend_after_hours": 6})
    changed = client.simulate_patch(
        f"/api/v1/campaigns/{made['id']}", json={"send_window": None, "doubt_policy": "never_resend"}
    ).json
    assert (changed["send_window"], changed["doubt_policy"]) == (None, "never_resend")


@pytest.mark.parametrize(
    "change",
    [
        {"send_window": {}},
        {"send_window": {**_WINDOW, "timezone": "Mars/Olympus"}},
        {"send_window": {**_WINDOW, "timezone": "../../etc/passwd"}},
        {"send_window": {**_WINDOW, "days": []}},
        {"send_window": {**_WINDOW, "days": ["monday"]}},
        {"send_window": {**_WINDOW, "from": "9"}},
        {"send_window": {**_WINDOW, "to": "09:00"}},
        {"send_window": {**_WINDOW, "ranges": [{"days": ["mon"], "from": "01:00", "to": "02:00"}]}},
        {"send_window": {"timezone": "UTC", "ranges": []}},
        {"doubt_policy": "always"},
        {"doubt_policy": {"resend_after_hours": 0}},
        {"doubt_policy": {"resend_after_hours": 1.5}},
        {"doubt_policy": None},
    ],
)
def test_windows_and_policies_that_make_no_sense_are_refused(
    client: falcon.testing.TestClient, change: dict[str, Any]
) -> None:
    answer = client.simulate_post("/api/v1/campaigns", json={"name": "c", **change})
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_input")
    assert answer.json["errors"]
