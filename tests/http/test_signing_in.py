"""Signing in by PIN: guesses are slow and costly, sessions end, and no other site can act for a signed-in browser."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from tests.support.servers import short_folder
from tests.support.visitors import Visitor, signed_in
from titanflow.cli.stage import Stage
from titanflow.storage import web_sessions
from titanflow.storage.database import Database


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with short_folder() as folder:
        made = Stage(folder / "data", speed=10, environment={"WEB_CONCURRENCY": "2"})
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.fixture(autouse=True)
def _forget_everybody(stage: Stage) -> None:
    with redis.Redis.from_url(stage.servers.urls.redis_url) as client:
        client.delete("titanflow:logins:everybody")


def _from(stage: Stage, address: str) -> Visitor:
    return Visitor(stage.port, {"X-Forwarded-For": address})


def _sql(stage: Stage, statement: Any) -> None:
    database = Database(stage.database_url, pool_size=1)
    with database.connection() as connection:
        connection.execute(statement)
    database.close()


def test_the_sixth_try_of_an_address_waits_over_all_processes_and_knows_how_long(stage: Stage) -> None:
    visitor = _from(stage, "203.0.113.1")
    for _ in range(5):
        assert visitor.submit("/login", {"pin": "wrong"}).status == 401

    locked = visitor.submit("/login", {"pin": stage.pin})  # now even the right one

    assert locked.status == 429
    assert 50 < int(locked.headers["retry-after"]) <= 60
    assert b"Too many wrong PINs. Try again in " in locked.body
    assert _from(stage, "203.0.113.2").submit("/login", {"pin": stage.pin}).status == 303


def test_guesses_at_the_same_moment_count_one_by_one(stage: Stage) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: _from(stage, "203.0.113.3").submit("/login", {"pin": "wrong"}), range(12)))

    assert sum(one.status == 401 for one in answers) <= 5
    assert {one.status for one in answers} <= {401, 429}


def test_an_untrusted_neighbour_cant_hide_behind_made_up_addresses(stage: Stage) -> None:
    answers = [_from(stage, f"198.51.100.{n}, 203.0.113.4").submit("/login", {"pin": "wrong"}).status for n in range(6)]

    assert answers == [401] * 5 + [429]


def test_a_login_gives_a_new_session_and_the_cookie_is_out_of_reach_of_scripts_and_other_sites(stage: Stage) -> None:
    visitor = _from(stage, "203.0.113.10")
    visitor.cookies["titanflow_session"] = planted = "p" * 43
    answer = visitor.submit("/login", {"pin": stage.pin})

    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(answer.headers["set-cookie"].split("; "))
    assert "Secure" not in answer.headers["set-cookie"]
    assert visitor.cookies["titanflow_session"] != planted
    first = dict(visitor.cookies)
    visitor.submit("/login", {"pin": stage.pin})
    assert visitor.ask("GET", "/").status == 200
    assert Visitor(stage.port, cookies=first).ask("GET", "/").headers["location"] == "/login"

    secure = _from(stage, "203.0.113.10").submit("/login", {"pin": stage.pin}, X_Forwarded_Proto="https")
    assert "Secure" in secure.headers["set-cookie"]
    assert secure.headers["strict-transport-security"].startswith("max-age=")


@pytest.mark.parametrize(
    ("statement", "alive"),
    [
        ("UPDATE web_sessions SET last_seen_at = now() - interval '29 minutes'", True),
        ("UPDATE web_sessions SET last_seen_at = now() - interval '30 minutes'", False),
        ("UPDATE web_sessions SET created_at = now() - interval '11 hours 59 minutes'", True),
        ("UPDATE web_sessions SET created_at = now() - interval '12 hours'", False),
    ],
)
def test_a_session_ends_when_it_is_idle_or_old(stage: Stage, statement: str, alive: bool) -> None:
    visitor = signed_in(stage.port, stage.pin, X_Forwarded_For="203.0.113.11")

    _sql(stage, statement)

    assert visitor.ask("GET", "/api/v1/campaigns").status == (200 if alive else 401)
    assert visitor.ask("GET", "/").status == (200 if alive else 303)


def test_signing_out_ends_this_session_or_all_of_them(stage: Stage) -> None:
    here, there = (signed_in(stage.port, stage.pin, X_Forwarded_For="203.0.113.12") for _ in range(2))
    third = signed_in(stage.port, stage.pin, X_Forwarded_For="203.0.113.12")
    cookie = dict(here.cookies)

    assert here.submit("/logout", {"csrf_token": here.csrf_token()}).headers["location"] == "/login"

    assert Visitor(stage.port, cookies=cookie).ask("GET", "/").status == 303
    assert there.ask("GET", "/").status == 200
    there.submit("/logout", {"csrf_token": there.csrf_token(), "everywhere": "1"})
    assert {one.ask("GET", "/").status for one in (there, third)} == {303}


def test_what_a_cookie_changes_needs_the_pages_token_and_our_own_origin(stage: Stage) -> None:
    visitor = signed_in(stage.port, stage.pin, X_Forwarded_For="203.0.113.13")
    other = signed_in(stage.port, stage.pin, X_Forwarded_For="203.0.113.13")
    token, host = visitor.csrf_token(), f"127.0.0.1:{stage.port}"

    def post(**headers: str) -> tuple[int, str]:
        answer = visitor.ask("POST", "/api/v1/campaigns", {"name": "c"}, **headers)
        return answer.status, answer.json.get("code", "")

    assert post() == (403, "csrf")
    assert post(X_CSRF_Token=other.csrf_token()) == (403, "csrf")
    assert post(X_CSRF_Token=token, Origin="https://evil.example") == (403, "csrf")
    assert post(X_CSRF_Token=token, Origin="null") == (403, "csrf")
    assert post(X_CSRF_Token=token, Sec_Fetch_Site="cross-site") == (403, "csrf")
    assert post(X_CSRF_Token=token, Origin=f"http://{host}", Sec_Fetch_Site="same-origin") == (201, "")
    assert post(X_CSRF_Token=token, Origin=f"http://{host}") == (201, "")
    assert post(X_CSRF_Token=token) == (201, "")
    assert visitor.submit("/logout", {}).status == 403
    assert visitor.submit("/logout", {"csrf_token": token}, Origin="https://evil.example").status == 403
    assert visitor.ask("GET", "/").status == 200


def test_another_sites_page_cant_use_up_somebodys_tries(stage: Stage) -> None:
    visitor = _from(stage, "203.0.113.14")
    for _ in range(8):
        assert visitor.submit("/login", {"pin": "wrong"}, Origin="https://evil.example").status == 403

    assert visitor.submit("/login", {"pin": stage.pin}).status == 303


def test_a_login_and_what_its_session_does_are_kept(stage: Stage) -> None:
    visitor = signed_in(stage.port, stage.pin, X_Forwarded_For="203.0.113.15")
    visitor.ask("POST", "/api/v1/campaigns", {"name": "kept"}, X_CSRF_Token=visitor.csrf_token())

    kept = visitor.ask("GET", "/api/v1/audit-log?who=web%20session&limit=2").json["items"]

    assert [one["what"] for one in kept] == ["POST /campaigns", "sign in"]
    assert {one["detail"]["address"] for one in kept} == {"203.0.113.15"}


def test_without_redis_each_process_still_counts(stage: Stage) -> None:
    stage.servers.kill_redis()
    began, wrong = time.monotonic(), 0
    try:
        while _from(stage, "203.0.113.20").submit("/login", {"pin": "wrong"}).status == 401:
            wrong += 1
            assert wrong <= 10 * (1 + (time.monotonic() - began) // 60)  # five a minute in each of two processes
    finally:
        stage.servers.mend()

    assert wrong >= 5


def test_a_long_form_is_refused(stage: Stage) -> None:
    assert _from(stage, "203.0.113.21").submit("/login", {"pin": "1" * 5000}).status == 413


def test_over_sessions_are_buried_by_the_next_login(stage: Stage) -> None:
    _sql(stage, "UPDATE web_sessions SET last_seen_at = now() - interval '1 day'")

    signed_in(stage.port, stage.pin, X_Forwarded_For="203.0.113.22")

    database = Database(stage.database_url, pool_size=1)
    assert web_sessions.end_all(database) == 1
    database.close()


def test_many_addresses_that_guess_together_are_stopped_together(stage: Stage) -> None:
    """The last test: the processes remember it for a minute."""
    answers = [_from(stage, f"192.0.2.{n}").submit("/login", {"pin": "wrong"}).status for n in range(40)]

    assert 429 in answers
    assert answers.count(401) <= 30
    assert "pin_guessed" in {one["kind"] for one in stage.api.get("/api/v1/alarms")["items"]}
