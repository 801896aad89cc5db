"""The inbox on a real server with the sandbox: what people write is shown, an answer leaves once and is followed."""

import base64
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import on_stage
from tests.support.on_stage import until
from tests.support.servers import short_folder
from titanflow.cli.stage import Stage

_WABA = "700000001"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with short_folder() as folder:
        made = Stage(folder / "data", latency_ms=20, speed=50)
        try:
            made.start()
            on_stage.numbers(made, _WABA, ["7101", "7102"])
            yield made
        finally:
            made.stop()


def _writes(stage: Stage, person: str, number: str = "7101", **what: Any) -> None:
    """Let a person write, and wait until it is in the inbox."""
    wamid = stage.meta.post("/_sandbox/inbound", {"number": number, "from": person, **(what or {"text": "hi"})})["id"]
    path = f"/api/v1/conversations/%2B{person}/messages?phone_number_id={number}"

    def there() -> bool:
        status, page = on_stage.ask(stage, "GET", path)
        return status == 200 and any(one["wamid"] == wamid for one in page["items"])

    until(there, "the message")


def _say(stage: Stage, person: str, body: dict[str, Any], number: str = "") -> tuple[int, Any]:
    query = f"?phone_number_id={number}" if number else ""
    path = f"/api/v1/conversations/{person}/messages{query}"
    return on_stage.ask(stage, "POST", path, json.dumps(body).encode(), Content_Type="application/json")


def _message(stage: Stage, person: str, message_id: int) -> dict[str, Any]:
    items = stage.api.get(f"/api/v1/conversations/{person}/messages?limit=100")["items"]
    found: dict[str, Any] = next(one for one in items if one["id"] == message_id)
    return found


def _reaches(stage: Stage, person: str, message_id: int, *states: str) -> dict[str, Any]:
    found: dict[str, Any] = until(
        lambda: (one := _message(stage, person, message_id))["state"] in states and one, f"one of {states}"
    )
    return found


def _sent_to(stage: Stage, person: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in stage.meta.lines("/_sandbox/ledger")]
    return [row for row in rows if row["to"] == f"+{person}"]


def test_what_people_write_is_shown_and_a_reply_is_followed_to_read(stage: Stage) -> None:
    person = "4915177700001"
    _writes(stage, person, text="Is it still there?", name="Ana Ivanova")

    seen = stage.api.get(f"/api/v1/conversations/{person}")
    assert (seen["phone"], seen["name"], seen["unread"], seen["service_window_open"]) == (
        f"+{person}", "Ana Ivanova", 1, True)  # fmt: skip
    assert seen["last_message"]["text"] == "Is it still there?"

    status, made = _say(stage, person, {"text": "Yes, it is", "reply_to": seen["last_message"]["id"]})
    assert (status, made["state"], made["kind"], made["text"]) == (201, "queued", "text", "Yes, it is")
    end = _reaches(stage, person, made["id"], "read", "delivered")
    assert end["wamid"]
    assert end["delivery"]["sent_at"] <= end["delivery"]["delivered_at"]
    assert end["delivery"]["by"].startswith("token ")
    [row] = _sent_to(stage, person)
    assert row["echo"] == f"r:{made['id']}:1"


def test_each_kind_is_shaped_and_the_raw_object_stays(stage: Stage) -> None:
    person = "4915177700002"
    for what in (
        {"button": {"text": "Call me", "payload": "x"}},
        {"reply": {"id": "yes", "title": "Yes"}},
        {"type": "location", "location": {"latitude": 1.5, "longitude": 2, "name": "Home"}},
        {"type": "contacts", "contacts": [{"name": {"formatted_name": "Bo"}, "phones": [{"phone": "+1"}]}]},
        {"type": "reaction", "reaction": {"message_id": "wamid.x", "emoji": "👍"}},
        {"type": "order", "order": {"catalog_id": "c", "text": "two", "product_items": [{"quantity": 2}]}},
        {"type": "hologram", "hologram": 3},
    ):
        _writes(stage, person, **what)
    page = stage.api.get(f"/api/v1/conversations/{person}/messages?order=oldest")
    shown = {one["kind"]: one for one in page["items"]}
    assert page["total"] == 7
    assert {kind: one["text"] for kind, one in shown.items()} == {
        "button": "Call me", "interactive": "Yes", "location": "Home", "contacts": "Bo", "reaction": "👍",
        "order": "two", "unsupported": None,
    }  # fmt: skip
    assert shown["interactive"]["details"]["choice"] == {"id": "yes", "title": "Yes", "of": "button"}
    assert shown["unsupported"]["raw"]["hologram"] == 3
    assert stage.api.get(f"/api/v1/conversations/{person}")["unread"] == 7


