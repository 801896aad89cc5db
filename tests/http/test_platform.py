"""What holds for every endpoint alike: who may ask, what is refused and how, HEAD, lists, the docs' own commands."""

import http.client
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.http.fuzz import furnish, fuzz
from tests.support import console
from titanflow.cli.stage import Stage
from titanflow.http import openapi
from titanflow.http.app import API_ROUTES
from titanflow.services import tokens
from titanflow.storage.database import Database

_DOCS = Path(__file__).parents[2] / "docs"
_OPERATIONS = [
    (method, openapi.example_path(path), resource.scopes[method])  # type: ignore[attr-defined]
    for path, method, resource, _ in openapi.described(API_ROUTES)
]


@pytest.fixture(scope="module")
def weak(stage: Stage) -> dict[str, str]:
    """A token for each scope."""
    database = Database(stage.database_url, pool_size=1)
    try:
        return {scope: tokens.create(database, scope, scope) for scope in tokens.SCOPES}
    finally:
        database.close()


def _ask(
    stage: Stage, method: str, path: str, body: bytes | None = None, token: str | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=30)
    bearer = stage.token if token is None else token
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, {**given, **({"Authorization": f"Bearer {bearer}"} if bearer else {})})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_nothing_but_what_is_public_answers_without_a_token(stage: Stage) -> None:
    for method, path, scope in _OPERATIONS:
        for token in ("", "tf_wrong", "tf_" + "x" * 43):
            status, headers, _ = _ask(stage, method, path, token=token)
            if scope == "public":
                assert status not in (500, 404), f"{method} {path}"
            else:
                assert (status, headers.get("www-authenticate")) == (401, "Bearer"), f"{method} {path}"


