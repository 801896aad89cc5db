"""Templates and numbers that change at Meta in mid-campaign: nobody twice, nobody forgotten, no hand needed."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import on_stage
from tests.support.servers import short_folder
from titanflow.cli.stage import Stage

pytestmark = pytest.mark.timeout(240)
_SECOND = [
    {"type": "HEADER", "format": "TEXT", "text": "Hello {{1}}"},
    {"type": "BODY", "text": "Hi {{1}}, code {{2}}, see you in {{3}} soon!"},
]
_VARIABLES = {**on_stage.TEXTS, "header.1": {"column": "first_name"}}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with short_folder() as folder:
        made = Stage(folder / "data", latency_ms=20, speed=20)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def _two_templates(stage: Stage, waba: str, ids: list[str], *, mps: int = 50) -> list[int]:
    """An account with a second template beside the sandbox's own; the second one comes first in the campaign."""
    stage.meta.post("/_sandbox/accounts", {"waba_id": waba})
    stage.meta.post("/_sandbox/templates", {"waba_id": waba, "name": "second", "components": _SECOND})
    on_stage.numbers(stage, waba, ids, mps=mps)
    return [int(on_stage.template(stage, waba, name)["id"]) for name in ("second", "spring_offer")]


def _change(stage: Stage, waba: str, name: str, **change: Any) -> None:
    stage.meta.post("/_sandbox/templates", {"waba_id": waba, "name": name, **change})


def _some_sent(stage: Stage, campaign_id: int, count: int) -> None:
    on_stage.until(lambda: len(on_stage.accepted(stage, campaign_id)) >= count, f"the first {count}")


def _by_template(stage: Stage, campaign_id: int) -> Counter[str]:
    return Counter(row["template"] for row in on_stage.accepted(stage, campaign_id))


@pytest.mark.parametrize(
    ("waba", "change"),
    [
        ("850000001", {"status": "PAUSED"}),  # 132015, and no webhook
        ("850000002", {"status": "DISABLED", "webhook": True}),
        ("850000003", {"status": "REJECTED", "webhook": True}),
        ("850000004", {"status": "DELETED"}),  # 132001
    ],
)
def test_a_stopped_template_hands_over_to_the_next_and_nobody_is_lost(
    stage: Stage, waba: str, change: dict[str, Any]
) -> None:
    """Weakness U2 of the Elixir system: the operator's order was thrown away, although it is the order of fallbacks."""
    number = waba[:4] + waba[-1]
    ids = _two_templates(stage, waba, [number])
    campaign_id = on_stage.campaign(stage, ids, [number], 250, variables=_VARIABLES)
    assert stage.api.get(f"/api/v1/campaigns/{campaign_id}")["template_ids"] == ids
    on_stage.start(stage, campaign_id)
    _some_sent(stage, campaign_id, 40)

    _change(stage, waba, "second", **change)

    done = on_stage.completed(stage, campaign_id)
    used = _by_template(stage, campaign_id)
    assert used["second"] >= 40
    assert used["second"] + used["spring_offer"] == 250
    assert not {"132001", "132015", "132016"} & done["failed"].keys()


def test_none_left_pauses_with_the_reason_and_its_return_is_shown_but_resumes_nothing(stage: Stage) -> None:
    waba = "860000001"
    ids = _two_templates(stage, waba, ["8601"])
    campaign_id = on_stage.campaign(stage, ids, ["8601"], 250, variables=_VARIABLES)
    on_stage.start(stage, campaign_id)
    _some_sent(stage, campaign_id, 20)
    for name in ("second", "spring_offer"):
        _change(stage, waba, name, status="PAUSED", webhook=True)

    paused = on_stage.until(
        lambda: (now := on_stage.stats(stage, campaign_id))["state"] == "paused" and now, "the pause"
    )
    assert "second is PAUSED, spring_offer is PAUSED" in paused["state_reason"]

    _change(stage, waba, "spring_offer", status="APPROVED", webhook=True)
    on_stage.until(lambda: "approved again" in on_stage.stats(stage, campaign_id)["state_reason"], "the news")
    assert on_stage.stats(stage, campaign_id)["state"] == "paused"
    stage.api.post(f"/api/v1/campaigns/{campaign_id}/resume")
    on_stage.completed(stage, campaign_id)
    assert len(on_stage.accepted(stage, campaign_id)) == 250


