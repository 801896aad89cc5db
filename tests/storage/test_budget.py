"""Promise 7 for tiers: a portfolio never begins to write to more people in 24 hours than Meta lets it."""

import random
import threading
from datetime import timedelta

import pytest

from tests.support.builders import ACampaign, a_campaign, a_number, a_sender, a_template, counts
from tests.support.inbox import a_conversation, a_reply, reply
from titanflow.storage import alarms, claims, outbox, portfolios, reports
from titanflow.storage.budget_claims import Taken, claim_within_budget
from titanflow.storage.claims import Sender
from titanflow.storage.counters import heal
from titanflow.storage.database import Database
from titanflow.storage.settlements import Settlement, settle
from titanflow.storage.statuses import StatusRow, apply

_ACCOUNT = "9001"  # the account of the builders' numbers stands for the portfolio


def _take(
    db: Database, campaign: ACampaign, sender: Sender, some: slice = slice(None), *, again: bool = False
) -> Taken:
    return claim_within_budget(
        db,
        campaign.contact_ids[some],
        portfolio_id=_ACCOUNT,
        campaign_id=campaign.id,
        template_id=campaign.template_id,
        sender=sender,
        again=again,
    )


def _settle(db: Database, taken: Taken, state: str, error_code: int | None = None) -> None:
    settlements = [
        Settlement(one.log_id, one.attempt, state, error_code=error_code)  # type: ignore[arg-type]  # a SettledState
        for one in taken.claims
        if one.log_id is not None
    ]
    settle(db, settlements, node_id=1)


def _let_pass(db: Database, hours: float) -> None:
    """Shift what was counted into the past."""
    with db.connection() as connection:
        connection.execute(
            "UPDATE portfolio_people SET counted_at = counted_at - make_interval(secs => %s)", [hours * 3600]
        )
        connection.execute(
            "UPDATE message_logs SET claimed_at = claimed_at - make_interval(secs => %s)", [hours * 3600]
        )


def _used(db: Database) -> int:
    with db.connection() as connection:
        row = connection.execute("SELECT used FROM portfolios WHERE id = %s", [_ACCOUNT]).fetchone()
    assert row is not None
    assert portfolios.drift(db) == {}
    return int(row[0])


def test_a_claim_takes_no_more_people_than_the_tier_has_places(db: Database) -> None:
    campaign = a_campaign(db, contacts=8)
    sender = a_sender(db, campaign.number_id)
    portfolios.set_tier(db, _ACCOUNT, 5)

    taken = _take(db, campaign, sender)

    assert [one.contact_id for one in taken.claims] == campaign.contact_ids[:5]
    assert taken.without_place == campaign.contact_ids[5:]
    assert counts(db, campaign.id) == {"pending": 3, "claimed": 5}
    assert heal(db, campaign.id) == {}
    assert _used(db) == 5


def test_who_counts_already_is_written_to_again_without_a_place(db: Database) -> None:
    first, second = a_campaign(db, contacts=4), a_campaign(db, contacts=6)  # the same people, and two more
    sender = a_sender(db, first.number_id)
    portfolios.set_tier(db, _ACCOUNT, 4)
    _take(db, first, sender)

    taken = _take(db, second, sender)

    assert len(taken.claims) == 4
    assert taken.without_place == second.contact_ids[4:]
    assert _used(db) == 4


def test_another_message_prolongs_the_count(db: Database) -> None:
    """Rolling: who was written to 20 hours after the first time counts for 24 hours more."""
    first, second = a_campaign(db, contacts=1), a_campaign(db, contacts=1)
    sender = a_sender(db, first.number_id)
    portfolios.set_tier(db, _ACCOUNT, 1)
    _take(db, first, sender)
    _let_pass(db, 20)
    _take(db, second, sender)
    _let_pass(db, 20)
    portfolios.keep(db)

    other = a_campaign(db, contacts=1, first_phone=492000000000)

    assert _take(db, other, sender).claims == []
    _let_pass(db, 4.1)
    assert portfolios.keep(db).expired == 1
    assert len(_take(db, other, sender).claims) == 1


