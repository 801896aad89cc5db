"""Replies: claimed once, by the lease's holder, in order; settled and reported by rank, as campaigns' messages are."""

import itertools
from datetime import timedelta
from typing import Any

import pytest

from tests.support.builders import a_number, a_sender, a_template
from tests.support.inbox import PERSON, a_conversation, a_reply, hears, reply, reported
from titanflow.domain import echo
from titanflow.storage import outbox
from titanflow.storage.database import Database
from titanflow.storage.settlements import Settlement

_NOW = timedelta(0)


def _suppress(db: Database, phone: str, reason: str) -> None:
    with db.connection() as connection:
        connection.execute("INSERT INTO suppressions (phone, reason, source) VALUES (%s, %s, 'api')", [phone, reason])


def test_a_reply_is_claimed_by_the_holder_of_the_lease_alone_and_once(db: Database) -> None:
    number = a_number(db)
    conversation = a_conversation(db, number, wrote=_NOW)
    late = a_sender(db, number, epoch=10)
    holder = a_sender(db, number, epoch=11)
    made = a_reply(db, conversation)

    assert outbox.claim(db, sender=late, limit=10).claims == []
    [taken] = outbox.claim(db, sender=holder, limit=10).claims
    assert (taken.id, taken.attempt, taken.to, taken.content["text"]) == (made, 1, PERSON, {"body": "hello"})
    assert outbox.claim(db, sender=holder, limit=10).claims == []


@pytest.mark.parametrize("stopped", ["paused", "blocked"])
def test_a_stopped_numbers_reply_waits_though_its_sender_has_not_heard_of_it(db: Database, stopped: str) -> None:
    number = a_number(db)
    sender = a_sender(db, number)
    a_reply(db, a_conversation(db, number, wrote=_NOW))
    with db.connection() as connection:
        connection.execute("UPDATE phone_numbers SET state = %s", [stopped])

    assert outbox.claim(db, sender=sender, limit=10).claims == []


def test_replies_of_one_conversation_leave_one_after_the_other(db: Database) -> None:
    number = a_number(db)
    ana, bo = (a_conversation(db, number, phone=phone, wrote=_NOW) for phone in ("+491510000001", "+491510000002"))
    first, second, other = a_reply(db, ana, "1"), a_reply(db, ana, "2"), a_reply(db, bo, "x")
    sender = a_sender(db, number)

    assert {one.id for one in outbox.claim(db, sender=sender, limit=10).claims} == {first, other}
    assert outbox.claim(db, sender=sender, limit=10).claims == []
    outbox.settle(db, [Settlement(first, 1, "retrying", error_code=130429, due_in_s=60)])
    assert outbox.claim(db, sender=sender, limit=10).claims == []  # it would overtake the first
    outbox.settle(db, [Settlement(first, 1, "sent", wamid="wamid.1")])
    assert [one.id for one in outbox.claim(db, sender=sender, limit=10).claims] == [second]


@pytest.mark.parametrize(
    ("wrote", "template", "suppressed", "state"),
    [
        (timedelta(hours=1), None, None, "claimed"),
        (timedelta(hours=25), None, None, "failed"),
        (None, None, None, "failed"),
        (None, "MARKETING", None, "claimed"),
        (timedelta(hours=1), None, "opted_out", "claimed"),
        (timedelta(hours=1), "MARKETING", "opted_out", "excluded"),
        (timedelta(hours=1), "UTILITY", "opted_out", "claimed"),
        (timedelta(hours=1), None, "blacklisted", "excluded"),
    ],
)
def test_the_claim_asks_whether_the_person_may_be_written_to(
    db: Database, wrote: timedelta | None, template: str | None, suppressed: str | None, state: str
) -> None:
    """Promise 6, at the last moment before it leaves; the suppression is the other form of a Brazilian number."""
    number = a_number(db)
    template_id = a_template(db) if template else None
    if template:
        with db.connection() as connection:
            connection.execute("UPDATE templates SET category = %s", [template])
    conversation = a_conversation(db, number, phone="+551187654321", wrote=wrote)
    made = a_reply(db, conversation, template_id=template_id)
    if suppressed:
        _suppress(db, "+5511987654321", suppressed)

    taken = outbox.claim(db, sender=a_sender(db, number), limit=10).claims

    now = reply(db, made)
    assert now["state"] == state
    assert bool(taken) == (state == "claimed")
    assert now["error_code"] == (131047 if state == "failed" else None)
    assert now["error_detail"] == (
        suppressed if state == "excluded" else outbox.WINDOW_CLOSED_SENTENCE if state == "failed" else None
    )


