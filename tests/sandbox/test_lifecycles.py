"""Templates are paced, paused, edited, deleted; numbers, accounts and tokens come and go."""

from typing import Any

import pytest

from tests.sandbox.fake_meta import FakeMeta, running_sandbox

_BODY = [{"type": "BODY", "text": "Hi {{1}}, only today in {{2}} for you."}]


def _template(sandbox: FakeMeta, name: str, **change: object) -> Any:
    return sandbox.control("POST", "templates", {"waba_id": "900000001", "name": name, **change})


def _send(sandbox: FakeMeta, to: str, name: str, *, texts: tuple[str, ...] = ("Ann", "Rome")) -> Any:
    return sandbox.send(to, template=name, texts=texts, echo=f"{name}:{to}:1")


@pytest.mark.parametrize(
    ("status", "code"), [("PAUSED", 132015), ("DISABLED", 132016), ("DELETED", 132001), ("REJECTED", 132001)]
)
def test_a_template_that_is_not_approved_sends_nothing(sandbox: FakeMeta, status: str, code: int) -> None:
    name = f"gone_{status.lower()}"
    _template(sandbox, name, components=_BODY)
    assert _send(sandbox, "+491720000001", name).status == 200

    _template(sandbox, name, status=status, webhook=True)

    assert _send(sandbox, "+491720000002", name).code == code
    events = sandbox.receiver.wait(
        lambda: [
            one
            for one in sandbox.receiver.changes("message_template_status_update")
            if one["message_template_name"] == name
        ]
    )
    assert events[0]["event"] == status
    assert isinstance(events[0]["message_template_id"], int)


def test_an_edited_template_refuses_messages_made_for_the_old_one(sandbox: FakeMeta) -> None:
    _template(sandbox, "edited", components=_BODY)
    _template(sandbox, "edited", components=[{"type": "BODY", "text": "Hi {{1}}, only today."}])
    assert _send(sandbox, "+491720000003", "edited").code == 132000
    assert _send(sandbox, "+491720000003", "edited", texts=("Ann",)).status == 200


def test_quality_and_category_change_with_their_webhooks(sandbox: FakeMeta) -> None:
    _template(sandbox, "changing", components=_BODY, category="UTILITY")
    _template(sandbox, "changing", quality="RED", category="MARKETING", webhook=True)
    quality = sandbox.receiver.wait(lambda: sandbox.receiver.changes("message_template_quality_update"))[0]
    category = sandbox.receiver.wait(lambda: sandbox.receiver.changes("template_category_update"))[0]
    assert (quality["previous_quality_score"], quality["new_quality_score"]) == ("GREEN", "RED")
    assert (category["previous_category"], category["new_category"]) == ("UTILITY", "MARKETING")


def _held(sandbox: FakeMeta, name: str) -> list[str]:
    """Pace a template after two messages; return the wamids of the two messages that are held."""
    _template(sandbox, name, components=_BODY, pacing={"threshold": 2})
    answers = [_send(sandbox, f"+49173000000{n}", name) for n in range(4)]
    statuses = [one.body["messages"][0]["message_status"] for one in answers]
    assert statuses == ["accepted"] * 2 + ["held_for_quality_assessment"] * 2
    sandbox.control("GET", "idle")
    wamids = [one.wamid for one in answers]
    assert not [one for one in sandbox.receiver.statuses() if one["id"] in wamids[2:]]
    return wamids[2:]


def test_paced_messages_are_held_and_then_released(sandbox: FakeMeta) -> None:
    held = _held(sandbox, "paced_well")
    assert _template(sandbox, "paced_well", pacing="release")["released"] == 2
    for wamid in held:
        assert sandbox.receiver.wait(lambda wamid=wamid: sandbox.receiver.statuses(wamid))


def test_paced_messages_are_held_and_then_dropped(sandbox: FakeMeta) -> None:
    held = _held(sandbox, "paced_badly")
    _template(sandbox, "paced_badly", pacing="drop")
    for wamid in held:
        assert sandbox.receiver.status_of(wamid, "failed")["errors"][0]["code"] == 132015
    assert _send(sandbox, "+491730000009", "paced_badly").code == 132015


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"registered": False}, 133010),
        ({"deleted": True}, 100),
        ({"maintenance_s": 60}, 131057),
        ({"status": "BANNED"}, 131031),
    ],
)
def test_a_number_that_can_not_send_says_why(sandbox: FakeMeta, change: dict[str, object], code: int) -> None:
    number = {"phone_number_id": "130", "registered": True, "deleted": False, "maintenance_s": 0, "status": "CONNECTED"}
    sandbox.control("POST", "numbers", {**number, **change})
    answer = sandbox.send("+491740000001", number="130")
    assert answer.code == code
    assert answer.body["error"].get("error_subcode") == (33 if code == 100 else None)
    sandbox.control("POST", "numbers", number)
    assert sandbox.send("+491740000001", number="130").status == 200


