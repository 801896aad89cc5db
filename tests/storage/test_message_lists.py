"""Lists of a campaign's contacts: whatever the filter, all who fit, once, in order, with the exact total."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.builders import ACampaign, a_campaign, a_sender, claimed
from titanflow.storage import campaigns, message_lists, statuses
from titanflow.storage.counters import STATES
from titanflow.storage.database import Database
from titanflow.storage.message_lists import Filters
from titanflow.storage.settlements import Settlement, settle
from titanflow.storage.statuses import StatusRow

_AT = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
_ENDS: list[tuple[str, int | None]] = [
    ("sent", None), ("failed", 131008), ("in_doubt", 131016), ("retrying", 131056), ("delivered", None),
    ("failed", None), ("read", None), ("failed", 131026), ("in_doubt", None), ("claimed", None),
]  # fmt: skip


@pytest.fixture
def mixed(db: Database) -> ACampaign:
    """Forty claimed with every end in turn, then ten pending, then every third excluded of ten more."""
    a_campaign(db, contacts=5)  # its neighbour's contacts come before
    campaign = a_campaign(db, contacts=60, first_phone=491600000000)
    with db.connection() as connection:
        connection.execute("UPDATE contacts SET excluded_reason = 'over_cap' WHERE id = ANY(%s)", [_excluded(campaign)])
        connection.execute(
            "UPDATE campaign_counters SET pending = pending - 7, excluded = 7 WHERE campaign_id = %s", [campaign.id]
        )
        connection.execute(
            "INSERT INTO campaign_reasons (campaign_id, node_id, state, reason, count)"
            " VALUES (%s, 0, 'excluded', 'over_cap', 7)",
            [campaign.id],
        )
    first = ACampaign(campaign.id, campaign.contact_ids[:40], campaign.number_id, campaign.template_id)
    for n, one in enumerate(claimed(db, first, a_sender(db, campaign.number_id))):
        end, code = _ENDS[n % len(_ENDS)]
        if end != "claimed":
            settled: Any = "sent" if end in ("delivered", "read") else end
            settle(db, [Settlement(one.log_id or 0, 1, settled, f"w{one.log_id}", code, due_in_s=60)], node_id=1)
        if end in ("delivered", "read"):
            with db.transaction() as transaction:
                statuses.apply(transaction, [StatusRow(f"w{one.log_id}", end, _AT, one.log_id, 1)], node_id=1)
    return campaign


def _excluded(campaign: ACampaign) -> list[int]:
    return campaign.contact_ids[41::3]


def _pages(db: Database, campaign: ACampaign, filters: Filters, *, dense: bool = False) -> list[dict[str, Any]]:
    """All pages of three. No page is empty twice in a row: each walk moves on."""
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        listed = message_lists.page(db, campaign.id, filters, after=after, limit=3, dense=dense)
        assert listed.next_after is None or listed.next_after > after
        found += listed.rows
        after = listed.next_after
    return found


@pytest.mark.parametrize("walks", [(2, 4, 4), (4,), message_lists._WALKS])
def test_every_filter_finds_all_who_fit_once_and_in_order(
    db: Database, mixed: ACampaign, walks: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = _pages(db, mixed, Filters())
    assert [row["contact_id"] for row in everybody] == mixed.contact_ids
    assert {row["state"] for row in everybody} == set(STATES) - {"cancelled"}
    monkeypatch.setattr(message_lists, "_WALKS", walks)

    for state in STATES:
        fitting = [row for row in everybody if row["state"] == state]
        assert _pages(db, mixed, Filters(state=state)) == fitting
        assert _pages(db, mixed, Filters(state=state), dense=True) == fitting
        assert message_lists.messages(db, mixed.id, Filters(state=state), after=0, limit=1)[1] == len(fitting)
    for code in (131008, 131026, 131016, 131056, 1):
        for one in (None, "failed", "in_doubt", "sent"):
            fitting = [row for row in everybody if row["error_code"] == code and one in (None, row["state"])]
            assert _pages(db, mixed, Filters(one, code)) == fitting
            assert message_lists.messages(db, mixed.id, Filters(one, code), after=0, limit=1)[1] == len(fitting)


def test_the_last_page_says_that_it_is(db: Database, mixed: ACampaign) -> None:
    whole = message_lists.page(db, mixed.id, Filters(), after=0, limit=60)
    failed = message_lists.page(db, mixed.id, Filters("failed"), after=0, limit=12)
    more = message_lists.page(db, mixed.id, Filters("failed"), after=0, limit=11)

    assert (len(whole.rows), whole.next_after) == (60, None)
    assert (len(failed.rows), failed.next_after) == (12, None)
    assert more.next_after == failed.rows[10]["contact_id"]


def test_a_phone_finds_that_person(db: Database, mixed: ACampaign) -> None:
    [row] = _pages(db, mixed, Filters(phone=mixed.phones[1]))

    assert (row["contact_id"], row["state"], row["error_code"]) == (mixed.contact_ids[1], "failed", 131008)
    assert _pages(db, mixed, Filters("failed", 131008, mixed.phones[1])) == [row]
    assert _pages(db, mixed, Filters("sent", None, mixed.phones[1])) == []
    assert _pages(db, mixed, Filters(phone="+491510000000")) == []  # of the neighbour


def test_in_a_cancelled_campaign_whoever_waited_is_cancelled(db: Database, mixed: ACampaign) -> None:
    campaigns.cancel(db, mixed.id, by="x", reason="x")

    found = _pages(db, mixed, Filters(state="cancelled"))

    assert [row["contact_id"] for row in found if not row["attempts"]] == [
        one for one in mixed.contact_ids[40:] if one not in _excluded(mixed)
    ]
    assert message_lists.messages(db, mixed.id, Filters("cancelled"), after=0, limit=9)[1] == len(found)
    assert _pages(db, mixed, Filters(state="pending")) == []


def test_a_page_stays_where_it_was_while_rows_change(db: Database, mixed: ACampaign) -> None:
    """The cursor is a contact, not a place: what changes its state before or behind it moves nobody."""
    first = message_lists.page(db, mixed.id, Filters(), after=0, limit=10)
    with db.connection() as connection:
        connection.execute("UPDATE message_logs SET state = 'read' WHERE campaign_id = %s", [mixed.id])

    second = message_lists.page(db, mixed.id, Filters(), after=first.next_after or 0, limit=10)

    assert [row["contact_id"] for row in first.rows + second.rows] == mixed.contact_ids[:20]
