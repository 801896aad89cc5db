"""Promise 6, and Meta's refusals of a person: they keep the person out for a while, and never shorten an opt-out."""

from datetime import UTC, datetime

import pytest

from tests.support.builders import a_campaign, a_sender, claimed, counts
from titanflow.domain.suppression import DAY_S
from titanflow.domain.webhooks import Preference, WebhookBatch
from titanflow.storage import statuses
from titanflow.storage.counters import heal
from titanflow.storage.database import Database
from titanflow.storage.settlements import Settlement, settle
from titanflow.storage.statuses import StatusRow
from titanflow.storage.webhook_batches import store

_AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
_PHONE = "+491510000000"


def _refuse(db: Database, code: int, *, by: str = "webhook") -> None:
    """A campaign of one person, to whom the message fails with the code."""
    campaign = a_campaign(db, contacts=1)
    with db.connection() as connection:  # as if the person had not been suppressed yet when it was claimed
        rows = connection.execute("DELETE FROM suppressions RETURNING *").fetchall()
    [one] = claimed(db, campaign, a_sender(db, campaign.number_id))
    with db.connection() as connection:
        for row in rows:
            connection.execute("INSERT INTO suppressions SELECT (%s::suppressions).*", [_record(row)])
    assert one.log_id is not None
    if by == "answer":
        settle(db, [Settlement(one.log_id, 1, "failed", error_code=code)], node_id=1)
        return
    with db.transaction() as transaction:
        for _ in range(2):  # Meta repeats itself
            statuses.apply(transaction, [StatusRow("w", "failed", _AT, one.log_id, 1, code, "no")], node_id=1)


def _record(row: tuple[object, ...]) -> str:
    return "(" + ",".join("" if value is None else f'"{value}"' for value in row) + ")"


def _suppressed(db: Database) -> tuple[str, str, int | None] | None:
    """Reason, source, and whole days still to go."""
    with db.connection() as connection:
        row = connection.execute(
            "SELECT reason, source, round(extract(epoch FROM expires_at - now()) / %s)::int FROM suppressions", [DAY_S]
        ).fetchone()
    return (row[0], row[1], row[2]) if row else None


def _expire(db: Database) -> None:
    with db.connection() as connection:
        connection.execute("UPDATE suppressions SET expires_at = now() - interval '1 day'")


@pytest.mark.parametrize("by", ["webhook", "answer"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (131026, ("invalid_number", "131026", 30)),
        (1013, ("invalid_number", "1013", 30)),
        (1026, ("invalid_number", "1026", 30)),
        (131049, ("recently_messaged", "131049", 1)),
        (131050, ("opted_out", "131050", None)),
        (130472, None),
        (131047, None),
        (100, None),
    ],
)
def test_a_refused_person_is_left_out_for_the_rules_time(
    db: Database, by: str, code: int, expected: tuple[str, str, int | None] | None
) -> None:
    _refuse(db, code, by=by)

    assert _suppressed(db) == expected


def test_the_next_campaign_leaves_the_person_out_with_the_reason_and_the_books_balance(db: Database) -> None:
    _refuse(db, 131026)
    campaign = a_campaign(db, contacts=2)

    claims = claimed(db, campaign, a_sender(db, campaign.number_id))

    assert [claim.contact_id for claim in claims] == campaign.contact_ids[1:]
    assert counts(db, campaign.id) == {"claimed": 1, "excluded": 1}
    assert heal(db, campaign.id) == {}


def test_a_suppression_that_is_over_keeps_nobody_out(db: Database) -> None:
    _refuse(db, 131049)
    _expire(db)
    campaign = a_campaign(db, contacts=1)

    assert len(claimed(db, campaign, a_sender(db, campaign.number_id))) == 1


def test_a_repeat_lasts_longer_up_to_the_longest(db: Database) -> None:
    days = []
    for _ in range(5):
        _refuse(db, 131026)
        found = _suppressed(db)
        assert found is not None
        days.append(found[2])
        _expire(db)

    assert days == [30, 60, 120, 240, 240]


@pytest.mark.parametrize("source", ["131050", "user_preferences", "manual"])
def test_an_opt_out_is_never_replaced_or_shortened(db: Database, source: str) -> None:
    with db.connection() as connection:
        connection.execute(
            "INSERT INTO suppressions (phone, reason, source) VALUES (%s, 'opted_out', %s)", [_PHONE, source]
        )

    _refuse(db, 131026)
    _refuse(db, 131050)

    assert _suppressed(db) == ("opted_out", source, None)


def test_an_operators_block_for_a_time_is_not_replaced_by_metas(db: Database) -> None:
    with db.connection() as connection:
        connection.execute(
            "INSERT INTO suppressions (phone, reason, source, expires_at)"
            " VALUES (%s, 'blacklisted', 'manual', now() + interval '7 days')",
            [_PHONE],
        )

    _refuse(db, 131026)

    assert _suppressed(db) == ("blacklisted", "manual", 7)


def test_the_longer_of_two_soft_ones_stays(db: Database) -> None:
    _refuse(db, 131026)
    _refuse(db, 131049)
    assert _suppressed(db) == ("invalid_number", "131026", 30)


@pytest.mark.parametrize("by", ["131050", "user_preferences"])
def test_a_no_takes_the_place_of_a_soft_suppression(db: Database, by: str) -> None:
    """Else the person would be written to again when the soft one is over."""
    _refuse(db, 131049)
    if by == "131050":
        _refuse(db, 131050)
    else:
        store(db, WebhookBatch(preferences=(Preference(_PHONE, "stop", _AT),)), node_id=1)

    assert _suppressed(db) == ("opted_out", by, None)


def test_a_failure_by_webhook_takes_the_place_of_a_doubts_code(db: Database) -> None:
    """The person's refusal came after a doubtful answer: it is the reason, and it counts."""
    campaign = a_campaign(db, contacts=1)
    [one] = claimed(db, campaign, a_sender(db, campaign.number_id))
    assert one.log_id is not None
    settle(db, [Settlement(one.log_id, 1, "in_doubt", error_code=131016, error_detail="no answer")], node_id=1)

    with db.transaction() as transaction:
        [reported] = statuses.apply(
            transaction, [StatusRow("w", "failed", _AT, one.log_id, 1, 131026, "gone")], node_id=1
        )

    assert reported.error_code == 131026
    assert _suppressed(db) == ("invalid_number", "131026", 30)