def test_outside_the_window_only_a_template_leaves(stage: Stage) -> None:
    person, template = "4915177700003", on_stage.template(stage, _WABA, "spring_offer")
    status, problem = _say(stage, person, {"text": "hello"})
    assert (status, problem["code"]) == (404, "conversation_not_found")

    given = dict.fromkeys(template["parameters"], "X1")
    begin = {"template": {"name": template["name"], "language": template["language"], "parameters": given}}
    status, made = _say(stage, person, begin, "7102")
    assert (status, made["state"]) == (201, "queued")
    assert "X1" in made["text"]
    _reaches(stage, person, made["id"], "read", "delivered")

    status, problem = _say(stage, person, {"text": "hello"})
    assert (status, problem["code"]) == (409, "window_closed")
    assert "template" in problem["detail"]
    lacking = {"template": {"id": template["id"], "parameters": dict(list(given.items())[1:])}}
    status, problem = _say(stage, person, lacking)
    assert (status, problem["code"], problem["parameter"]) == (422, "missing_parameter", template["parameters"][0])
    assert len(_sent_to(stage, person)) == 1


def test_who_opted_out_is_answered_but_gets_no_marketing(stage: Stage) -> None:
    person, template = "4915177700004", on_stage.template(stage, _WABA, "spring_offer")
    _writes(stage, person, text="STOP")
    given = dict.fromkeys(template["parameters"], "X1")

    status, problem = _say(stage, person, {"template": {"id": template["id"], "parameters": given}})
    assert (status, problem["code"], problem["reason"]) == (409, "suppressed", "opted_out")
    status, made = _say(stage, person, {"text": "You will hear no more from us."})
    assert status == 201
    _reaches(stage, person, made["id"], "read", "delivered")


def test_a_person_who_writes_to_two_numbers_is_answered_by_the_last_one(stage: Stage) -> None:
    person = "4915177700005"
    _writes(stage, person, "7102", text="first")
    _writes(stage, person, "7101", text="second")
    seen = stage.api.get(f"/api/v1/conversations/{person}")
    assert (seen["phone_number_id"], seen["other_phone_number_ids"]) == ("7101", ["7102"])
    assert stage.api.get(f"/api/v1/conversations/{person}?phone_number_id=7102")["last_message"]["text"] == "first"
    _, made = _say(stage, person, {"text": "to both?"})
    _reaches(stage, person, made["id"], "read", "delivered")
    assert [row["number"] for row in _sent_to(stage, person)] == ["7101"]


def test_a_file_goes_as_a_reply(stage: Stage) -> None:
    person = "4915177700006"
    _writes(stage, person)
    picture = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(2_000)
    _, file = on_stage.ask(stage, "POST", "/api/v1/media?filename=a.jpg", picture, Content_Type="image/jpeg")
    status, made = _say(stage, person, {"media_id": file["id"], "caption": "look"})
    assert (status, made["kind"], made["text"], made["details"]["media"]["media_id"]) == (
        201,
        "image",
        "look",
        file["id"],
    )
    _reaches(stage, person, made["id"], "read", "delivered")
    [upload] = [one for one in stage.meta.get("/_sandbox/media")["uploads"] if one["number"] == "7101"]
    assert upload["used"] == 1


def test_a_refusal_for_now_is_tried_again_a_final_one_says_why(stage: Stage) -> None:
    person = "4915177700007"
    _writes(stage, person)
    stage.meta.post("/_sandbox/rules", {"where": "answer", "code": 131056, "to": f"+{person}", "next": 1})
    _, made = _say(stage, person, {"text": "once more"})
    waiting = _reaches(stage, person, made["id"], "queued")
    end = _reaches(stage, person, made["id"], "read", "delivered")
    assert end["delivery"]["attempt"] == 2
    assert waiting["delivery"]["attempt"] <= 1

    stage.meta.post("/_sandbox/rules", {"where": "status", "code": 131026, "to": f"+{person}", "next": 1})
    _, made = _say(stage, person, {"text": "never there"})
    end = _reaches(stage, person, made["id"], "failed")
    assert end["delivery"]["error_code"] == 131026
    assert "131026" in end["delivery"]["reason"]


