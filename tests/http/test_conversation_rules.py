"""Words of opting out and frequent questions, as an operator keeps them over HTTP."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.builders import a_number
from tests.support.in_process_api import Api, an_api
from tests.support.servers import fresh_database
from tests.support.webhooks import says, webhook
from titanflow.domain.faqs import MAX_RULES
from titanflow.embedded import EmbeddedServers
from titanflow.services import tokens
from titanflow.storage import inbox_settings


@pytest.fixture(scope="module")
def shared(servers: EmbeddedServers, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with fresh_database(servers, template=migrated_template) as url:
        with an_api(url, servers.urls.redis_url, tmp_path_factory.mktemp("data")) as made:
            yield made


@pytest.fixture
def api(shared: Api) -> Api:
    """One app for all, as if nothing had been chosen."""
    with shared.db.connection() as connection:
        connection.execute("TRUNCATE faqs, conversations, suppressions, auto_replies CASCADE")
        connection.execute("DELETE FROM inbox_settings")
        connection.execute("INSERT INTO inbox_settings DEFAULT VALUES")
    inbox_settings.write_languages(shared.db, None, confirm=True)
    return shared


def _add(api: Api, *keywords: str, **more: Any) -> int:
    made = api.ask("POST", "/faqs", {"keywords": list(keywords), "answer": f"about {keywords[0]}", **more})
    assert made.status_code == 201
    assert made.headers["location"] == f"/api/v1/faqs/{made.json['id']}"
    return int(made.json["id"])


def test_a_rule_from_its_making_to_its_end(api: Api) -> None:
    faq_id = _add(api, "hours", name="Hours")

    changed = api.ask("PATCH", f"/faqs/{faq_id}", {"keywords": ["open", "Öffnungszeiten"], "on": False})

    assert (changed.status_code, changed.json["on"], changed.json["answer"]) == (200, False, "about hours")
    assert api.ask("GET", f"/faqs/{faq_id}").json == changed.json
    assert api.ask("GET", "/faqs").json == {"items": [changed.json], "next_cursor": None, "total": 1}
    assert api.ask("DELETE", f"/faqs/{faq_id}").status_code == 204
    for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        assert api.ask(method, f"/faqs/{faq_id}", body).json["code"] == "faq_not_found"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"keywords": [], "answer": "x"}, "invalid_input"),
        ({"keywords": ["?!"], "answer": "x"}, "faq_keywords"),
        ({"keywords": ["a"], "answer": ""}, "invalid_input"),
        ({"keywords": ["a"], "answer": "x" * 4097}, "invalid_input"),
        ({"keywords": ["a\u0000"], "answer": "x"}, "invalid_input"),
        ({"keywords": "a", "answer": "x"}, "invalid_input"),
        ({"keywords": ["a"], "answer": "x", "on": "yes"}, "invalid_input"),
    ],
)
def test_a_rule_that_can_not_work_is_refused(api: Api, body: dict[str, Any], code: str) -> None:
    answer = api.ask("POST", "/faqs", body)
    assert (answer.status_code, answer.json["code"]) == (422, code)


def test_rules_are_bounded(api: Api) -> None:
    with api.db.connection() as connection:
        connection.execute(
            "INSERT INTO faqs (position, keywords, answer) SELECT n, ARRAY['a'], 'x' FROM generate_series(1, %s) AS n",
            [MAX_RULES],
        )
    answer = api.ask("POST", "/faqs", {"keywords": ["a"], "answer": "x"})
    assert (answer.status_code, answer.json["code"]) == (409, "too_many_faqs")


def test_the_order_decides_and_a_wrong_one_changes_nothing(api: Api) -> None:
    one, two = _add(api, "hours"), _add(api, "opening hours")
    assert api.ask("POST", "/faqs/try", {"text": "opening hours?"}).json["faq_id"] == one

    for wrong in ([one], [one, two, two], [one, two, 99], [one, 2**60]):
        answer = api.ask("POST", "/faqs/reorder", {"ids": wrong})
        assert (answer.status_code, answer.json["code"]) == (409, "faq_order")
    answer = api.ask("POST", "/faqs/reorder", {"ids": [two, one]})

    assert [item["id"] for item in answer.json["items"]] == [two, one]
    tried = api.ask("POST", "/faqs/try", {"text": "OPENING  hours?"}).json
    assert (tried["answers"], tried["faq_id"], tried["answer"]) == (True, two, "about opening hours")
    assert tried["why"] == "'opening hours' is in the text, and no rule before it has a keyword in it"
    assert [match["faq_id"] for match in tried["matches"]] == [two, one]


def test_a_trial_says_why_nothing_would_be_answered(api: Api) -> None:
    _add(api, "hours", "stop")
    assert "No rule" in api.ask("POST", "/faqs/try", {"text": "hello"}).json["why"]
    assert "opting out" in api.ask("POST", "/faqs/try", {"text": "STOP"}).json["why"]
    api.ask("PATCH", "/settings/conversations", {"faqs_on": False})
    tried = api.ask("POST", "/faqs/try", {"text": "hours"}).json
    assert (tried["answers"], tried["why"], tried["faq_id"]) == (False, "Automatic answers are off", None)


def test_settings_are_changed_one_by_one(api: Api) -> None:
    before = api.ask("GET", "/settings/conversations").json
    assert before == {
        "reply_window_hours": 72, "faqs_on": True, "faq_per_hour": 5, "faq_per_day": 20, "faq_max_age_minutes": 10,
    }  # fmt: skip
    answer = api.ask("PATCH", "/settings/conversations", {"reply_window_hours": 24})
    assert answer.json == {**before, "reply_window_hours": 24}
    assert api.ask("PATCH", "/settings/conversations", {"faq_per_hour": 0}).status_code == 422


def test_the_words_of_opting_out_are_written_as_a_whole(api: Api) -> None:
    a_number(api.db)
    built_in = api.ask("GET", "/settings/opt-out").json
    assert (built_in["built_in"], built_in["confirm"], len(built_in["languages"])) == (True, True, 23)
    languages = [{"language": "eo", "stop": ["Fino"], "start": ["Ek"], "stop_reply": "Bone.", "start_reply": None}]

    written = api.ask("PUT", "/settings/opt-out", {"languages": languages, "confirm": True})

    assert written.json == {"confirm": True, "built_in": False, "languages": languages}
    assert api.ask("GET", "/settings/opt-out").json == written.json
    webhook(api.db, says("fino", wamid="a"))
    assert api.ask("GET", "/suppressions/491510000000").json["source"] == "stop_word"
    assert api.ask("PUT", "/settings/opt-out", {"languages": None}).json == built_in
    again = api.ask("PUT", "/settings/opt-out", {"languages": built_in["languages"], "confirm": True})
    assert again.json == {**built_in, "built_in": False}  # what GET answers may be written back


@pytest.mark.parametrize(
    ("languages", "code"),
    [
        ([], "opt_out_words"),
        ([{"language": "en", "stop": [], "start": ["start"]}], "opt_out_words"),
        ([{"language": "en", "stop": ["stop"], "start": ["Stop!"]}], "opt_out_words"),
        ([{"language": "en", "stop": ["stop"]}, {"language": "en", "stop": ["halt"]}], "opt_out_words"),
        ([{"language": "english", "stop": ["stop"]}], "invalid_input"),
        ([{"language": "en", "stop": ["x" * 61]}], "invalid_input"),
    ],
)
def test_words_that_would_let_nobody_out_are_refused(api: Api, languages: list[Any], code: str) -> None:
    """Promise 6: an operator can't switch opting out off by accident."""
    answer = api.ask("PUT", "/settings/opt-out", {"languages": languages})
    assert (answer.status_code, answer.json["code"]) == (422, code)
    assert api.ask("GET", "/settings/opt-out").json["built_in"]