def test_who_wrote_to_this_number_within_a_day_needs_no_place(db: Database) -> None:
    campaign = a_campaign(db, contacts=3)
    sender = a_sender(db, campaign.number_id)
    portfolios.set_tier(db, _ACCOUNT, 1)
    with db.connection() as connection:
        connection.execute(
            "INSERT INTO conversations (number_id, phone, last_message_at, last_inbound_at)"
            " VALUES (%(n)s, %(open)s, now(), now() - interval '23 h'),"
            " (%(n)s, %(over)s, now(), now() - interval '25 h')",
            {"n": campaign.number_id, "open": campaign.phones[1], "over": campaign.phones[2]},
        )

    taken = _take(db, campaign, sender)

    assert sorted(one.contact_id for one in taken.claims) == campaign.contact_ids[:2]
    assert _used(db) == 1


def test_a_place_comes_back_when_nothing_reached_the_person(db: Database) -> None:
    """Refused at once, or reported as failed later. In doubt and waiting for another attempt stay counted."""
    campaign = a_campaign(db, contacts=5)
    sender = a_sender(db, campaign.number_id)
    portfolios.set_tier(db, _ACCOUNT, 4)
    for n, state in enumerate(("failed", "in_doubt", "retrying", "sent")):
        _settle(db, _take(db, campaign, sender, slice(n, n + 1)), state, error_code=131026)
    assert _take(db, campaign, sender, slice(4, 5)).claims == []

    assert portfolios.keep(db).given_back == 1
    assert _used(db) == 3
    with db.transaction() as transaction:
        [log_id] = transaction.execute("SELECT id FROM message_logs WHERE state = 'sent'").fetchone() or [0]
        at = transaction.execute("SELECT now()").fetchone()
        assert at is not None
        apply(transaction, [StatusRow("w", "failed", at[0], log_id, 1, 131049)], node_id=1)

    assert portfolios.keep(db).given_back == 1
    assert _used(db) == 2
    assert len(_take(db, campaign, sender, slice(4, 5)).claims) == 1


def test_a_place_stays_taken_while_another_message_reached_the_person(db: Database) -> None:
    first, second = a_campaign(db, contacts=1), a_campaign(db, contacts=1)
    sender = a_sender(db, first.number_id)
    portfolios.set_tier(db, _ACCOUNT, 1)
    _settle(db, _take(db, first, sender), "sent")
    _settle(db, _take(db, second, sender), "failed", error_code=131026)

    portfolios.keep(db)

    assert _used(db) == 1


def test_who_was_reported_as_failed_and_then_as_delivered_counts_again(db: Database) -> None:
    campaign = a_campaign(db, contacts=1)
    sender = a_sender(db, campaign.number_id)
    portfolios.set_tier(db, _ACCOUNT, 1)
    [one] = _take(db, campaign, sender).claims
    for status, used in (("failed", 0), ("delivered", 1)):
        with db.transaction() as transaction:
            at = transaction.execute("SELECT now()").fetchone()
            assert at is not None
            apply(transaction, [StatusRow("w", status, at[0], one.log_id, 1, None)], node_id=1)
        portfolios.keep(db)
        assert _used(db) == used


def test_a_refused_message_keeps_its_place_for_the_next_attempt(db: Database) -> None:
    campaign = a_campaign(db, contacts=2)
    sender = a_sender(db, campaign.number_id)
    portfolios.set_tier(db, _ACCOUNT, 1)
    _settle(db, _take(db, campaign, sender, slice(0, 1)), "retrying", error_code=130429)
    portfolios.keep(db)

    assert _take(db, campaign, sender, slice(1, 2)).claims == []
    again = _take(db, campaign, sender, slice(0, 1), again=True)

    assert [one.attempt for one in again.claims] == [2]
    assert _used(db) == 1


def test_a_message_without_a_place_is_due_again_later(db: Database) -> None:
    """Else it would be read and refused in a circle."""
    campaign = a_campaign(db, contacts=2)
    sender = a_sender(db, campaign.number_id)
    portfolios.set_tier(db, _ACCOUNT, 1)
    _settle(db, _take(db, campaign, sender, slice(0, 1)), "retrying", error_code=131049)
    _let_pass(db, 25)
    portfolios.keep(db)
    _take(db, campaign, sender, slice(1, 2))

    again = _take(db, campaign, sender, slice(0, 1), again=True)

    assert (again.claims, again.without_place) == ([], campaign.contact_ids[:1])
    with db.connection() as connection:
        due = connection.execute("SELECT due_at > now() FROM message_logs WHERE state = 'retrying'").fetchone()
    assert due == (True,)