def _apply(db: Database, made: int, what: str) -> None:
    if what == "answer":
        outbox.settle(db, [Settlement(made, 1, "sent", wamid="wamid.out")])
    else:
        reported(db, echo.encode_reply(made, 1), what, code=131026 if what == "failed" else None)


@pytest.mark.parametrize("told", [("sent", "delivered", "read"), ("sent", "failed")])
def test_whatever_the_order_the_end_is_the_same(db: Database, told: tuple[str, ...]) -> None:
    number = a_number(db)
    sender = a_sender(db, number)
    ends: list[dict[str, Any]] = []
    for order in itertools.permutations((*told, "answer")):
        conversation = a_conversation(db, number, phone=f"+4915100000{len(ends):02d}", wrote=_NOW)
        made = a_reply(db, conversation)
        outbox.claim(db, sender=sender, limit=10)
        with db.connection() as connection:  # wamids are unique; each round has its own end
            connection.execute("UPDATE inbox_messages SET wamid = NULL WHERE wamid = 'wamid.out'")
        for what in order:
            _apply(db, made, what)
            _apply(db, made, what)
        now = reply(db, made)
        ends.append({key: now[key] for key in ("state", "wamid", "error_code")})

    assert len(ends) in (24, 6)
    assert ends == [ends[0]] * len(ends)
    assert ends[0]["state"] == told[-1]
    assert ends[0]["wamid"] == "wamid.out"


def test_a_report_on_an_earlier_attempt_hits_nobody_and_no_campaign(db: Database) -> None:
    number = a_number(db)
    sender = a_sender(db, number)
    made = a_reply(db, a_conversation(db, number, wrote=_NOW))
    outbox.claim(db, sender=sender, limit=1)
    outbox.settle(db, [Settlement(made, 1, "retrying", error_code=130429)])
    reported(db, echo.encode_reply(made, 1), "failed", code=130429)
    assert reply(db, made)["state"] == "queued"  # it is known, and waits for its second attempt
    [again] = outbox.claim(db, sender=sender, limit=1).claims
    assert again.attempt == 2

    reported(db, echo.encode_reply(made, 1), "failed", code=130429)
    assert reply(db, made)["state"] == "claimed"
    with db.connection() as connection:
        assert connection.execute("SELECT count(*) FROM parked_statuses").fetchone() == (0,)


def test_a_dead_senders_claims_are_in_doubt_and_a_webhook_resolves_them(db: Database) -> None:
    number = a_number(db)
    made = a_reply(db, a_conversation(db, number, wrote=_NOW))
    outbox.claim(db, sender=a_sender(db, number, epoch=10), limit=1)

    assert outbox.doubt(db) == 0
    assert outbox.doubt(db, number_id=number, epoch=11) == 1
    assert reply(db, made)["state"] == "in_doubt"
    assert outbox.claim(db, sender=a_sender(db, number, epoch=11), limit=1).claims == []
    reported(db, echo.encode_reply(made, 1), "delivered")
    now = reply(db, made)
    assert (now["state"], now["wamid"]) == ("delivered", "wamid.out")


def test_a_status_without_an_echo_is_parked_and_found_by_its_wamid(db: Database) -> None:
    number = a_number(db)
    made = a_reply(db, a_conversation(db, number, wrote=_NOW))
    outbox.claim(db, sender=a_sender(db, number), limit=1)
    reported(db, "", "delivered")
    outbox.settle(db, [Settlement(made, 1, "sent", wamid="wamid.out")])

    with db.transaction() as transaction:
        outbox.unpark(transaction)

    assert reply(db, made)["state"] == "delivered"


def test_a_wamid_that_is_known_already_costs_nobody_else(db: Database) -> None:
    number = a_number(db)
    hears(db, {"id": "wamid.out"})
    sender = a_sender(db, number)
    ids = [a_reply(db, a_conversation(db, number, phone=f"+49151000000{n}1", wrote=_NOW)) for n in range(2)]
    outbox.claim(db, sender=sender, limit=5)

    outbox.settle(db, [Settlement(ids[0], 1, "sent", wamid="wamid.out"), Settlement(ids[1], 1, "sent", wamid="w2")])

    assert [(reply(db, one)["state"], reply(db, one)["wamid"]) for one in ids] == [("sent", None), ("sent", "w2")]


def test_a_reply_can_be_called_off_until_it_is_claimed(db: Database) -> None:
    number = a_number(db)
    first, second = (a_reply(db, a_conversation(db, number, phone=f"+4915100000{n}", wrote=_NOW)) for n in (1, 2))
    assert outbox.cancel(db, first)
    assert [one.id for one in outbox.claim(db, sender=a_sender(db, number), limit=5).claims] == [second]
    assert not outbox.cancel(db, second)
    assert reply(db, first)["state"] == "cancelled"