def test_what_is_wrong_for_one_person_fails_that_person_alone(stage: Stage) -> None:
    waba = "870000001"
    ids = _two_templates(stage, waba, ["8701"])[1:]
    body = {"name": "c", "template_ids": ids, "phone_number_ids": ["8701"]}
    bound = {"body.1": {"column": "first_name"}, "body.2": {"column": "code"}, "body.3": {"value": "Rome"}}
    campaign_id = int(stage.api.post("/api/v1/campaigns", {**body, "variables": bound})["id"])
    lines = ["phone,first_name,code"] + [f"+49151{campaign_id % 1000:03d}{n:05d},Ana,X{n}" for n in range(60)]
    lines[10] = lines[10].replace(",Ana,", ",,")  # nothing for {{1}}
    lines[20] = lines[20].replace(",Ana,", f",{'A' * 1100},")  # too long once filled in
    path = f"/api/v1/campaigns/{campaign_id}"
    _, made = on_stage.ask(stage, "POST", f"{path}/contacts", "\n".join(lines).encode(), Content_Type="text/csv")
    on_stage.until(lambda: stage.api.get(f"{path}/imports/{made['id']}")["state"] == "done", "the import")
    on_stage.start(stage, campaign_id)

    done = on_stage.completed(stage, campaign_id)
    assert done["failed"].get("-1") == 1
    assert done["failed"].get("132005") == 1
    assert len(on_stage.accepted(stage, campaign_id)) == 58


def test_a_number_that_becomes_unusable_hands_over_and_joins_again(stage: Stage) -> None:
    """Weakness L10 of the Elixir system: an exhausted number burnt its whole share although other numbers worked."""
    waba = "880000001"
    ids = _two_templates(stage, waba, ["8801", "8802"], mps=20)[1:]
    campaign_id = on_stage.campaign(stage, ids, ["8801", "8802"], 900)
    on_stage.start(stage, campaign_id)
    _some_sent(stage, campaign_id, 60)

    lost = {"phone_number_id": "8801", "status": "DISCONNECTED", "webhook": True}
    stage.meta.post("/_sandbox/numbers", lost)
    blocked = on_stage.until(
        lambda: (one := stage.api.get("/api/v1/phone-numbers/8801"))["state"] == "blocked" and one, "the block"
    )
    assert blocked["state_reason"]
    at_block = _by_number(stage, campaign_id)
    on_stage.until(lambda: _by_number(stage, campaign_id)["8802"] > at_block["8802"] + 60, "the other goes on")
    assert _by_number(stage, campaign_id)["8801"] == at_block["8801"]
    on_stage.until(lambda: stage.api.get("/api/v1/phone-numbers/8801")["status"] == "DISCONNECTED", "the poll")

    stage.meta.post("/_sandbox/numbers", {**lost, "status": "CONNECTED"})
    on_stage.until(lambda: stage.api.get("/api/v1/phone-numbers/8801")["state"] == "active", "its return")

    on_stage.completed(stage, campaign_id, timeout_s=120)
    after = _by_number(stage, campaign_id)
    assert after["8801"] > at_block["8801"]
    assert sum(after.values()) == 900


def _by_number(stage: Stage, campaign_id: int) -> Counter[str]:
    return Counter(row["number"] for row in on_stage.accepted(stage, campaign_id))


