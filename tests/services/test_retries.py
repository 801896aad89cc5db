"""Retry: failed ones by code, as a new attempt of the same contact, with the earlier one kept."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.builders import ACampaign, a_campaign, a_sender, claimed, counts
from tests.support.windows import closed, set_window
from titanflow.domain import retries as rules
from titanflow.errors import Conflict
from titanflow.services import campaigns, retries
from titanflow.storage import buffers, completion, reports, statuses
from titanflow.storage import retries as storage_retries
from titanflow.storage.campaigns import lock_state
from titanflow.storage.claims import Claim, Sender
from titanflow.storage.counters import heal
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.storage.rows import fetch_all
from titanflow.storage.settlements import Settlement, settle
from titanflow.storage.statuses import StatusRow
from titanflow.supervision.testing import eventually

_AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def _failed(db: Database, codes: list[int | None], *, complete: bool = True) -> tuple[ACampaign, list[Claim], Sender]:
    """A campaign whose contacts have failed with these codes, one each, refused in Meta's answer."""
    campaign = a_campaign(db, contacts=len(codes))
    sender = a_sender(db, campaign.number_id)
    claims = claimed(db, campaign, sender)
    outcomes = [
        Settlement(one.log_id or 0, 1, "failed", error_code=code, error_detail=f"{code}: refused")
        for one, code in zip(claims, codes, strict=True)
    ]
    settle(db, outcomes, node_id=1)
    if complete:
        assert completion.complete(db, campaign.id, reason=None)
    return campaign, claims, sender


def _report(db: Database, claim: Claim, status: str, attempt: int = 1, **more: Any) -> None:
    row = StatusRow(f"wamid.{claim.log_id}.{attempt}", status, _AT, claim.log_id, attempt, **more)
    with db.transaction() as transaction:
        statuses.apply(transaction, [row], node_id=3)


def _due(db: Database, campaign: ACampaign) -> list[int]:
    return [contact.id for contact in buffers.due(db, campaign.id, limit=100)]


def _attempts(db: Database) -> list[tuple[int, str, int | None]]:
    rows = fetch_all(db, "SELECT attempt, state::text, error_code FROM message_attempts ORDER BY log_id, attempt", {})
    return [(row["attempt"], row["state"], row["error_code"]) for row in rows]


def _balanced(db: Database, campaign: ACampaign) -> None:
    assert heal(db, campaign.id) == {}
    rows = fetch_all(
        db,
        "SELECT coalesce(error_code::text, 'unknown') AS code, count(*) FROM message_logs"
        " WHERE campaign_id = %(id)s AND state = 'failed' GROUP BY 1",
        {"id": campaign.id},
    )
    assert reports.failures(db, campaign.id) == {row["code"]: row["count"] for row in rows}


def test_a_retry_is_a_new_attempt_of_the_same_message(db: Database, fast_copy: FastCopy) -> None:
    campaign, first, sender = _failed(db, [131008, 131008])
    before = campaigns.get(db, campaign.id)

    answer = retries.retry(db, fast_copy, campaign.id, [], by="ana")

    assert (answer["state"], answer["retrying"], answer["not_retried"]) == ("running", 2, {})
    row = campaigns.get(db, campaign.id)
    assert (row["completed_at"], row["started_at"], row["state_by"]) == (
        None,
        before["started_at"] or row["started_at"],
        "ana",
    )
    assert counts(db, campaign.id) == {"retrying": 2}
    again = claimed(db, campaign, sender, again=True)
    assert [(one.log_id, one.attempt) for one in again] == [(one.log_id, 2) for one in first]
    assert _attempts(db) == [(1, "failed", 131008)] * 2
    settle(db, [Settlement(one.log_id or 0, 2, "sent", wamid=f"w{one.log_id}") for one in again], node_id=1)
    assert counts(db, campaign.id) == {"sent": 2}
    _balanced(db, campaign)


def test_repeating_a_retry_finds_nobody_twice(db: Database, fast_copy: FastCopy) -> None:
    campaign, _, _ = _failed(db, [131008])
    assert retries.retry(db, fast_copy, campaign.id, [], by="ana")["retrying"] == 1
    again = retries.retry(db, fast_copy, campaign.id, [], by="ana")
    assert (again["state"], again["retrying"]) == ("running", 0)
    _balanced(db, campaign)


