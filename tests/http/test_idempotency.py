"""Idempotency-Key: a request that is sent again is carried out once, and answered as the first time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.in_process_api import Api, an_api
from titanflow.services import tokens
from titanflow.supervision import Event, spawn_plain

_CAMPAIGN = {"name": "spring"}


@pytest.fixture
def api(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Api]:
    with an_api(database_url, redis_url, tmp_path, with_node=True) as made:
        yield made


def _post(api: Api, path: str, body: Any, key: str = "k1", **more: Any) -> Any:
    return api.ask("POST", path, body, Idempotency_Key=key, **more)


def _campaigns(api: Api) -> int:
    return int(api.ask("GET", "/campaigns").json["total"])


def test_sent_again_it_is_carried_out_once_and_answered_the_same(api: Api) -> None:
    first, again = _post(api, "/campaigns", _CAMPAIGN), _post(api, "/campaigns", _CAMPAIGN)

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json == again.json
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert _campaigns(api) == 1


@pytest.mark.parametrize(
    ("path", "body"), [("/campaigns", {"name": "autumn"}), ("/campaigns?x=1", _CAMPAIGN), ("/templates/sync", None)]
)
def test_another_request_with_the_same_key_is_409(api: Api, path: str, body: Any) -> None:
    _post(api, "/campaigns", _CAMPAIGN)

    answer = _post(api, path, body)

    assert (answer.status_code, answer.json["code"]) == (409, "idempotency_key_reused")
    assert _campaigns(api) == 1


def test_a_key_belongs_to_its_token(api: Api) -> None:
    other = tokens.create(api.db, "other", "send")
    _post(api, "/campaigns", _CAMPAIGN)

    assert _post(api, "/campaigns", {"name": "mine"}, token=other).status_code == 201
    assert _campaigns(api) == 2


def test_a_request_that_was_refused_leaves_its_key_free(api: Api) -> None:
    assert _post(api, "/campaigns", {"name": ""}).status_code == 422
    assert _post(api, "/campaigns", _CAMPAIGN).status_code == 201


def test_a_second_one_under_way_is_told_to_wait(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from titanflow.services import campaigns

    entered, go_on, create = Event(), Event(), campaigns.create

    def slowly(*given: Any, **named: Any) -> Any:
        entered.set()
        assert go_on.wait(20)
        return create(*given, **named)

    monkeypatch.setattr(campaigns, "create", slowly)
    first: list[Any] = []
    running = spawn_plain(lambda: first.append(_post(api, "/campaigns", _CAMPAIGN)))
    assert entered.wait(20)

    second = _post(api, "/campaigns", _CAMPAIGN)
    go_on.set()
    assert running.join(20)

    assert (second.status_code, second.json["code"], second.headers["Retry-After"]) == (409, "in_progress", "1")
    assert first[0].status_code == 201
    assert _post(api, "/campaigns", _CAMPAIGN).json == first[0].json


def test_a_process_that_died_half_way_leaves_no_key_that_answers(api: Api) -> None:
    with api.db.connection() as connection:
        connection.execute(
            "INSERT INTO nodes (id, host, pid, process, version, expires_at)"
            " VALUES (-1, 'h', 1, 'p', 'v', now() - interval '1 second')"
        )
        connection.execute("INSERT INTO idempotency_keys (owner, key, node_id) VALUES ('token 1', 'k1', -1)")

    assert _post(api, "/campaigns", _CAMPAIGN).status_code == 201
    assert _campaigns(api) == 1


def test_an_upload_is_hashed_while_it_comes(api: Api) -> None:
    campaign_id = _post(api, "/campaigns", _CAMPAIGN, "made").json["id"]
    lines = ["phone,name", *(f"+4915{n:09d},{'x' * 60}" for n in range(20_000))]
    body, path = "\n".join(lines).encode(), f"/campaigns/{campaign_id}/contacts"
    assert len(body) > 1024 * 1024

    first = _post(api, path, body, Content_Type="text/csv")
    again = _post(api, path, body, Content_Type="text/csv")
    other = _post(api, path, body + b"\n", Content_Type="text/csv")

    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 409), first.text
    assert (again.json, again.headers["Location"]) == (first.json, first.headers["Location"])
    with api.db.connection() as connection:
        assert connection.execute("SELECT count(*) FROM imports").fetchone() == (1,)


def test_answers_are_kept_for_a_day_encrypted_and_swept_by_whoever_comes(api: Api) -> None:
    made = _post(api, "/tokens", {"name": "t", "scope": "read"})
    secret = made.json["token"]
    with api.db.connection() as connection:
        row = connection.execute("SELECT idempotency_keys::text FROM idempotency_keys").fetchone()
        connection.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")

    _post(api, "/campaigns", _CAMPAIGN, "another")

    assert row is not None
    assert secret not in row[0]
    assert secret.encode().hex() not in row[0]
    with api.db.connection() as connection:
        assert connection.execute("SELECT array_agg(key) FROM idempotency_keys").fetchone() == (["another"],)
    assert _post(api, "/tokens", {"name": "t", "scope": "read"}).json["token"] != secret


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
def test_a_key_that_is_none_is_422(api: Api, key: str) -> None:
    assert _post(api, "/campaigns", _CAMPAIGN, key).json["code"] == "invalid_input"


def test_only_posts_have_keys(api: Api) -> None:
    assert json.loads(api.ask("GET", "/campaigns", Idempotency_Key="k1").text)["total"] == 0