def test_an_answer_that_never_comes_is_in_doubt_until_meta_reports(stage: Stage) -> None:
    person = "4915177700008"
    _writes(stage, person)
    stage.meta.post("/_sandbox/webhooks", {"paused": True})
    stage.meta.post("/_sandbox/rules", {"where": "doubt", "kind": "reset_after", "to": f"+{person}", "next": 1})
    _, made = _say(stage, person, {"text": "did it arrive?"})
    doubtful = _reaches(stage, person, made["id"], "in_doubt")
    assert "may have been sent" in doubtful["delivery"]["reason"]
    stage.meta.post("/_sandbox/webhooks", {"paused": False})
    _reaches(stage, person, made["id"], "read", "delivered")
    assert len(_sent_to(stage, person)) == 1


def test_replies_to_one_person_keep_their_order(stage: Stage) -> None:
    person = "4915177700009"
    _writes(stage, person)
    made = [_say(stage, person, {"text": str(n)})[1]["id"] for n in range(6)]
    for one in made:
        _reaches(stage, person, one, "sent", "read", "delivered")
    assert [row["echo"] for row in _sent_to(stage, person)] == [f"r:{one}:1" for one in made]


def test_assignment_labels_archive_and_reading(stage: Stage) -> None:
    person, path = "4915177700010", "/api/v1/conversations/4915177700010"
    _writes(stage, person, text="one")
    first = stage.api.get(path)["last_message"]["id"]
    _writes(stage, person, text="two")

    changed = stage.api.patch(path, {"assigned_to": "Bea", "labels": ["vip", "late", "vip"], "read_up_to": first})
    assert (changed["assigned_to"], changed["labels"], changed["unread"]) == ("Bea", ["late", "vip"], 1)
    assert stage.api.patch(path, {"archived": True, "assigned_to": None})["archived_at"]
    open_ones = {one["phone"] for one in stage.api.get("/api/v1/conversations?limit=100")["items"]}
    assert f"+{person}" not in open_ones
    _writes(stage, person, text="three")
    found = stage.api.get("/api/v1/conversations?label=vip&unread=true&unassigned=true")["items"]
    assert [(one["phone"], one["unread"], one["archived_at"]) for one in found] == [(f"+{person}", 2, None)]


def test_bad_requests_are_refused_in_words(stage: Stage) -> None:
    person = "4915177700011"
    _writes(stage, person)
    for body, code in (
        ({}, "invalid_input"),
        ({"text": " "}, "invalid_input"),
        ({"text": "a", "media_id": 1}, "invalid_input"),
        ({"media_id": 999_999}, "unknown_media"),
        ({"template": {"id": 999_999}}, "unknown_template"),
        ({"template": {"name": "x"}}, "invalid_input"),
    ):
        assert _say(stage, person, body)[1]["code"] == code, body
    assert _say(stage, person, {"text": "a", "reply_to": 999_999})[1]["code"] == "message_not_found"
    assert on_stage.ask(stage, "GET", "/api/v1/conversations/nonsense")[1]["code"] == "invalid_phone"
    assert on_stage.ask(stage, "GET", "/api/v1/conversations?cursor=1-")[1]["code"] == "invalid_input"


def _sends_file(stage: Stage, person: str, mime_type: str, content: bytes, **more: str) -> dict[str, Any]:
    """Let a person send a file; return the message once its file has come to its end."""
    file = {"mime_type": mime_type, "base64": base64.b64encode(content).decode(), **more}
    _writes(stage, person, file=file)

    def fetched() -> Any:
        one = stage.api.get(f"/api/v1/conversations/{person}/messages")["items"][0]
        return one["details"]["media"]["state"] != "pending" and one

    found: dict[str, Any] = until(fetched, "the file")
    return found


def _download(stage: Stage, message_id: int) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=20)
    try:
        connection.request(
            "GET", f"/api/v1/media/inbound/{message_id}", headers={"Authorization": f"Bearer {stage.token}"}
        )
        answer = connection.getresponse()
        return answer.status, answer.read(), {key.lower(): value for key, value in answer.getheaders()}
    finally:
        connection.close()