def test_a_limit_that_comes_into_force_counts_those_reached_before(db: Database) -> None:
    campaign = a_campaign(db, contacts=6)
    sender = a_sender(db, campaign.number_id)
    early, late = campaign.contact_ids[:2], campaign.contact_ids[2:4]
    for ids in (early, late):
        claims.claim(db, ids, campaign_id=campaign.id, template_id=campaign.template_id, sender=sender)
        if ids is early:
            _let_pass(db, 25)

    portfolios.set_tier(db, _ACCOUNT, 3)

    assert _used(db) == 2
    assert len(_take(db, campaign, sender).claims) == 1


def test_a_claim_made_before_its_sender_knew_of_the_limit_is_counted_a_minute_later(db: Database) -> None:
    campaign = a_campaign(db, contacts=2)
    sender = a_sender(db, campaign.number_id)
    portfolios.set_tier(db, _ACCOUNT, 10)
    claims.claim(db, campaign.contact_ids, campaign_id=campaign.id, template_id=campaign.template_id, sender=sender)
    assert _used(db) == 0
    with db.connection() as connection:
        connection.execute("UPDATE portfolios SET recount_at = recount_at - interval '61 s'")

    portfolios.keep(db)

    assert _used(db) == 2


def test_the_audit_sees_a_budget_that_is_not_the_number_of_its_people(db: Database) -> None:
    campaign = a_campaign(db, contacts=2)
    portfolios.set_tier(db, _ACCOUNT, 10)
    _take(db, campaign, a_sender(db, campaign.number_id))
    assert reports.audit(db, campaign.id)["budget_drift"] == 0
    with db.connection() as connection:
        connection.execute("UPDATE portfolios SET used = used + 3")

    assert reports.audit(db, campaign.id)["budget_drift"] == 3
    assert portfolios.heal(db) == {_ACCOUNT: 3}
    assert portfolios.heal(db) == {}
    assert [alarm["kind"] for alarm in alarms.page(db, state="open", before=2**31, limit=9)] == ["budget_drift"]


def test_a_higher_tier_lets_more_go_and_a_lower_one_lets_nobody_new(db: Database) -> None:
    campaign = a_campaign(db, contacts=6)
    sender = a_sender(db, campaign.number_id)
    portfolios.set_tier(db, _ACCOUNT, 2)
    assert len(_take(db, campaign, sender).claims) == 2
    portfolios.set_tier(db, _ACCOUNT, 4)
    assert len(_take(db, campaign, sender).claims) == 2
    portfolios.set_tier(db, _ACCOUNT, 3)

    assert _take(db, campaign, sender).claims == []
    assert _used(db) == 4
    assert portfolios.set_tier(db, _ACCOUNT, "TIER_UNLIMITED") is None
    assert len(_take(db, campaign, sender).claims) == 2  # a sender that doesn't know yet goes on as well


def test_not_set_is_the_smallest_tier_unless_more_is_known(db: Database) -> None:
    assert portfolios.set_tier(db, _ACCOUNT, "TIER_NOT_SET") == 250
    assert portfolios.set_tier(db, _ACCOUNT, "TIER_10K") == 10_000
    assert portfolios.set_tier(db, _ACCOUNT, "TIER_NOT_SET") == 10_000


def test_two_accounts_of_one_portfolio_share_its_budget(db: Database) -> None:
    campaign = a_campaign(db, contacts=4)
    sender = a_sender(db, campaign.number_id)
    portfolios.set_tier(db, "P1", 10)
    claims.claim(db, campaign.contact_ids, campaign_id=campaign.id, template_id=campaign.template_id, sender=sender)

    portfolios.assign(db, _ACCOUNT, "P1")
    portfolios.keep(db)

    budget = portfolios.budget(db, "P1")
    assert budget is not None
    assert (budget.used, budget.left) == (4, 6)
    assert [one.portfolio_id for one in portfolios.budgets_of_campaign(db, campaign.id)] == ["P1"]