def test_a_number_shows_its_quality_and_health(sandbox: FakeMeta) -> None:
    sandbox.control("POST", "numbers", {"phone_number_id": "131", "waba_id": "950", "mps": 80, "quality": "RED"})
    one = sandbox.get("131").body
    assert (one["quality_rating"], one["throughput"], one["status"]) == ("RED", {"level": "STANDARD"}, "CONNECTED")
    health = sandbox.get("131?fields=health_status").body
    assert set(health) == {"id", "health_status"}
    assert health["health_status"]["can_send_message"] == "LIMITED"
    assert [number["id"] for number in sandbox.get("950/phone_numbers").body["data"]] == ["131"]


def test_an_upgrade_is_a_short_maintenance_and_then_a_higher_rate(sandbox: FakeMeta) -> None:
    sandbox.control("POST", "numbers", {"phone_number_id": "132", "waba_id": "951", "mps": 80})
    sandbox.control("POST", "numbers", {"phone_number_id": "132", "upgrade_in_s": 0.5})
    assert sandbox.send("+491740000002", number="132").code == 131057
    told = sandbox.receiver.wait(lambda: sandbox.receiver.changes("phone_number_quality_update"))
    assert told[0]["event"] == "THROUGHPUT_UPGRADE"
    assert sandbox.send("+491740000002", number="132").status == 200
    assert sandbox.get("132").body["throughput"] == {"level": "HIGH"}


def test_a_restricted_account_refuses_until_its_restriction_ends(sandbox: FakeMeta) -> None:
    sandbox.control("POST", "numbers", {"phone_number_id": "133", "waba_id": "952"})
    sandbox.control("POST", "accounts", {"waba_id": "952", "event": "ACCOUNT_RESTRICTION", "expires_in_s": 3600})

    assert sandbox.send("+491740000003", number="133").code == 368
    told = sandbox.receiver.wait(lambda: sandbox.receiver.changes("account_update"))[0]
    assert told["restriction_info"][0]["restriction_type"] == "RESTRICTED_BIZ_INITIATED_MESSAGING"
    assert sandbox.get("133?fields=health_status").body["health_status"]["can_send_message"] == "BLOCKED"

    sandbox.control("POST", "clock", {"advance_s": 3601})
    assert sandbox.send("+491740000003", number="133").status == 200


def test_a_disabled_account_is_reinstated(sandbox: FakeMeta) -> None:
    sandbox.control("POST", "numbers", {"phone_number_id": "134", "waba_id": "953"})
    sandbox.control("POST", "accounts", {"waba_id": "953", "event": "DISABLED_UPDATE"})
    assert sandbox.send("+491740000004", number="134").code == 131031
    sandbox.control("POST", "accounts", {"waba_id": "953", "event": "REINSTATE"})
    assert sandbox.send("+491740000004", number="134").status == 200


def test_a_payment_problem_comes_by_webhook_after_the_200(sandbox: FakeMeta) -> None:
    sandbox.control("POST", "numbers", {"phone_number_id": "135", "waba_id": "954"})
    sandbox.control("POST", "accounts", {"waba_id": "954", "payment": "failed"})
    answer = sandbox.send("+491740000005", number="135")
    assert answer.status == 200
    assert sandbox.receiver.status_of(answer.wamid, "failed")["errors"][0]["code"] == 131042


def test_a_token_is_taken_back_and_replaced() -> None:
    with running_sandbox() as sandbox:
        sandbox.control("POST", "numbers", {"phone_number_id": "136"})
        sandbox.control("POST", "tokens", {"token": "token"})
        assert sandbox.send("+491740000006", number="136").status == 200
        assert sandbox.get("debug_token?input_token=token").body["data"]["is_valid"]

        sandbox.control("DELETE", "tokens/token")

        refused = sandbox.send("+491740000006", number="136")
        assert (refused.status, refused.code, refused.body["error"]["error_subcode"]) == (401, 190, 463)
        assert sandbox.get("900000001/message_templates").code == 190
        assert not sandbox.get("debug_token?input_token=token").body["data"]["is_valid"]
        sandbox.control("POST", "tokens", {"token": "token", "expires_in_s": 100})
        assert sandbox.send("+491740000006", number="136").status == 200
        sandbox.control("POST", "clock", {"advance_s": 101})
        assert sandbox.send("+491740000006", number="136").code == 190
        sandbox.control("POST", "tokens", {"token": "token"})
        assert sandbox.send("+491740000006", number="136").status == 200
