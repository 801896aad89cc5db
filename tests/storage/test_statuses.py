"""Promises 4 and 5: statuses in any order end in the same state and the same counters."""

import itertools
import threading
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.builders import ACampaign, a_campaign, a_sender, claimed, counts
from titanflow.storage import statuses
from titanflow.storage.claims import Claim
from titanflow.storage.counters import heal
from titanflow.storage.database import Database
from titanflow.storage.settlements import Settlement, settle
from titanflow.storage.statuses import Reported, StatusRow
from titanflow.supervision.testing import eventually

_AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def _apply(db: Database, *rows: StatusRow) -> list[Reported]:
    with db.transaction() as transaction:
        return statuses.apply(transaction, rows, node_id=3)


def _claimed_one(db: Database) -> tuple[ACampaign, int]:
    campaign = a_campaign(db, contacts=1)
    [one] = claimed(db, campaign, a_sender(db, campaign.number_id))
    assert one.log_id is not None
    return campaign, one.log_id


def _roll_up(db: Database) -> tuple[int, int, int, int]:
    with db.connection() as connection:
        row = connection.execute(
            "SELECT coalesce(sum(sent), 0)::int, coalesce(sum(delivered), 0)::int, coalesce(sum(read), 0)::int,"
            " coalesce(sum(failed), 0)::int FROM stats_hourly"
        ).fetchone()
    assert row is not None
    return (row[0], row[1], row[2], row[3])


_EVENTS = ("settle", "sent", "delivered", "read", "failed")
_FAILURE = {"error_code": 131026, "error_detail": "gone"}


@pytest.mark.parametrize("names", [names for n in (1, 2, 3) for names in itertools.combinations(_EVENTS, n)])
def test_every_order_of_events_ends_the_same(db: Database, names: tuple[str, ...]) -> None:
    """Settlement and statuses commute: by rank, not by time."""
    ends = set()
    for number, order in enumerate(itertools.permutations(names)):
        campaign = a_campaign(db, contacts=1, first_phone=491520000000 + number)
        [one] = claimed(db, campaign, a_sender(db, campaign.number_id))
        assert one.log_id is not None
        before = _roll_up(db)
        for name in order:
            _event(db, one, name)
            _event(db, one, name)  # Meta repeats itself
        after = _roll_up(db)
        assert heal(db, campaign.id) == {}
        rolled = tuple(b - a for a, b in zip(before, after, strict=True))
        ends.add((tuple(counts(db, campaign.id).items()), rolled))

    assert len(ends) == 1


def _event(db: Database, one: Claim, name: str) -> None:
    assert one.log_id is not None
    if name == "settle":
        settle(db, [Settlement(one.log_id, 1, "sent", wamid=f"wamid.{one.log_id}")], node_id=1)
        return
    extra = _FAILURE if name == "failed" else {}
    row = StatusRow(f"wamid.{one.log_id}", name, _AT, one.log_id, 1, **extra)  # type: ignore[arg-type]  # mixed dict
    _apply(db, row)


def test_many_words_about_one_person_in_one_batch_cost_nobody(db: Database) -> None:
    """Weakness L7 of the Elixir system: two entries for one contact made the upsert fail, and the batch was lost."""
    campaign = a_campaign(db, contacts=3)
    taken = claimed(db, campaign, a_sender(db, campaign.number_id))
    rows = [
        StatusRow(f"w{one.log_id}", name, _AT, one.log_id, 1)
        for one, names in zip(taken, (["delivered", "read"], ["sent", "delivered"], ["read", "sent"]), strict=True)
        for name in names * 2
    ]
    rows.append(StatusRow(f"w{taken[1].log_id}", "failed", _AT, taken[1].log_id, 1, error_code=131026))

    _apply(db, *rows)

    assert counts(db, campaign.id) == {"read": 2, "delivered": 1}
    assert _roll_up(db) == (3, 3, 2, 0)


def test_a_read_without_a_delivered_was_delivered(db: Database) -> None:
    """Weakness C5 of the Elixir system: a read without delivered left delivered_at empty and the funnel crooked."""
    _, log_id = _claimed_one(db)

    _apply(db, StatusRow("w", "read", _AT, log_id, 1))

    assert _roll_up(db) == (1, 1, 1, 0)
    with db.connection() as connection:
        times = connection.execute("SELECT sent_at, delivered_at, read_at FROM message_logs").fetchone()
    assert times == (_AT, _AT, _AT)


def test_a_late_sent_never_lowers_a_read(db: Database) -> None:
    campaign, log_id = _claimed_one(db)
    _apply(db, StatusRow("w", "read", _AT, log_id, 1))
    _apply(db, StatusRow("w", "sent", _AT, log_id, 1))

    assert counts(db, campaign.id) == {"read": 1}
    assert _roll_up(db) == (1, 1, 1, 0)


def test_an_in_doubt_message_is_resolved_by_its_echo(db: Database) -> None:
    campaign, log_id = _claimed_one(db)
    settle(db, [Settlement(log_id, 1, "in_doubt", error_detail="no answer")], node_id=1)
    assert counts(db, campaign.id) == {"in_doubt": 1}

    _apply(db, StatusRow("w", "delivered", _AT, log_id, 1))

    assert counts(db, campaign.id) == {"delivered": 1}