def test_no_scope_reaches_further_than_it_says(stage: Stage, weak: dict[str, str]) -> None:
    for method, path, scope in _OPERATIONS:
        if scope in ("send", "admin"):
            below = tokens.SCOPES[tokens.SCOPES.index(scope) - 1]
            status, _, body = _ask(stage, method, path, token=weak[below])
            assert (status, json.loads(body)["code"]) == (403, "forbidden"), f"{method} {path} as {below}"


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        ("GET", "/api/v1/nonsense", {}, b"", 404, "not_found"),
        ("GET", "/api/v1/campaigns/-1", {}, b"", 404, "not_found"),
        ("GET", "/api/v1/campaigns/0", {}, b"", 404, "not_found"),
        ("GET", "/api/v1/campaigns/1_0", {}, b"", 404, "not_found"),
        ("GET", f"/api/v1/campaigns/{2**63}", {}, b"", 404, "not_found"),
        ("GET", f"/api/v1/campaigns/{2**63 - 1}", {}, b"", 404, "campaign_not_found"),
        ("GET", f"/api/v1/campaigns/{'9' * 3000}", {}, b"", 404, "not_found"),
        ("GET", "/api/v1/phone-numbers/%00", {}, b"", 404, "not_found"),
        ("GET", "/api/v1/phone-numbers/%ff", {}, b"", 404, "not_found"),
        ("GET", "/api/v1/campaigns?limit=-1", {}, b"", 422, "invalid_input"),
        ("GET", "/api/v1/campaigns?limit=1_0", {}, b"", 422, "invalid_input"),
        ("GET", "/api/v1/campaigns?limit=", {}, b"", 422, "invalid_input"),
        ("GET", "/api/v1/campaigns?limit=1&limit=2", {}, b"", 422, "invalid_input"),
        ("GET", "/api/v1/campaigns?cursor=x", {}, b"", 422, "invalid_input"),
        ("GET", "/api/v1/campaigns?stat=failed", {}, b"", 422, "invalid_input"),
        ("GET", "/api/v1/audit-log?since=5", {}, b"", 422, "invalid_input"),
        ("GET", "/api/v1/campaigns?" + "x" * 5000, {}, b"", 414, "uri_too_long"),
        ("GET", "/api/v1/campaigns", {"X_Long": "x" * 20_000}, b"", 431, "headers_too_large"),
        ("GET", "/api/v1/campaigns", {"Accept": "text/html"}, b"", 406, "not_acceptable"),
        ("POST", "/api/v1/campaigns", {"Content_Type": "text/xml"}, b"<a/>", 415, "unsupported_media_type"),
        ("POST", "/api/v1/campaigns", {"Content_Type": "application/json"}, b"{", 400, "invalid_json"),
        ("POST", "/api/v1/campaigns", {}, b'{"name": "\\u0000"}', 422, "invalid_input"),
        ("POST", "/api/v1/campaigns", {}, b'{"name": "\\ud800"}', 400, "invalid_json"),
        ("POST", "/api/v1/campaigns", {}, b'{"name": "x", "dedupe_days": 1e400}', 400, "invalid_json"),
        ("POST", "/api/v1/campaigns", {}, b"[" * 200_000, 400, "invalid_json"),
        ("POST", "/api/v1/campaigns", {}, b'"' + b"x" * 1_100_000 + b'"', 413, "too_large"),
    ],
)
def test_what_is_wrong_is_a_problem_with_a_stable_code(
    stage: Stage, method: str, path: str, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    answered, answer, text = _ask(stage, method, path, body or None, **headers)

    assert (answered, json.loads(text)["code"]) == (status, code)
    assert answer["content-type"] == "application/problem+json"


def test_a_method_that_a_path_has_not_is_405_and_says_which_it_has(stage: Stage) -> None:
    for method in ("PUT", "DELETE", "TRACE", "PROPFIND"):
        status, headers, text = _ask(stage, method, "/api/v1/campaigns")
        assert (status, json.loads(text)["code"]) == (405, "method_not_allowed"), method
        assert {"GET", "POST"} <= {one.strip() for one in headers["allow"].split(",")}


def test_what_is_no_http_is_a_problem_too(stage: Stage) -> None:
    with socket.create_connection(("127.0.0.1", stage.port), timeout=10) as raw:
        raw.sendall(b"NONSENSE\r\n\r\n")
        answer = raw.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 400")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "bad_request"


def test_head_is_get_without_the_body_and_with_the_same_lock(stage: Stage) -> None:
    status, headers, _ = _ask(stage, "GET", "/api/v1/campaigns")
    assert (status, int(headers["content-length"]) > 0) == (200, True)

    headed, its_headers, body = _ask(stage, "HEAD", "/api/v1/campaigns")
    assert (headed, its_headers["content-length"], body) == (200, headers["content-length"], b"")
    assert _ask(stage, "HEAD", "/api/v1/campaigns", token="")[0] == 401
    assert _ask(stage, "HEAD", "/api/v1/tokens")[0] == 200


def test_the_document_and_its_page_are_served(stage: Stage) -> None:
    status, headers, text = _ask(stage, "GET", "/api/v1/openapi.json", token="")
    assert (status, json.loads(text)["openapi"]) == (200, "3.1.0")
    assert headers["content-type"].startswith("application/json")

    status, headers, text = _ask(stage, "GET", "/api/v1/docs", token="")
    assert status == 200
    assert "unsafe" not in headers["content-security-policy"]
    assert b"/api/v1/campaigns/{campaign_id}/start" in text


def test_pages_of_a_list_hold_still_while_rows_come_and_go(stage: Stage) -> None:
    """Nothing twice, nothing that was there all along left out, and the total is what there is at that moment."""
    made = [stage.api.post("/api/v1/campaigns", {"name": f"page {n}"})["id"] for n in range(9)]
    seen, path = [], "/api/v1/campaigns?limit=4"

    first = stage.api.get(path)
    seen += [one["id"] for one in first["items"]]
    new = stage.api.post("/api/v1/campaigns", {"name": "new"})["id"]  # before the first page
    assert _ask(stage, "DELETE", f"/api/v1/campaigns/{made[3]}")[0] == 204  # on a page to come
    assert _ask(stage, "DELETE", f"/api/v1/campaigns/{first['items'][-1]['id']}")[0] == 204  # the cursor's own row
    page = first
    while page["next_cursor"]:
        page = stage.api.get(f"{path}&cursor={page['next_cursor']}")
        seen += [one["id"] for one in page["items"]]
        assert page["total"] == first["total"] + 1 - 2
        assert page["items"]

    assert len(seen) == len(set(seen))
    assert set(made) - {made[3]} <= set(seen)
    assert new not in seen


def test_pages_by_another_key_hold_still_too(stage: Stage) -> None:
    phones = [f"+49151999000{n:02d}" for n in range(9)]
    stage.api.post("/api/v1/suppressions", {"items": [{"phone": one, "source": "pages"} for one in phones]})
    path, seen = "/api/v1/suppressions?source=pages&limit=3", []

    page = stage.api.get(path)
    seen += [one["phone"] for one in page["items"]]
    assert _ask(stage, "DELETE", f"/api/v1/suppressions/{phones[2]}")[0] == 204  # the cursor's own row
    assert _ask(stage, "DELETE", f"/api/v1/suppressions/{phones[5]}")[0] == 204
    while page["next_cursor"]:
        page = stage.api.get(f"{path}&cursor={page['next_cursor']}")
        seen += [one["phone"] for one in page["items"]]
        assert page["total"] == 7

    assert seen == [one for one in phones if one != phones[5]]


def test_the_last_page_says_that_it_is_the_last_and_the_total_holds_behind_the_end(stage: Stage) -> None:
    total = stage.api.get("/api/v1/campaigns?limit=1")["total"]
    whole = stage.api.get(f"/api/v1/campaigns?limit={total}")
    assert (len(whole["items"]), whole["next_cursor"]) == (total, None)

    behind = stage.api.get("/api/v1/campaigns?cursor=1")
    assert behind == {"items": [], "next_cursor": None, "total": total}


def test_the_docs_commands_do_what_they_show(stage: Stage, tmp_path: Path) -> None:
    environment = {**os.environ, "TITANFLOW": stage.address, "TOKEN": stage.token, "PYTHONPATH": str(_DOCS.parent)}
    ran = 0
    for step in console.steps((_DOCS / "api.md").read_text()):
        if step.command.startswith("TITANFLOW="):
            continue
        got, deadline = _run(step, environment, tmp_path), time.monotonic() + 30
        while not _as_shown(step, got) and time.monotonic() < deadline:  # an import, a campaign: they take a moment
            time.sleep(0.2)
            got = _run(step, environment, tmp_path)
        assert _as_shown(step, got), f"{step.command}\nshows {step.shown}\nbut answered {got[:2000]}"
        environment |= _ids_in(step.command, got)
        ran += 1
    assert ran >= 12


def _run(step: console.Step, environment: dict[str, str], folder: Path) -> str:
    return console.run(step.command, environment, folder)


def _as_shown(step: console.Step, got: str) -> bool:
    return not step.shown or console.fits(json.loads(step.shown), json.loads(got))


def _ids_in(command: str, got: str) -> dict[str, str]:
    """What the reader would put into the variables."""
    for name, end in (("TEMPLATE", 'templates?limit=1"'), ("IMPORT", "/contacts")):
        if command.endswith(end):
            answer: Any = json.loads(got)
            return {name: str(answer["items"][0]["id"] if "items" in answer else answer["id"])}
    return {"CAMPAIGN": str(json.loads(got)["id"])} if '"name": "Spring"' in command else {}


@pytest.mark.timeout(900)  # half a minute on a machine of its own
def test_the_fuzzer_finds_nothing(stage: Stage) -> None:
    """The bounded form; `python -m tests.http.fuzz --examples 300` is the long one."""
    done = fuzz(stage, furnish(stage), examples=3, seed=1)

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "request.crashed" not in (stage.data_dir / "server.log").read_text()