def test_what_is_left_out_is_counted_with_the_reason(db: Database, fast_copy: FastCopy) -> None:
    campaign, _, _ = _failed(db, [131026, 131026, 131050, 130472, 424242, None, 131008])

    answer = retries.retry(db, fast_copy, campaign.id, [], by="ana")

    left = {code: one["count"] for code, one in answer["not_retried"].items()}
    assert answer["retrying"] == 1
    assert left == {"131026": 2, "131050": 1, "130472": 1, "424242": 1, "unknown": 1}
    assert "said no" in answer["not_retried"]["131050"]["why"]
    assert "name it" in answer["not_retried"]["424242"]["why"]
    _balanced(db, campaign)


def test_codes_that_are_named_go_and_no_other(db: Database, fast_copy: FastCopy) -> None:
    """An unknown code, and a failure without one, go only if somebody says so; a suppressed person not even then."""
    campaign, _, _ = _failed(db, [424242, None, 131008, 131050])

    answer = retries.retry(db, fast_copy, campaign.id, {"424242", "unknown", "131050"}, by="ana")

    assert answer["retrying"] == 2
    assert set(answer["not_retried"]) == {"131008", "131050"}
    assert "not named" in answer["not_retried"]["131008"]["why"]
    _balanced(db, campaign)


def test_131049_waits_a_day_after_the_failure(db: Database, fast_copy: FastCopy) -> None:
    campaign, _, _ = _failed(db, [131049])
    with db.connection() as connection:
        connection.execute("UPDATE message_logs SET failed_at = now() - interval '20 hours'")
        connection.execute("DELETE FROM suppressions")

    answer = retries.retry(db, fast_copy, campaign.id, [], by="ana")

    assert answer["retrying"] == 1
    assert timedelta(hours=3.9) < answer["last_due_at"] - datetime.now(UTC) < timedelta(hours=4.1)
    assert _due(db, campaign) == []
    assert not completion.complete(db, campaign.id, reason=None)  # nobody is forgotten meanwhile


def test_whoever_is_suppressed_for_a_time_waits_until_it_is_over(db: Database, fast_copy: FastCopy) -> None:
    campaign, _, _ = _failed(db, [131049])
    with db.connection() as connection:
        connection.execute(
            "INSERT INTO suppressions (phone, reason, source, expires_at)"
            " VALUES (%s, 'blacklisted', 'manual', now() + interval '48 hours') ON CONFLICT (phone) DO UPDATE"
            " SET expires_at = EXCLUDED.expires_at",
            [campaign.phones[0]],
        )

    answer = retries.retry(db, fast_copy, campaign.id, [], by="ana")

    assert timedelta(hours=47) < answer["last_due_at"] - datetime.now(UTC) < timedelta(hours=49)


@pytest.mark.parametrize("state", ["draft", "ready", "scheduled", "cancelled", "failed"])
def test_a_wrong_state_says_what_would_be_right(db: Database, fast_copy: FastCopy, state: str) -> None:
    campaign = a_campaign(db, state=state)
    with pytest.raises(Conflict, match=f"is {state} and can't be retried") as raised:
        retries.retry(db, fast_copy, campaign.id, [], by="ana")
    assert "completed, running or paused" in str(raised.value.fix)


def test_a_paused_campaign_stays_paused(db: Database, fast_copy: FastCopy) -> None:
    campaign, _, sender = _failed(db, [131008], complete=False)
    campaigns.pause(db, fast_copy, campaign.id, by="ana")
    assert retries.retry(db, fast_copy, campaign.id, [], by="ana")["state"] == "paused"
    assert claimed(db, campaign, sender, again=True) == []


def test_outside_its_window_a_retry_waits(db: Database, fast_copy: FastCopy) -> None:
    campaign, _, _ = _failed(db, [131008])
    set_window(db, campaign.id, closed())
    assert retries.retry(db, fast_copy, campaign.id, [], by="ana")["state"] == "paused"
    assert campaigns.get(db, campaign.id)["state_by"] == "send_window"