def test_a_status_without_echo_is_matched_by_wamid(db: Database) -> None:
    campaign, log_id = _claimed_one(db)
    settle(db, [Settlement(log_id, 1, "sent", wamid="wamid.X")], node_id=1)

    _apply(db, StatusRow("wamid.X", "read", _AT))

    assert counts(db, campaign.id) == {"read": 1}


def test_a_status_for_an_unknown_wamid_waits_until_it_is_known(db: Database) -> None:
    campaign, log_id = _claimed_one(db)
    _apply(db, StatusRow("wamid.X", "delivered", _AT))
    assert counts(db, campaign.id) == {"claimed": 1}

    settle(db, [Settlement(log_id, 1, "sent", wamid="wamid.X")], node_id=1)
    with db.transaction() as transaction:
        statuses.unpark(transaction, node_id=1)

    assert counts(db, campaign.id) == {"delivered": 1}
    with db.connection() as connection:
        assert connection.execute("SELECT count(*) FROM parked_statuses").fetchone() == (0,)


def test_a_late_failure_of_attempt_1_leaves_attempt_2_alone(db: Database) -> None:
    """Promise 1: the attempt in the echo keeps them apart."""
    campaign, log_id = _claimed_one(db)
    settle(db, [Settlement(log_id, 1, "retrying", error_code=131056)], node_id=1)
    claimed(db, campaign, a_sender(db, campaign.number_id), again=True)
    settle(db, [Settlement(log_id, 2, "sent", wamid="wamid.2")], node_id=1)

    _apply(db, StatusRow("wamid.1", "failed", _AT, log_id, 1, 131056, "late"))

    assert counts(db, campaign.id) == {"sent": 1}
    with db.connection() as connection:
        assert connection.execute("SELECT state::text FROM message_attempts").fetchone() == ("failed",)


def test_new_failures_are_reported_once(db: Database) -> None:
    campaign, log_id = _claimed_one(db)
    failed = StatusRow("w", "failed", _AT, log_id, 1, 131042, "no card")

    first, second = _apply(db, failed), _apply(db, failed)

    assert first == [Reported(campaign.id, campaign.number_id, campaign.template_id, 131042, 1, campaign.contact_ids)]
    assert second == []


def test_code_131050_suppresses_the_person(db: Database) -> None:
    """Promise 6."""
    campaign, log_id = _claimed_one(db)
    _apply(db, StatusRow("w", "failed", _AT, log_id, 1, 131050, "stop"))

    with db.connection() as connection:
        assert connection.execute("SELECT phone, source FROM suppressions").fetchall() == [
            (campaign.phones[0], "131050")
        ]


def test_a_refusal_in_a_cancelled_campaign_is_not_tried_again(db: Database) -> None:
    campaign, log_id = _claimed_one(db)
    with db.connection() as connection:
        connection.execute("UPDATE campaigns SET state = 'cancelled'")

    settle(db, [Settlement(log_id, 1, "retrying", error_code=130429)], node_id=1)

    assert counts(db, campaign.id) == {"cancelled": 1}


def test_delivered_and_read_are_hot_updates(db: Database) -> None:
    """No index holds what statuses change: docs/decisions/0002-schema.md."""
    campaign = a_campaign(db, contacts=50)
    taken = claimed(db, campaign, a_sender(db, campaign.number_id))
    settle(db, [Settlement(one.log_id or 0, 1, "sent", wamid=f"w{one.log_id}") for one in taken], node_id=1)
    with db.connection() as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
    before = _hot(db)

    for status in ("delivered", "read"):
        _apply(db, *[StatusRow(f"w{one.log_id}", status, _AT, one.log_id, 1) for one in taken])

    updates, hot = _hot(db)
    assert updates - before[0] == 100
    assert hot - before[1] >= 90


def _hot(db: Database) -> tuple[int, int]:
    with db.connection() as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute("SELECT 1")
        row = connection.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'message_logs'"
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def test_words_that_come_at_the_same_moment_are_both_kept(db: Database) -> None:
    """Promise 4: whoever waits for the other's lock must look at what the other has written, not at what was before."""
    _, log_id = _claimed_one(db)
    settle(db, [Settlement(log_id, 1, "in_doubt", wamid="w")], node_id=1)
    later = _AT + timedelta(minutes=5)
    with db.transaction() as transaction:
        statuses.apply(transaction, [StatusRow("w", "read", later, log_id, 1)], node_id=3)
        second = threading.Thread(target=_apply, args=(db, StatusRow("w", "delivered", _AT, log_id, 1)))
        second.start()
        eventually(lambda: _waiting_for_locks(db) == 1)
    second.join()

    with db.connection() as connection:
        times = connection.execute("SELECT sent_at, delivered_at, read_at FROM message_logs").fetchone()
    assert times == (_AT, _AT, later)


def _waiting_for_locks(db: Database) -> int:
    with db.connection() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    assert row is not None
    return int(row[0])
