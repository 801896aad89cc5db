"""Promise 5: counters, reasons and roll-ups equal a recount of the rows, whatever happens to messages, in any order."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.builders import ACampaign, a_campaign, a_sender, claimed, counts
from tests.support.webhooks import says, webhook
from titanflow.storage import campaigns, doubts, reports, retries, statuses
from titanflow.storage.counters import heal
from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all
from titanflow.storage.settlements import Settlement, settle
from titanflow.storage.statuses import StatusRow

_AT = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def _report(db: Database, log_id: int, attempt: int, status: str, at: datetime = _AT, code: int | None = None) -> None:
    with db.transaction() as transaction:
        statuses.apply(transaction, [StatusRow(f"w{log_id}", status, at, log_id, attempt, code)], node_id=3)


@pytest.fixture
def busy(db: Database) -> ACampaign:
    """Five contacts: read and answered, delivered, failed with a code, failed without one, excluded."""
    campaign = a_campaign(db, contacts=5)
    with db.connection() as connection:
        connection.execute(
            "INSERT INTO suppressions (phone, reason, source) VALUES (%s, 'blacklisted', 'manual')",
            [campaign.phones[4]],
        )
    ids = [one.log_id or 0 for one in claimed(db, campaign, a_sender(db, campaign.number_id))]
    settle(db, [Settlement(log_id, 1, "sent", wamid=f"w{log_id}") for log_id in ids[:2]], node_id=1)
    settle(db, [Settlement(ids[2], 1, "failed", error_code=131008), Settlement(ids[3], 1, "failed")], node_id=1)
    _report(db, ids[0], 1, "read")
    _report(db, ids[1], 1, "delivered")
    webhook(db, says("yes", wamid="a", context={"id": f"w{ids[0]}"}))
    assert counts(db, campaign.id) == {"read": 1, "delivered": 1, "failed": 2, "excluded": 1}
    assert heal(db, campaign.id) == {}
    return campaign


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE campaign_reasons SET count = count + 2 WHERE reason = '131008'", {"failed: 131008": -2}),
        ("DELETE FROM campaign_reasons WHERE reason = 'unknown'", {"failed: unknown": 1}),
        ("UPDATE campaign_reasons SET reason = 'over_cap' WHERE state = 'excluded'",
         {"excluded: blacklisted": 1, "excluded: over_cap": -1}),
        ("UPDATE stats_hourly SET delivered = delivered + 3 WHERE read > 0", {"stats_hourly": 3}),
        ("UPDATE stats_hourly SET hour = hour - interval '1 hour' WHERE read > 0", {"stats_hourly": 10}),
        ("DELETE FROM stats_failures WHERE code = '131008'", {"stats_failures": 1}),
        ("UPDATE stats_hourly SET replied = replied + 1 WHERE read > 0", {"stats_hourly": 1}),
        ("UPDATE replies SET seconds = 700", {"reply_times": 2}),
        ("DELETE FROM replies", {"stats_hourly": 1, "reply_times": 1}),
        ("UPDATE campaign_counters SET read = read - 1 WHERE node_id = 3", {"read": 1}),
    ],
)  # fmt: skip
def test_whatever_is_wrong_is_found_counted_and_mended(
    db: Database, busy: ACampaign, damage: Any, found: dict[str, int]
) -> None:
    with db.connection() as connection:
        assert connection.execute(damage).rowcount > 0

    assert reports.audit(db, busy.id)["counter_drift"] == sum(map(abs, found.values()))
    if set(found) <= {"stats_hourly", "stats_failures", "reply_times"}:
        assert heal(db, busy.id, roll_ups=False) == {}  # the quick half, which leaves them
    assert heal(db, busy.id) == found

    assert heal(db, busy.id) == {}
    assert reports.audit(db, busy.id)["counter_drift"] == 0
    assert reports.stats(db, busy.id)["failed"] == {"131008": 1, "unknown": 1}


def test_roll_ups_are_by_the_quarter_of_an_hour_in_which_it_happened(db: Database) -> None:
    """A webhook that comes hours late counts when it happened, in every time zone's day."""
    campaign = a_campaign(db, contacts=1)
    [one] = claimed(db, campaign, a_sender(db, campaign.number_id))
    for minutes, status in ((29, "sent"), (30, "delivered"), (74, "read")):
        _report(db, one.log_id or 0, 1, status, _AT + timedelta(minutes=minutes))

    rows = fetch_all(db, "SELECT hour, sent, delivered, read FROM stats_hourly ORDER BY hour", {})

    assert [((row["hour"] - _AT).seconds // 60, row["sent"], row["delivered"], row["read"]) for row in rows] == [
        (15, 1, 0, 0), (30, 0, 1, 0), (60, 0, 0, 1),
    ]  # fmt: skip
    assert heal(db, campaign.id) == {}


def test_an_earlier_time_that_comes_later_moves_what_was_counted(db: Database) -> None:
    campaign = a_campaign(db, contacts=1)
    [one] = claimed(db, campaign, a_sender(db, campaign.number_id))
    _report(db, one.log_id or 0, 1, "read", _AT + timedelta(minutes=40))

    _report(db, one.log_id or 0, 1, "delivered", _AT)

    rows = fetch_all(db, "SELECT hour, sent, delivered, read FROM stats_hourly WHERE sent + read <> 0 ORDER BY 1", {})
    assert [((row["hour"] - _AT).seconds // 60, row["sent"], row["delivered"], row["read"]) for row in rows] == [
        (0, 1, 1, 0), (30, 0, 0, 1),
    ]  # fmt: skip
    assert heal(db, campaign.id) == {}


def test_whoever_was_excluded_and_got_it_after_all_counts_once(db: Database) -> None:
    campaign = a_campaign(db, contacts=1)
    sender = a_sender(db, campaign.number_id)
    [one] = claimed(db, campaign, sender)
    settle(db, [Settlement(one.log_id or 0, 1, "retrying", error_code=131056)], node_id=1)
    with db.connection() as connection:
        connection.execute("INSERT INTO suppressions (phone, source) VALUES (%s, 'manual')", [campaign.phones[0]])
    assert claimed(db, campaign, sender, again=True) == []
    assert counts(db, campaign.id) == {"excluded": 1}

    _report(db, one.log_id or 0, 1, "delivered")

    assert counts(db, campaign.id) == {"delivered": 1}
    assert reports.stats(db, campaign.id)["excluded"] == {}
    assert heal(db, campaign.id) == {}


_OUTCOMES = ["sent", "failed", "retrying", "in_doubt"]
_REPORTS = ["report sent", "report delivered", "report read", "report failed"]
_WORDS = ["claim again", "retry", "suppress", "resolve sent", "resolve failed", "resolve resend", "cancel"]
_STEPS = st.lists(
    st.tuples(st.sampled_from(_OUTCOMES + _REPORTS + _WORDS), st.sampled_from([None, 131008])), min_size=4, max_size=12
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(steps=[("sent", None), ("report failed", 131008), ("retry", None), ("claim again", None)])
@example(steps=[("failed", 131008), ("retry", None), ("cancel", None)])
@example(steps=[("failed", 131008), ("retry", None), ("suppress", None), ("claim again", None)])
@example(steps=[("in_doubt", None), ("resolve resend", None), ("claim again", None), ("failed", None)])
@given(steps=_STEPS)
def test_every_history_can_be_recounted(db: Database, steps: list[tuple[str, int | None]]) -> None:
    with db.connection() as connection:
        connection.execute("DELETE FROM suppressions")
    campaign = a_campaign(db, contacts=1)
    claimed(db, campaign, a_sender(db, campaign.number_id))

    for n, (name, code) in enumerate(steps):
        _step(db, campaign, name, code, _AT + timedelta(minutes=7 * (n * 5 % 12)))  # also earlier than what came before
    assert heal(db, campaign.id) == {}


def _step(db: Database, campaign: ACampaign, name: str, code: int | None, at: datetime) -> None:
    sender = a_sender(db, campaign.number_id)
    [row] = fetch_all(db, "SELECT id, attempt FROM message_logs WHERE campaign_id = %(id)s", {"id": campaign.id})
    log_id, attempt = row["id"], row["attempt"]
    verb, _, what = name.partition(" ")
    if name == "claim again":
        with db.connection() as connection:
            connection.execute("UPDATE message_logs SET due_at = now() WHERE state = 'retrying'")
        claimed(db, campaign, sender, again=True)
    elif verb == "report":
        _report(db, log_id, attempt, what, at, code)
    elif verb == "resolve":
        doubts.resolve(
            db, campaign.id, verdict=what, log_ids=[log_id], older_than_hours=None, who="x", code=-2, detail="",  # type: ignore[arg-type]  # one of the three
        )  # fmt: skip
    elif name == "retry":
        retries.retry(db, campaign.id, {"131008": 0.0, "unknown": 0.0}, by="x")
    elif name == "suppress":
        with db.connection() as connection:
            connection.execute(
                "INSERT INTO suppressions (phone, source) VALUES (%s, 'manual') ON CONFLICT DO NOTHING",
                campaign.phones,
            )
    elif name == "cancel":
        campaigns.cancel(db, campaign.id, by="x", reason="x")
    else:
        settle(db, [Settlement(log_id, attempt, name, f"w{log_id}", code)], node_id=1)  # type: ignore[arg-type]