def test_many_failures_go_in_batches(db: Database, fast_copy: FastCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_retries, "_BATCH", 2)
    campaign, _, _ = _failed(db, [131008] * 5)
    assert retries.retry(db, fast_copy, campaign.id, [], by="ana")["retrying"] == 5
    _balanced(db, campaign)


def test_a_cancellation_gives_waiting_retries_back_to_what_they_were(db: Database, fast_copy: FastCopy) -> None:
    """Nobody becomes `cancelled: before it was sent` who was sent to."""
    campaign, _, _ = _failed(db, [131008, 131009])
    retries.retry(db, fast_copy, campaign.id, [], by="ana")

    campaigns.cancel(db, fast_copy, campaign.id, by="ana")

    assert counts(db, campaign.id) == {"failed": 2}
    _balanced(db, campaign)


def test_a_restart_during_a_retry_sends_to_each_once(db: Database, fast_copy: FastCopy) -> None:
    """Weakness D2 of the Elixir system: in retry mode any restart resends the entire assigned set."""
    campaign, _, sender = _failed(db, [131008, 131008, 131008])
    retries.retry(db, fast_copy, campaign.id, [], by="ana")
    half = campaign.contact_ids[:2]
    first = claimed(db, ACampaign(campaign.id, half, campaign.number_id, campaign.template_id), sender, again=True)

    later = a_sender(db, campaign.number_id, node_id=2, epoch=11)  # another server has the number now
    assert _due(db, campaign) == campaign.contact_ids[2:]
    second = claimed(db, campaign, later, again=True)

    assert [one.contact_id for one in first + second] == campaign.contact_ids
    assert buffers.sweep(db, campaign.id, after=0, limit=100) == []


def test_after_a_reboot_the_retry_goes_on(db: Database, fast_copy: FastCopy) -> None:
    """Weakness L15 of the Elixir system: after a reboot feeders lack the retry mode, nobody is fetched.

    Here the rows themselves say that they are to be retried; no process remembers anything.
    """
    campaign, _, _ = _failed(db, [131008, 131008])
    retries.retry(db, fast_copy, campaign.id, [], by="ana")
    assert _due(db, campaign) == campaign.contact_ids
    assert not completion.complete(db, campaign.id, reason=None)


def test_only_recorded_refusals_are_retried_never_absence(db: Database, fast_copy: FastCopy) -> None:
    """Weakness D3 of the Elixir system: a retry resends to people who got it, for want of a status row."""
    campaign = a_campaign(db, contacts=6)
    sender = a_sender(db, campaign.number_id)
    some = ACampaign(campaign.id, campaign.contact_ids[:5], campaign.number_id, campaign.template_id)
    sent, delivered, doubtful, refused, flying = claimed(db, some, sender)
    settle(
        db,
        [
            Settlement(sent.log_id or 0, 1, "sent", wamid="w1"),
            Settlement(delivered.log_id or 0, 1, "sent", wamid="w2"),
            Settlement(doubtful.log_id or 0, 1, "in_doubt", error_code=131016, error_detail="131016: down"),
            Settlement(refused.log_id or 0, 1, "failed", error_code=131008),
        ],
        node_id=1,
    )
    _report(db, delivered, "delivered")

    answer = retries.retry(db, fast_copy, campaign.id, {"131008", "131016", "unknown"}, by="ana")

    assert answer["retrying"] == 1
    again = claimed(db, campaign, sender, again=True)
    assert [one.log_id for one in again] == [refused.log_id]
    assert flying.log_id not in [one.log_id for one in again]
    _balanced(db, campaign)


@pytest.mark.parametrize("late", ["failed", "sent"])
def test_what_meta_repeats_of_the_failure_does_not_undo_the_retry(db: Database, fast_copy: FastCopy, late: str) -> None:
    """Statuses come twice and late; the retry waits for its turn all the same."""
    campaign, [one], sender = _failed(db, [131008])
    retries.retry(db, fast_copy, campaign.id, [], by="ana")

    _report(db, one, late, error_code=131008 if late == "failed" else None)

    assert counts(db, campaign.id) == {"retrying": 1}
    assert len(claimed(db, campaign, sender, again=True)) == 1
    _balanced(db, campaign)


