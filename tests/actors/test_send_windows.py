"""Send windows and schedules on the real Reconciler: it moves the campaign at the moment, not at its next tick."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import a_campaign
from tests.support.running import give_tokens, running_node
from tests.support.windows import OPEN, closed, set_window
from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_one
from titanflow.supervision import via, whereis
from titanflow.supervision.testing import eventually


@pytest.fixture
def node(db: Database, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[None]:
    with running_node(database_url, redis_url, tmp_path):
        yield


def _row(db: Database, campaign_id: int) -> dict[str, Any]:
    row = fetch_one(db, "SELECT * FROM campaigns WHERE id = %(id)s", {"id": campaign_id})
    assert row is not None
    return row


def _becomes(db: Database, campaign_id: int, state: str) -> datetime:
    eventually(lambda: _row(db, campaign_id)["state"] == state, timeout_s=30)
    changed_at: datetime = _row(db, campaign_id)["updated_at"]
    return changed_at


def test_silence_begins_within_a_second_of_the_windows_end(node: None, db: Database) -> None:
    campaign = a_campaign(db, contacts=500)
    give_tokens(db)
    eventually(lambda: whereis(via("campaign", campaign.id)) is not None, timeout_s=30)
    set_window(db, campaign.id, closed(), turns_in_s=2.3)
    ends_at = _row(db, campaign.id)["window_turns_at"]

    paused_at = _becomes(db, campaign.id, "paused")

    assert timedelta(0) <= paused_at - ends_at < timedelta(seconds=1)
    row = _row(db, campaign.id)
    assert row["state_by"] == "send_window"
    assert row["state_reason"].startswith("Outside its send window; goes on ")
    eventually(lambda: whereis(via("campaign", campaign.id)) is None, timeout_s=30)


def test_it_goes_on_when_the_window_opens(node: None, db: Database) -> None:
    campaign = a_campaign(db, contacts=500)
    give_tokens(db)
    set_window(db, campaign.id, OPEN, state="paused", state_by="send_window", turns_in_s=2.3)
    opens_at = _row(db, campaign.id)["window_turns_at"]

    resumed_at = _becomes(db, campaign.id, "running")

    assert timedelta(0) <= resumed_at - opens_at < timedelta(seconds=1)
    eventually(lambda: whereis(via("campaign", campaign.id)) is not None, timeout_s=30)


def test_a_scheduled_campaign_starts_and_its_window_is_asked(node: None, db: Database) -> None:
    plain = a_campaign(db, contacts=5, state="scheduled")
    windowed = a_campaign(db, contacts=5, state="scheduled", first_phone=491530000000)
    give_tokens(db)
    set_window(db, windowed.id, closed())
    with db.connection() as connection:
        connection.execute("UPDATE campaigns SET schedule_at = now() + interval '1.5 seconds'")

    started_at = _becomes(db, plain.id, "running")
    _becomes(db, windowed.id, "paused")

    row = _row(db, plain.id)
    assert (row["state_by"], row["started_at"]) == ("scheduler", started_at)
    assert timedelta(0) <= started_at - row["schedule_at"] < timedelta(seconds=3)
    waiting = _row(db, windowed.id)
    assert (waiting["state_by"], waiting["started_at"]) == ("send_window", None)
    assert waiting["window_turns_at"] > waiting["schedule_at"]
