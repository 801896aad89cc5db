"""How webhooks come: their shape by version, batches, late, lost, doubled, again."""

import time

import pytest

from tests.sandbox.fake_meta import FakeMeta, running_sandbox


@pytest.fixture(autouse=True)
def _as_it_was(sandbox: FakeMeta) -> None:
    sandbox.control("DELETE", "rules")
    sandbox.control("POST", "profile", {"profile": "every-status"})
    sandbox.control(
        "POST", "webhooks", {"paused": False, "batch": 200, "version": "v24", "user_ids": False, "hidden": 0}
    )


def test_statuses_of_version_23_have_a_conversation_and_later_ones_do_not(sandbox: FakeMeta) -> None:
    new = sandbox.receiver.status_of(sandbox.send("+491760000002").wamid, "sent")
    sandbox.control("POST", "webhooks", {"version": "v23"})
    old = sandbox.receiver.status_of(sandbox.send("+491760000002", echo="m:2:1").wamid, "sent")
    assert "conversation" not in new
    assert old["conversation"]["origin"] == {"type": "marketing"}
    assert new["pricing"] == old["pricing"] == {
        "billable": True, "pricing_model": "PMP", "type": "regular", "category": "marketing",
    }  # fmt: skip


def test_statuses_can_name_people_by_their_user_id_alone(sandbox: FakeMeta) -> None:
    sandbox.control("POST", "webhooks", {"user_ids": True, "hidden": 1})
    wamid = sandbox.send("+491760000002", echo="m:3:1").wamid
    sent = sandbox.receiver.status_of(wamid, "sent")
    assert "recipient_id" not in sent
    assert sent["recipient_user_id"].startswith("DE.")
    (value,) = [
        one
        for one in sandbox.receiver.changes()
        if [status for status in one["statuses"] if (status["id"], status["status"]) == (wamid, "sent")]
    ]
    assert value["contacts"][0]["user_id"] == sent["recipient_user_id"]
    assert "wa_id" not in value["contacts"][0]


def test_what_piled_up_comes_in_batches_of_up_to_a_thousand(sandbox: FakeMeta) -> None:
    sandbox.control("POST", "webhooks", {"paused": True, "batch": 1000})
    for n in range(450):
        sandbox.send(f"+49177{n:07d}", number="150", echo=f"b:{n}:1")
    time.sleep(0.5)  # nothing may come meanwhile: there is no event to wait for
    assert not [one for one in sandbox.receiver.statuses() if one["biz_opaque_callback_data"].startswith("b:")]

    sandbox.control("POST", "clock", {"advance_s": 60})
    sandbox.control("POST", "webhooks", {"paused": False})
    assert sandbox.control("GET", "idle")["pending"] == 0

    summary = sandbox.summary()
    assert summary["webhooks"]["largest_batch"] == 1000
    assert len({one["id"] for one in sandbox.receiver.statuses() if one["biz_opaque_callback_data"][:2] == "b:"}) == 450
    assert max(len(body) for body in sandbox.receiver.bodies) < 3 * 2**20


def test_acknowledged_bodies_come_again(sandbox: FakeMeta) -> None:
    sandbox.send("+491760000002", echo="m:4:1")
    sandbox.control("GET", "idle")
    before = len(sandbox.receiver.bodies)
    assert sandbox.control("POST", "webhooks/replay", {"count": 1, "times": 3})["bodies"] == 3
    sandbox.receiver.wait(lambda: len(sandbox.receiver.bodies) == before + 3)
    assert len(set(sandbox.receiver.bodies[-3:])) == 1


def test_statuses_get_lost_late_and_doubled_by_rule(sandbox: FakeMeta) -> None:
    sandbox.rule(where="webhook", status="delivered", drop=True, match={"echo": "w:"})
    sandbox.rule(where="webhook", status="sent", copies=3, match={"echo": "w:1:"})
    late = sandbox.rule(where="webhook", delay_s=3600, match={"echo": "w:2:"})
    doubled = sandbox.send("+491760000002", echo="w:1:1").wamid
    delayed = sandbox.send("+491760000002", echo="w:2:1").wamid

    sandbox.receiver.wait(lambda: [one["status"] for one in sandbox.receiver.statuses(doubled)].count("sent") == 3)
    assert sandbox.hits(late) >= 1
    assert not sandbox.receiver.statuses(delayed)
    assert sandbox.summary()["webhooks"]["pending"] >= 1

    sandbox.control("POST", "clock", {"advance_s": 3700})
    assert sandbox.receiver.wait(lambda: sandbox.receiver.statuses(delayed))
    assert not [one for one in sandbox.receiver.statuses() if one["status"] == "delivered" and
                one["biz_opaque_callback_data"].startswith("w:")]  # fmt: skip


def test_only_a_200_acknowledges_and_the_ledger_says_so() -> None:
    with running_sandbox("--profile", "every-status") as sandbox:
        sandbox.receiver.status = 503
        wamid = sandbox.send("+491780000001").wamid
        first = len(sandbox.receiver.wait(lambda: sandbox.receiver.bodies))
        (row,) = sandbox.ledger()
        assert (row["answered"], row["acknowledged"]) == (True, [])

        sandbox.receiver.status = 200
        sandbox.control("GET", "idle")

        assert len(sandbox.receiver.bodies) > first
        (row,) = sandbox.ledger()
        assert row["wamid"] == wamid
        assert row["acknowledged"] == ["delivered", "read", "sent"]
        assert sandbox.summary()["webhooks"]["http_503"] >= 1


def test_the_same_seed_brings_the_same_fates() -> None:
    fates = []
    for _ in range(2):
        with running_sandbox("--seed", "7") as sandbox:
            for n in range(40):
                sandbox.send(f"+49179{n:07d}", echo=f"m:{n}:1")
            sandbox.control("GET", "idle")
            fates.append(sorted((one["id"], one["status"]) for one in sandbox.receiver.statuses()))
    assert fates[0] == fates[1]


def test_the_ledger_keeps_what_books_are_compared_with(sandbox: FakeMeta) -> None:
    sandbox.send("+491760000009", number="151", echo="m:99:1")
    (row,) = [one for one in sandbox.ledger() if one["number"] == "151"]
    assert set(row) == {"at", "number", "to", "template", "echo", "wamid", "answered", "acknowledged"}
    assert (row["to"], row["template"], row["echo"]) == ("+491760000009", "spring_offer", "m:99:1")
    summary = sandbox.summary()
    assert summary["first_accepted_at"] <= row["at"] <= summary["last_accepted_at"]
    assert summary["max_rate_1s_by_number"]["151"] == 1