def test_a_conversation_has_a_switch(api: Api) -> None:
    a_number(api.db)
    _add(api, "hours")
    assert api.ask("PUT", "/conversations/+491510000000/auto-replies", {"on": False}).status_code == 404
    webhook(api.db, says("hello", wamid="a"))

    answer = api.ask("PUT", "/conversations/491510000000/auto-replies", {"on": False})

    assert answer.json == {"phone": "+491510000000", "auto_replies_on": False}
    webhook(api.db, says("hours", wamid="b"))
    with api.db.connection() as connection:
        assert connection.execute("SELECT count(*) FROM auto_replies").fetchone() == (0,)


def test_reading_needs_no_more_than_read_and_words_are_for_admins(api: Api) -> None:
    reader, sender = tokens.create(api.db, "r", "read"), tokens.create(api.db, "s", "send")
    assert api.ask("POST", "/faqs/try", {"text": "x"}, token=reader).status_code == 200
    assert api.ask("POST", "/faqs", {"keywords": ["a"], "answer": "x"}, token=reader).status_code == 403
    assert api.ask("POST", "/faqs", {"keywords": ["a"], "answer": "x"}, token=sender).status_code == 201
    assert api.ask("PUT", "/settings/opt-out", {"languages": None}, token=sender).status_code == 403
    assert api.ask("PATCH", "/settings/conversations", {}, token=sender).status_code == 403