def test_a_late_failure_of_the_first_attempt_never_hits_the_second(db: Database, fast_copy: FastCopy) -> None:
    """Weakness D11 of the Elixir system: a late `failed` of an old attempt overwrites the newer `sent`."""
    campaign, [one], sender = _failed(db, [131008])
    retries.retry(db, fast_copy, campaign.id, [], by="ana")
    claimed(db, campaign, sender, again=True)

    _report(db, one, "failed", attempt=1, error_code=131008)
    assert counts(db, campaign.id) == {"claimed": 1}
    settle(db, [Settlement(one.log_id or 0, 2, "sent", wamid="w2")], node_id=1)
    _report(db, one, "failed", attempt=1, error_code=131008)

    assert counts(db, campaign.id) == {"sent": 1}
    _balanced(db, campaign)


def test_a_late_delivered_stops_the_retry(db: Database, fast_copy: FastCopy) -> None:
    """Promise 2: Meta said `failed`, then that it arrived after all: it isn't sent a second time."""
    campaign, [one], sender = _failed(db, [131008])
    retries.retry(db, fast_copy, campaign.id, [], by="ana")

    _report(db, one, "delivered")

    assert counts(db, campaign.id) == {"delivered": 1}
    assert claimed(db, campaign, sender, again=True) == []
    _balanced(db, campaign)


def test_a_second_attempt_begins_with_clean_times(db: Database, fast_copy: FastCopy) -> None:
    """The first attempt was accepted and failed by webhook: its times are not the second one's."""
    campaign = a_campaign(db, contacts=1)
    sender = a_sender(db, campaign.number_id)
    [one] = claimed(db, campaign, sender)
    settle(db, [Settlement(one.log_id or 0, 1, "sent", wamid=f"wamid.{one.log_id}.1")], node_id=1)
    _report(db, one, "failed", error_code=131053)
    retries.retry(db, fast_copy, campaign.id, [], by="ana")
    claimed(db, campaign, sender, again=True)

    settle(db, [Settlement(one.log_id or 0, 2, "in_doubt", error_detail="no answer")], node_id=1)

    [row] = fetch_all(db, "SELECT state::text, sent_at, failed_at, error_code FROM message_logs", {})
    assert row == {"state": "in_doubt", "sent_at": None, "failed_at": None, "error_code": None}
    [hour] = fetch_all(db, "SELECT sum(sent)::int AS sent, sum(failed)::int AS failed FROM stats_hourly", {})
    assert hour == {"sent": 0, "failed": 0}  # a person counts once, whatever was true of an earlier attempt
    assert heal(db, campaign.id) == {}


def test_a_retry_at_the_moment_of_completion_is_not_forgotten(db: Database) -> None:
    """Promise 3: the proof that nobody waits is younger than a retry under way."""
    campaign, _, _ = _failed(db, [131008], complete=False)
    with ThreadPoolExecutor(1) as pool:
        with db.transaction() as retrying:
            assert lock_state(retrying, campaign.id) == "running"
            completing = pool.submit(completion.complete, db, campaign.id, reason=None)
            eventually(lambda: _waiting_for_locks(db) == 1, timeout_s=20)
            retrying.execute("UPDATE message_logs SET state = 'retrying', due_at = now()")

        assert completing.result(timeout=20) is False

    assert campaigns.get(db, campaign.id)["state"] == "running"


def _waiting_for_locks(db: Database) -> int:
    [row] = fetch_all(
        db,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        {},
    )
    return int(row["count"])


def test_the_plan_never_names_a_code_twice_nor_forgets_one() -> None:
    failed = {"131049": 1, "131026": 2, "0": 3, "unknown": 4, "77": 5}
    plan = rules.plan(failed, [], {"131049", "131026", "0"})
    assert plan.waits_s == {"131049": 86400.0, "0": 0.0}
    assert set(plan.why_not) == {"131026", "unknown", "77"}
