"""Promises 3, 8 and 9 when Meta refuses everybody: no list is burnt, the others go on, the reason can be read."""

from collections.abc import Iterator

import pytest

from tests.support import on_stage
from tests.support.servers import short_folder
from titanflow.cli.stage import Stage

_PEOPLE = 150


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with short_folder() as folder:
        made = Stage(folder / "data", profile="every-status", latency_ms=20, speed=20)
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.fixture(autouse=True)
def _no_rules_left(stage: Stage) -> Iterator[None]:
    yield
    on_stage.remove_rules(stage)


def _done(stage: Stage, campaign_id: int) -> int:
    counts = on_stage.stats(stage, campaign_id)["counts"]
    return sum(counts[state] for state in ("sent", "delivered", "read"))


@pytest.mark.parametrize(("waba", "first", "code"), [("840000001", "8401", 190), ("840000002", "8411", 131031)])
def test_a_wrong_token_or_locked_account_fails_nobody(stage: Stage, waba: str, first: str, code: int) -> None:
    """Weakness L11 of the Elixir system: it failed every contact at full speed, and none could be retried."""
    on_stage.numbers(stage, waba, [first])
    stage.meta.post("/_sandbox/rules", {"where": "answer", "code": code, "number": first})
    template_id = on_stage.template(stage, waba, "spring_offer")["id"]
    campaign_id = on_stage.campaign(stage, [template_id], [first], _PEOPLE)

    on_stage.start(stage, campaign_id)

    number = on_stage.until(
        lambda: (one := stage.api.get(f"/api/v1/phone-numbers/{first}"))["state"] == "blocked" and one, "the block"
    )
    assert number["state_reason"]
    on_stage.until(lambda: on_stage.stats(stage, campaign_id)["counts"]["claimed"] == 0, "the answers")
    counts = on_stage.stats(stage, campaign_id)["counts"]
    assert (counts["failed"], counts["in_doubt"]) == (0, 0)
    assert counts["pending"] + counts["retrying"] == _PEOPLE

    on_stage.remove_rules(stage)
    stage.api.post(f"/api/v1/phone-numbers/{first}/resume")
    on_stage.until(lambda: _done(stage, campaign_id) == _PEOPLE, "all of them")


def test_a_number_that_cannot_send_leaves_its_people_to_the_others(stage: Stage) -> None:
    """Weakness L10 of the Elixir system: an exhausted number burnt its whole share though others worked."""
    on_stage.numbers(stage, "840000003", ["8421", "8422"])
    stage.meta.post("/_sandbox/rules", {"where": "answer", "code": 133010, "number": "8421"})
    template_id = on_stage.template(stage, "840000003", "spring_offer")["id"]
    campaign_id = on_stage.campaign(stage, [template_id], ["8421", "8422"], _PEOPLE)

    on_stage.start(stage, campaign_id)

    on_stage.until(lambda: _done(stage, campaign_id) == _PEOPLE, "all of them by the other number")
    shares = {one["phone_number_id"]: one["sent"] for one in on_stage.stats(stage, campaign_id)["numbers"]}
    assert shares == {"8421": 0, "8422": _PEOPLE}


def test_with_no_template_left_the_campaign_waits_with_the_reason_and_all_its_people(stage: Stage) -> None:
    """Weakness L9 of the Elixir system: a message that found all templates gone had no row and was forgotten."""
    on_stage.numbers(stage, "840000004", ["8431"])
    stage.meta.post("/_sandbox/rules", {"where": "answer", "code": 132015, "number": "8431"})
    template_id = on_stage.template(stage, "840000004", "spring_offer")["id"]
    campaign_id = on_stage.campaign(stage, [template_id], ["8431"], _PEOPLE)

    on_stage.start(stage, campaign_id)

    stats = on_stage.until(
        lambda: (
            (one := on_stage.stats(stage, campaign_id))["state"] == "paused" and one["counts"]["claimed"] == 0 and one
        ),
        "the pause",
    )
    assert "spring_offer is PAUSED" in stats["state_reason"]
    assert stats["counts"]["failed"] == 0
    assert stats["counts"]["pending"] + stats["counts"]["retrying"] == _PEOPLE
    assert stage.api.get(f"/api/v1/campaigns/{campaign_id}/audit")["balanced"]


def test_throttled_messages_go_again_and_fail_nobody(stage: Stage) -> None:
    """Weakness L13 of the Elixir system: HTTP 429 was recorded as failed instead of being sent again."""
    on_stage.numbers(stage, "840000005", ["8441"])
    rule = {"where": "answer", "code": 130429, "http_status": 429, "number": "8441", "next": 5}
    stage.meta.post("/_sandbox/rules", rule)
    template_id = on_stage.template(stage, "840000005", "spring_offer")["id"]
    campaign_id = on_stage.campaign(stage, [template_id], ["8441"], 40)

    on_stage.start(stage, campaign_id)

    on_stage.until(lambda: _done(stage, campaign_id) == 40, "all of them")
    assert on_stage.stats(stage, campaign_id)["counts"]["failed"] == 0