def test_a_picture_is_fetched_and_shown_a_page_is_only_to_be_saved(stage: Stage) -> None:
    person = "4915177700012"
    picture = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 10_000  # several pieces
    seen = _sends_file(stage, person, "image/jpeg", picture, caption="look")
    media = seen["details"]["media"]
    assert (seen["kind"], seen["text"], media["state"], media["size_bytes"]) == (
        "image",
        "look",
        "stored",
        len(picture),
    )
    status, content, headers = _download(stage, seen["id"])
    assert (status, content, headers["content-type"]) == (200, picture, "image/jpeg")
    assert headers["content-disposition"].startswith("inline")
    assert headers["content-length"] == str(len(picture))

    page = b"<script>alert(1)</script>"
    seen = _sends_file(stage, person, "text/html", page, filename='../x"\r\ny.html')
    status, content, headers = _download(stage, seen["id"])
    assert (status, content, headers["content-type"]) == (200, page, "application/octet-stream")
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''x%22y.html"
    assert headers["x-content-type-options"] == "nosniff"


def test_a_file_that_meta_has_forgotten_says_so(stage: Stage) -> None:
    person = "4915177700013"
    _writes(stage, person, type="audio", audio={"id": "404404", "mime_type": "audio/ogg; codecs=opus", "voice": True})

    def ended() -> Any:
        one = stage.api.get(f"/api/v1/conversations/{person}/messages")["items"][0]
        return one["details"]["media"]["state"] == "failed" and one

    seen = until(ended, "the end of the fetch")
    assert seen["details"]["media"]["error"]
    status, problem = on_stage.ask(stage, "GET", f"/api/v1/media/inbound/{seen['id']}")
    assert (status, problem["code"], problem["state"]) == (409, "media_not_ready", "failed")
    assert on_stage.ask(stage, "GET", "/api/v1/media/inbound/999999")[1]["code"] == "media_not_found"


def test_a_fetch_that_fails_for_now_is_tried_again(stage: Stage) -> None:
    rule = {"where": "management", "path": "phone_number_id=7101", "http_status": 500, "next": 1}
    stage.meta.post("/_sandbox/rules", rule)
    seen = _sends_file(stage, "4915177700014", "image/png", b"\x89PNG\r\n\x1a\n")
    assert seen["details"]["media"]["state"] == "stored"


def test_a_number_that_people_talked_with_is_not_deleted(stage: Stage) -> None:
    _writes(stage, "4915177700015", "7102")
    status, problem = on_stage.ask(stage, "DELETE", "/api/v1/phone-numbers/7102")
    assert (status, problem["code"]) == (409, "in_use")


@pytest.mark.timeout(120)
def test_replies_go_before_a_campaign_and_the_rate_of_both_holds(stage: Stage) -> None:
    """Promise 7. The campaign alone would keep the number busy for ten seconds."""
    people = [f"49151777010{n:02d}" for n in range(12)]
    for person in people:
        _writes(stage, person)
    template = on_stage.template(stage, _WABA, "spring_offer")
    campaign_id = on_stage.campaign(stage, [template["id"]], ["7101"], 500)
    on_stage.start(stage, campaign_id)
    until(lambda: len(on_stage.accepted(stage, campaign_id)) > 20, "the campaign")

    made = {person: _say(stage, person, {"text": "one moment"})[1]["id"] for person in people}

    for person, message_id in made.items():
        _reaches(stage, person, message_id, "sent", "read", "delivered", "failed")
    assert on_stage.stats(stage, campaign_id)["counts"]["pending"] > 0
    assert stage.meta.get("/_sandbox/summary")["max_rate_1s_by_number"]["7101"] <= 50
    on_stage.completed(stage, campaign_id)


def test_a_reply_waits_for_a_paused_number_and_says_so(stage: Stage) -> None:
    person = "4915177700016"
    _writes(stage, person, "7102")
    stage.api.post("/api/v1/phone-numbers/7102/pause")
    _, made = _say(stage, person, {"text": "later"})
    waiting = _message(stage, person, made["id"])
    assert (waiting["state"], waiting["delivery"]["reason"]) == (
        "queued", "The number is paused: Paused by an operator")  # fmt: skip
    _, other = _say(stage, person, {"text": "never"})
    path = f"/api/v1/conversations/{person}/messages/{other['id']}"
    assert on_stage.ask(stage, "DELETE", path)[1]["state"] == "cancelled"
    assert _sent_to(stage, person) == []

    stage.api.post("/api/v1/phone-numbers/7102/resume")
    _reaches(stage, person, made["id"], "sent", "read", "delivered", "failed")
    assert [row["echo"] for row in _sent_to(stage, person)] == [f"r:{made['id']}:1"]
