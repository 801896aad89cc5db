"""What people do: write, press buttons, say STOP, hide their number."""

from typing import Any

import pytest

from tests.sandbox.fake_meta import FakeMeta


def _said(sandbox: FakeMeta, **body: object) -> Any:
    wamid = sandbox.control("POST", "inbound", {"number": "120", **body})["id"]
    sandbox.receiver.wait(lambda: [one for one in sandbox.receiver.messages() if one["id"] == wamid])
    (value,) = [
        value for value in sandbox.receiver.changes() if wamid in [one["id"] for one in value.get("messages", ())]
    ]
    return value


def test_an_inbound_text_comes_signed_with_its_contact(sandbox: FakeMeta) -> None:
    value = _said(sandbox, **{"from": "+5511987654321", "text": "olá 😀", "name": "Zoë"})
    assert value["contacts"] == [{"profile": {"name": "Zoë"}, "wa_id": "551187654321"}]
    (message,) = value["messages"]
    assert (message["from"], message["type"], message["text"]) == ("551187654321", "text", {"body": "olá 😀"})
    assert value["metadata"]["phone_number_id"] == "120"


def test_unicode_and_slashes_are_escaped_under_the_signature(sandbox: FakeMeta) -> None:
    _said(sandbox, **{"from": "491700000001", "text": "ä/😀"})
    assert any(b"\\u00e4\\/\\ud83d\\ude00" in body for body in sandbox.receiver.bodies)
    assert all(body.isascii() for body in sandbox.receiver.bodies)
    assert sandbox.receiver.wrongly_signed == 0


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"button": {"text": "Stop promotions", "payload": "STOP:1"}}, "button"),
        ({"reply": {"id": "yes", "title": "Yes"}}, "interactive"),
        ({"type": "reaction", "reaction": {"message_id": "wamid.OUT", "emoji": "👍"}}, "reaction"),
    ],
)
def test_other_kinds_of_messages_come_in(sandbox: FakeMeta, content: dict[str, object], kind: str) -> None:
    value = _said(sandbox, **{"from": "491700000002", "context": "wamid.OUT", **content})
    (message,) = value["messages"]
    assert message["type"] == kind
    assert message["context"]["id"] == "wamid.OUT"


def test_a_person_with_a_user_name_shows_no_phone_number(sandbox: FakeMeta) -> None:
    value = _said(sandbox, **{"from": "491700000003", "text": "Hi", "hidden": True})
    (message,), (contact,) = value["messages"], value["contacts"]
    assert "from" not in message
    assert "wa_id" not in contact
    assert message["from_user_id"] == contact["user_id"]
    assert message["from_user_id"].startswith("DE.")

    body = {"messaging_product": "whatsapp", "recipient": contact["user_id"], "type": "text", "text": {"body": "Hi"}}
    answer = sandbox.post("120/messages", body)
    assert answer.body["contacts"] == [{"input": contact["user_id"], "user_id": contact["user_id"]}]
    sent = sandbox.receiver.wait(lambda: sandbox.receiver.statuses(answer.wamid))[0]
    assert sent["status"] != "failed"  # the service window is the same person's
    assert "recipient_id" not in sent


def test_a_template_after_an_acknowledged_stop_is_the_senders_fault(sandbox: FakeMeta) -> None:
    """The judge can find the sender guilty."""
    before = sandbox.summary()["sent_after_stop"]
    sandbox.send("+491700000004", number="120", echo="m:10:1")
    _said(sandbox, **{"from": "491700000004", "text": "Stop."})
    sandbox.control("GET", "idle")
    sandbox.send("+491700000004", number="120", echo="m:11:1")
    assert sandbox.summary()["sent_after_stop"] == before + 1


def test_a_marketing_preference_comes_as_its_own_field(sandbox: FakeMeta) -> None:
    sandbox.control("POST", "inbound", {"number": "120", "from": "491700000005", "preference": "stop"})
    value = sandbox.receiver.wait(lambda: sandbox.receiver.changes("user_preferences"))[0]
    assert value["user_preferences"][0]["value"] == "stop"
    assert value["user_preferences"][0]["wa_id"] == "491700000005"


def test_people_answer_what_they_read_and_some_say_stop(sandbox: FakeMeta) -> None:
    sandbox.control("POST", "people", {"reply": 0.5, "stop": 0.2, "after_s": 0.1, "text": "Danke"})
    try:
        wamids = {sandbox.send(f"+4917100{n:05d}", number="121", echo=f"r:{n}:1").wamid for n in range(60)}
        sandbox.control("GET", "idle")
    finally:
        sandbox.control("POST", "people", {})
    said = [one for one in sandbox.receiver.messages() if one.get("context", {}).get("id") in wamids]
    texts = [one["text"]["body"] for one in said]
    assert 15 < texts.count("Danke") < 45
    assert 3 < texts.count("STOP") < 25
