"""In doubt: the evidence, the operator's word, the policy; and that nothing else ever sends one again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.builders import ACampaign, a_campaign, a_sender, claimed, counts
from titanflow.domain import completion as words
from titanflow.domain.doubts import expectation
from titanflow.errors import Conflict, NotFound
from titanflow.services import campaigns, doubts, retries
from titanflow.storage import claims, completion, statuses
from titanflow.storage import doubts as rows
from titanflow.storage.claims import Claim, Sender
from titanflow.storage.counters import heal
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.storage.rows import fetch_all
from titanflow.storage.settlements import Settlement, settle
from titanflow.storage.statuses import StatusRow

_AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def _doubted(db: Database, *, contacts: int = 1, hours: int | None = None) -> tuple[ACampaign, list[Claim], Sender]:
    """A running campaign all of whose contacts are in doubt. hours: of its policy."""
    campaign = a_campaign(db, contacts=contacts)
    sender = a_sender(db, campaign.number_id)
    taken = claimed(db, campaign, sender)
    settle(
        db,
        [Settlement(one.log_id or 0, 1, "in_doubt", error_code=131016, error_detail="131016: down") for one in taken],
        node_id=1,
    )
    with db.connection() as connection:
        connection.execute("UPDATE campaigns SET resend_after_hours = %s", [hours])
    return campaign, taken, sender


def _age(db: Database, **interval: float) -> None:
    with db.connection() as connection:
        connection.execute(
            "UPDATE message_logs SET due_at = due_at - %s WHERE state = 'in_doubt'", [timedelta(**interval)]
        )


def _resolve(db: Database, fast_copy: FastCopy, campaign: ACampaign, verdict: Any, **which: Any) -> dict[str, Any]:
    chosen = {"log_ids": [], "older_than_hours": None, **which}
    return doubts.resolve(db, fast_copy, campaign.id, verdict, by="ana", **chosen)


def _report(db: Database, claim: Claim, status: str, attempt: int) -> None:
    row = StatusRow(f"wamid.{claim.log_id}.{attempt}", status, _AT, claim.log_id, attempt)
    with db.transaction() as transaction:
        statuses.apply(transaction, [row], node_id=3)


def test_each_origin_of_a_doubt_has_its_evidence(db: Database) -> None:
    """An ambiguous answer, a sender that died, an answer that never came."""
    campaign = a_campaign(db, contacts=3)
    first = a_sender(db, campaign.number_id, epoch=10)
    answered, _, _ = claimed(db, campaign, first)
    settle(db, [Settlement(answered.log_id or 0, 1, "in_doubt", error_detail="ReadTimeout: no answer")], node_id=1)
    with db.connection() as connection:
        connection.execute(
            "UPDATE message_logs SET due_at = now() - interval '1 s', incarnation = 11 WHERE contact_id = %s",
            [campaign.contact_ids[2]],
        )
    a_sender(db, campaign.number_id, node_id=2, epoch=11)
    claims.doubt(db, node_id=2, number_id=campaign.number_id, epoch=11)

    page = doubts.page(db, campaign.id, after=0, limit=2)
    rest = doubts.page(db, campaign.id, after=int(page["next_cursor"]), limit=2)

    seen = [one["evidence"] for one in page["items"] + rest["items"]]
    assert seen[0] == "Attempt 1 left, and its outcome is unknown: ReadTimeout: no answer"
    assert "(incarnation 10) died or lost the number" in seen[1]
    assert "no answer was recorded" in seen[2]
    assert (page["total"], rest["next_cursor"], page["doubt_policy"]) == (3, None, "never_resend")
    assert page["items"][0]["phone"] == campaign.phones[0]
    assert page["items"][0]["age_seconds"] >= 0


def test_doubts_of_a_campaign_that_is_not_there_are_404(db: Database) -> None:
    with pytest.raises(NotFound):
        doubts.page(db, 1, after=0, limit=2)


def test_failed_and_sent_are_the_operators_word_and_it_is_kept(db: Database, fast_copy: FastCopy) -> None:
    campaign, [one, two, three], _ = _doubted(db, contacts=3)

    answer = _resolve(db, fast_copy, campaign, "failed", log_ids=[one.log_id])
    assert answer == {"id": campaign.id, "state": "running", "resolved": 1, "in_doubt": 2}
    assert _resolve(db, fast_copy, campaign, "failed", log_ids=[one.log_id])["resolved"] == 0
    assert _resolve(db, fast_copy, campaign, "sent", log_ids=[two.log_id, 987654])["resolved"] == 1

    assert counts(db, campaign.id) == {"failed": 1, "sent": 1, "in_doubt": 1}
    assert heal(db, campaign.id) == {}
    kept = fetch_all(db, "SELECT who, what, target, detail FROM audit_log ORDER BY id", {})
    assert [(row["who"], row["what"], row["detail"]["as"], row["detail"]["count"]) for row in kept] == [
        ("ana", "doubts.resolved", "failed", 1),
        ("ana", "doubts.resolved", "sent", 1),
    ]
    assert kept[0]["target"] == f"campaign {campaign.id}"
    _report(db, two, "read", 1)  # Meta's own report still counts
    assert counts(db, campaign.id) == {"failed": 1, "read": 1, "in_doubt": 1}
    assert three.log_id is not None
    assert retries.retry(db, fast_copy, campaign.id, [], by="ana")["retrying"] == 1  # the one that counts as failed


def test_all_that_are_old_enough_at_once(db: Database, fast_copy: FastCopy) -> None:
    campaign, _, _ = _doubted(db, contacts=4)
    _age(db, hours=5)
    assert _resolve(db, fast_copy, campaign, "failed", older_than_hours=6)["resolved"] == 0
    assert _resolve(db, fast_copy, campaign, "failed", older_than_hours=4)["resolved"] == 4
    assert heal(db, campaign.id) == {}


def test_a_resend_on_a_completed_campaign_lets_it_run_again(db: Database, fast_copy: FastCopy) -> None:
    campaign, [one], sender = _doubted(db)
    assert completion.complete(db, campaign.id, reason=None)

    answer = _resolve(db, fast_copy, campaign, "resend", log_ids=[one.log_id])

    assert (answer["state"], answer["resolved"]) == ("running", 1)
    [again] = claimed(db, campaign, sender, again=True)
    assert (again.log_id, again.attempt) == (one.log_id, 2)
    kept = fetch_all(db, "SELECT attempt, state::text, error_code FROM message_attempts", {})
    assert kept == [{"attempt": 1, "state": "in_doubt", "error_code": 131016}]
    assert heal(db, campaign.id) == {}


def test_a_cancelled_campaign_resends_nothing(db: Database, fast_copy: FastCopy) -> None:
    campaign, [one], _ = _doubted(db)
    campaigns.cancel(db, fast_copy, campaign.id, by="ana")
    with pytest.raises(Conflict, match="is cancelled and can't be told to send again"):
        _resolve(db, fast_copy, campaign, "resend", log_ids=[one.log_id])
    assert _resolve(db, fast_copy, campaign, "failed", log_ids=[one.log_id])["resolved"] == 1


def test_never_resend_can_not_be_broken(db: Database, fast_copy: FastCopy) -> None:
    """Promise 2: by default nothing but an explicit word sends a doubt again, however old it is."""
    campaign, _, sender = _doubted(db, contacts=3)
    other, _, _ = _doubted(db, contacts=3, hours=1)  # sets the policy of both
    with db.connection() as connection:
        connection.execute("UPDATE campaigns SET resend_after_hours = NULL WHERE id = %s", [campaign.id])
    _age(db, days=4000)

    claims.doubt(db, node_id=1)
    assert rows.resend_by_policy(db, node_id=1) == 3
    retries.retry(db, fast_copy, campaign.id, {"131016", "unknown"}, by="ana")
    claims.doubt(db, node_id=2, number_id=campaign.number_id, epoch=99)

    assert counts(db, campaign.id) == {"in_doubt": 3}
    assert counts(db, other.id) == {"retrying": 3}
    assert claimed(db, campaign, sender) == []
    assert claimed(db, campaign, sender, again=True) == []
    assert completion.complete(db, campaign.id, reason=None)


def test_a_policy_sends_again_after_its_hours_and_keeps_the_campaign_open(db: Database) -> None:
    campaign, [one], sender = _doubted(db, hours=6)
    _age(db, hours=5, minutes=59)
    assert rows.resend_by_policy(db, node_id=1) == 0
    assert completion.waits_for_doubts(db, campaign.id)
    assert not completion.complete(db, campaign.id, reason=None)

    _age(db, minutes=2)
    assert rows.resend_by_policy(db, node_id=1) == 1
    assert rows.resend_by_policy(db, node_id=1) == 0

    [again] = claimed(db, campaign, sender, again=True)
    assert (again.log_id, again.attempt) == (one.log_id, 2)
    _report(db, one, "failed", 1)  # a late echo of the first attempt
    assert counts(db, campaign.id) == {"claimed": 1}
    assert heal(db, campaign.id) == {}


def test_a_report_before_the_second_attempt_stops_it(db: Database) -> None:
    """Until the claim Meta's word on the first attempt counts: nobody gets it twice who needn't."""
    campaign, [one], sender = _doubted(db, hours=1)
    _age(db, hours=2)
    rows.resend_by_policy(db, node_id=1)

    _report(db, one, "delivered", 1)

    assert claimed(db, campaign, sender, again=True) == []
    assert counts(db, campaign.id) == {"delivered": 1}
    assert heal(db, campaign.id) == {}


def test_a_paused_campaign_resends_nothing_by_itself(db: Database, fast_copy: FastCopy) -> None:
    campaign, _, _ = _doubted(db, hours=1)
    _age(db, hours=2)
    campaigns.pause(db, fast_copy, campaign.id, by="ana")
    assert rows.resend_by_policy(db, node_id=1) == 0


def test_a_cancellation_gives_a_waiting_resend_back_to_doubt(db: Database, fast_copy: FastCopy) -> None:
    campaign, _, _ = _doubted(db, hours=1)
    _age(db, hours=2)
    rows.resend_by_policy(db, node_id=1)

    campaigns.cancel(db, fast_copy, campaign.id, by="ana")

    assert counts(db, campaign.id) == {"in_doubt": 1}
    assert heal(db, campaign.id) == {}
    assert doubts.page(db, campaign.id, after=0, limit=5)["items"][0]["age_seconds"] > 7000


def test_nothing_in_flight_is_ignored_when_a_campaign_completes(db: Database) -> None:
    """Weakness L14 of the Elixir system: completion ignores in-flight work and kills it with up to 500 in hand."""
    campaign = a_campaign(db, contacts=2)
    sender = a_sender(db, campaign.number_id)
    one, two = claimed(db, campaign, sender)
    settle(db, [Settlement(one.log_id or 0, 1, "sent", wamid="w1")], node_id=1)
    assert not completion.complete(db, campaign.id, reason=None)
    settle(db, [Settlement(two.log_id or 0, 1, "retrying", error_code=4, due_in_s=60)], node_id=1)
    assert not completion.complete(db, campaign.id, reason=None)


def test_a_campaign_whose_people_are_all_excluded_completes_and_says_so(db: Database) -> None:
    """Weakness U17 of the Elixir system: an all-filtered campaign runs for ever."""
    campaign = a_campaign(db, contacts=3)
    with db.connection() as connection:
        connection.execute("INSERT INTO suppressions (phone, source) SELECT phone, 'manual' FROM contacts")
    assert claimed(db, campaign, a_sender(db, campaign.number_id)) == []
    told = counts(db, campaign.id)
    reason = words.sentence({**dict.fromkeys(("sent", "delivered", "read", "failed", "in_doubt"), 0), **told})

    assert completion.complete(db, campaign.id, reason=reason)

    assert campaigns.get(db, campaign.id)["state_reason"] == "Nobody was sent to: all 3 were excluded"


@pytest.mark.parametrize(
    ("counted", "said"),
    [
        ({"read": 5, "excluded": 2}, None),
        (
            {"read": 5, "failed": 1200, "in_doubt": 3},
            "Completed with 1,200 failed and 3 in doubt, which may have been sent",
        ),
        ({"failed": 2}, "Completed with 2 failed"),
        ({}, "Nobody was sent to: the list is empty"),
    ],
)
def test_the_end_is_told_in_a_sentence_if_there_is_something_to_tell(counted: dict[str, int], said: str | None) -> None:
    states = ("sent", "delivered", "read", "failed", "in_doubt", "excluded")
    assert words.sentence({**dict.fromkeys(states, 0), **counted}) == said


def test_what_to_expect_depends_on_age_and_policy() -> None:
    assert "never sent again" in expectation(_AT, now=_AT + timedelta(minutes=1), resend_after_hours=None)
    assert "most likely never taken" in expectation(_AT, now=_AT + timedelta(hours=3), resend_after_hours=None)
    told = expectation(_AT, now=_AT, resend_after_hours=6)
    assert "2026-11-24 18:00 UTC" in told
    assert "gets it twice" in told
