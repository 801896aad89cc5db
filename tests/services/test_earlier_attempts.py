"""What is true of an earlier attempt stays true when the next one is called off: nobody is called excluded or
cancelled who may have got the message."""

import pytest

from tests.support.builders import ACampaign, a_campaign, a_sender, claimed, counts
from titanflow.services import campaigns, retries
from titanflow.storage import completion, doubts
from titanflow.storage.claims import Claim, Sender
from titanflow.storage.counters import heal
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.storage.settlements import Settlement, settle


@pytest.fixture
def resending(db: Database) -> tuple[ACampaign, Sender, Claim]:
    """A campaign whose only contact is in doubt for longer than its policy waits."""
    campaign = a_campaign(db, contacts=1)
    sender = a_sender(db, campaign.number_id)
    [one] = claimed(db, campaign, sender)
    settle(db, [Settlement(one.log_id or 0, 1, "in_doubt")], node_id=1)
    with db.connection() as connection:
        connection.execute("UPDATE campaigns SET resend_after_hours = 1")
        connection.execute("UPDATE message_logs SET due_at = due_at - interval '2 hours'")
    return campaign, sender, one


def _suppress_everybody(db: Database) -> None:
    with db.connection() as connection:
        connection.execute("INSERT INTO suppressions (phone, source) SELECT phone, 'manual' FROM contacts")


def test_a_suppression_gives_a_waiting_resend_back_to_doubt(
    db: Database, resending: tuple[ACampaign, Sender, Claim]
) -> None:
    campaign, sender, _ = resending
    doubts.resend_by_policy(db, node_id=1)
    _suppress_everybody(db)

    assert claimed(db, campaign, sender, again=True) == []
    assert counts(db, campaign.id) == {"in_doubt": 1}
    assert heal(db, campaign.id) == {}


def test_a_suppressed_doubt_is_not_sent_again_and_nobody_waits_for_it(
    db: Database, resending: tuple[ACampaign, Sender, Claim]
) -> None:
    campaign, _, _ = resending
    assert completion.waits_for_doubts(db, campaign.id)
    _suppress_everybody(db)

    assert doubts.resend_by_policy(db, node_id=1) == 0
    assert not completion.waits_for_doubts(db, campaign.id)
    assert completion.complete(db, campaign.id, reason=None)


@pytest.mark.parametrize("called_off", ["suppressed", "cancelled while it waits", "cancelled in flight"])
def test_a_refused_second_attempt_leaves_the_first_one_in_doubt(
    db: Database, fast_copy: FastCopy, resending: tuple[ACampaign, Sender, Claim], called_off: str
) -> None:
    campaign, sender, _ = resending
    doubts.resend_by_policy(db, node_id=1)
    [second] = claimed(db, campaign, sender, again=True)
    refused = Settlement(second.log_id or 0, 2, "retrying", error_code=130429)

    if called_off == "cancelled in flight":
        campaigns.cancel(db, fast_copy, campaign.id, by="ana")
    settle(db, [refused], node_id=1)
    if called_off == "suppressed":
        _suppress_everybody(db)
        claimed(db, campaign, sender, again=True)
    elif called_off == "cancelled while it waits":
        campaigns.cancel(db, fast_copy, campaign.id, by="ana")

    assert counts(db, campaign.id) == {"in_doubt": 1}
    assert heal(db, campaign.id) == {}
    assert len(doubts.page(db, campaign.id, after=0, limit=5)) == 1


def test_a_retry_of_somebody_who_opted_out_meanwhile_stays_failed(db: Database, fast_copy: FastCopy) -> None:
    campaign = a_campaign(db, contacts=1)
    sender = a_sender(db, campaign.number_id)
    [one] = claimed(db, campaign, sender)
    settle(db, [Settlement(one.log_id or 0, 1, "failed", error_code=131008)], node_id=1)
    assert retries.retry(db, fast_copy, campaign.id, [], by="ana")["retrying"] == 1
    _suppress_everybody(db)

    assert claimed(db, campaign, sender, again=True) == []
    assert counts(db, campaign.id) == {"failed": 1}
    assert reasons(db, campaign.id) == {("failed", "131008"): 1}
    assert heal(db, campaign.id) == {}


def reasons(db: Database, campaign_id: int) -> dict[tuple[str, str], int]:
    """The counted reasons that are not zero."""
    with db.connection() as connection:
        rows = connection.execute(
            "SELECT state::text, reason, sum(count)::int FROM campaign_reasons WHERE campaign_id = %s"
            " GROUP BY 1, 2 HAVING sum(count) <> 0",
            [campaign_id],
        ).fetchall()
    return {(row[0], row[1]): row[2] for row in rows}