def test_an_account_that_meta_closes_stops_with_the_reason_and_goes_on_when_it_is_reinstated(stage: Stage) -> None:
    waba = "890000001"
    ids = _two_templates(stage, waba, ["8901"])[1:]
    campaign_id = on_stage.campaign(stage, ids, ["8901"], 300)
    on_stage.start(stage, campaign_id)
    _some_sent(stage, campaign_id, 30)

    stage.meta.post("/_sandbox/accounts", {"waba_id": waba, "event": "DISABLED_UPDATE"})
    on_stage.until(lambda: stage.api.get("/api/v1/phone-numbers/8901")["state"] == "blocked", "the block")
    assert on_stage.stats(stage, campaign_id)["state"] == "running"

    stage.meta.post("/_sandbox/accounts", {"waba_id": waba, "event": "REINSTATE"})
    done = on_stage.completed(stage, campaign_id)
    assert len(on_stage.accepted(stage, campaign_id)) == 300
    assert "131031" not in done["failed"]


def test_a_stop_in_mid_campaign_is_kept_to_the_last_moment(stage: Stage) -> None:
    """Weaknesses S2 and S4 of the Elixir system: STOP was no opt-out, and what stood in the list was sent anyway."""
    waba = "910000001"
    ids = _two_templates(stage, waba, ["9101"], mps=20)[1:]
    campaign_id = on_stage.campaign(stage, ids, ["9101"], 200)
    on_stage.start(stage, campaign_id)
    _some_sent(stage, campaign_id, 10)
    last = f"+49151{campaign_id % 1000:03d}00199"

    stage.meta.post("/_sandbox/inbound", {"number": "9101", "from": last, "text": "Abmelden!"})

    done = on_stage.completed(stage, campaign_id)
    assert done["excluded"] == {"opted_out": 1}
    to_them = [row["echo"] for row in on_stage.accepted(stage, campaign_id) if row["to"] == last]
    assert [echo for echo in to_them if echo.startswith("m:")] == [], "the confirmation of the STOP is no marketing"
    assert stage.meta.get("/_sandbox/summary")["sent_after_stop"] == 0


def test_every_template_of_an_account_is_read_however_the_pages_come(stage: Stage) -> None:
    """Weakness U4 of the Elixir system: templates beyond 250 were cut off, and bound to the number synced last."""
    waba = "930000001"
    stage.meta.post("/_sandbox/accounts", {"waba_id": waba})
    for n in range(120):
        body = [{"type": "BODY", "text": f"Text number {n}"}]
        stage.meta.post("/_sandbox/templates", {"waba_id": waba, "name": f"t{n}", "components": body})
    stage.meta.post("/_sandbox/paging", {"limit": 25, "empty_first": True})
    try:
        on_stage.numbers(stage, waba, ["9301", "9302"])
    finally:
        stage.meta.post("/_sandbox/paging", {"limit": 0, "empty_first": False})

    items = stage.api.get("/api/v1/templates?limit=500")["items"]
    assert len([one for one in items if one["waba_id"] == waba]) == 123


def test_a_new_token_is_used_at_once_by_numbers_that_send(stage: Stage) -> None:
    """Weakness U12 of the Elixir system: a token changed on the page wasn't used until the limiter restarted."""
    waba = "920000001"
    ids = _two_templates(stage, waba, ["9201"], mps=20)[1:]
    campaign_id = on_stage.campaign(stage, ids, ["9201"], 200)
    on_stage.start(stage, campaign_id)
    _some_sent(stage, campaign_id, 10)

    stage.api.patch("/api/v1/phone-numbers/9201", {"access_token": "another-token"})
    _some_sent(
        stage, campaign_id, len(on_stage.accepted(stage, campaign_id)) + 30
    )  # what left with the old one is back
    stage.meta.post("/_sandbox/tokens", {"token": "another-token"})  # from now on every other one is refused: last here

    done = on_stage.completed(stage, campaign_id)
    assert "190" not in done["failed"]
    assert len(on_stage.accepted(stage, campaign_id)) == 200