@pytest.mark.parametrize("seed", range(4))
def test_never_more_people_than_the_tier_in_any_24_hours(db: Database, seed: int) -> None:
    """Two numbers, three campaigns with overlapping people, claims, outcomes and expiry at once, days passing."""
    rng = random.Random(seed)
    limit = 25
    made = [
        a_campaign(db, contacts=60, phone_number_id=number, first_phone=491510000000 + first)
        for number, first in (("1001", 0), ("1002", 30), ("1001", 45))
    ]
    senders = {campaign.number_id: a_sender(db, campaign.number_id) for campaign in made}
    portfolios.set_tier(db, _ACCOUNT, limit)
    for _ in range(6):
        failures: list[BaseException] = []

        def work(campaign: ACampaign, seed: int, failures: list[BaseException] = failures) -> None:
            own = random.Random(seed)
            try:
                for _ in range(4):
                    first = own.randrange(0, 60)
                    taken = _take(db, campaign, senders[campaign.number_id], slice(first, first + own.randrange(1, 20)))
                    _settle(db, taken, own.choice(["sent", "sent", "in_doubt", "failed"]), error_code=131026)
                    portfolios.keep(db)
            except BaseException as error:  # told by the test's own thread
                failures.append(error)

        threads = [threading.Thread(target=work, args=(campaign, rng.random())) for campaign in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert _most_people_in_a_day(db) <= limit
        assert _used(db) <= limit
        _let_pass(db, rng.choice([3.0, 9.0, 25.0]))
    portfolios.keep(db)
    assert all(heal(db, campaign.id) == {} for campaign in made)


def _most_people_in_a_day(db: Database) -> int:
    """Of all 24-hour windows that end with a message: how many people the fullest one holds."""
    with db.connection() as connection:
        rows = connection.execute(
            "SELECT contact.phone, extract(epoch FROM message.claimed_at) FROM message_logs AS message"
            " JOIN contacts AS contact ON contact.id = message.contact_id"
            " WHERE message.state IN ('claimed', 'sent', 'in_doubt') ORDER BY message.claimed_at"
        ).fetchall()
    return max(
        (len({phone for phone, at in rows if end - 86_400 < at <= end}) for _, end in rows),
        default=0,
    )


def test_a_template_of_the_inbox_takes_a_place_unless_the_person_may_be_answered(db: Database) -> None:
    portfolios.set_tier(db, _ACCOUNT, "TIER_50")
    number_id = a_number(db)
    template_id = a_template(db)
    sender = a_sender(db, number_id)
    with db.connection() as connection:
        connection.execute("UPDATE templates SET category = 'UTILITY'")
    strangers = [a_conversation(db, number_id, phone=f"+49151000001{n:02d}", wrote=None) for n in range(51)]
    answered = a_conversation(db, number_id, phone="+4915100000999", wrote=timedelta(hours=1))
    ids = [a_reply(db, one, template_id=template_id) for one in (*strangers, answered)]

    taken = outbox.claim(db, sender=sender, limit=100, portfolio_id=_ACCOUNT)

    assert [one.id for one in taken.claims] == [*ids[:50], ids[51]]
    assert _used(db) == 50
    last = reply(db, ids[50])
    assert (last["state"], last["error_detail"], last["attempt"]) == ("queued", outbox.NO_PLACE_SENTENCE, 0)
    portfolios.set_tier(db, _ACCOUNT, "TIER_250")
    with db.connection() as connection:
        connection.execute("UPDATE inbox_messages SET due_at = now() WHERE state = 'queued'")
    assert [one.id for one in outbox.claim(db, sender=sender, limit=9, portfolio_id=_ACCOUNT).claims] == [ids[50]]
    assert _used(db) == 51


def test_a_place_that_a_reply_has_taken_stays_when_a_campaigns_message_gives_its_own_back(db: Database) -> None:
    portfolios.set_tier(db, _ACCOUNT, "TIER_50")
    campaign = a_campaign(db, contacts=2)
    sender = a_sender(db, campaign.number_id)
    conversation = a_conversation(db, campaign.number_id, phone=campaign.phones[0], wrote=None)
    with db.connection() as connection:
        connection.execute("UPDATE templates SET category = 'UTILITY'")
    a_reply(db, conversation, template_id=campaign.template_id)
    outbox.claim(db, sender=sender, limit=9, portfolio_id=_ACCOUNT)
    taken = _take(db, campaign, sender)
    assert _used(db) == 2

    _settle(db, taken, "failed", 131026)
    portfolios.keep(db)

    assert _used(db) == 1
