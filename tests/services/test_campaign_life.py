"""Start, pause, resume, cancel and schedules, with and without a send window: the decisions, without actors."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.builders import a_campaign, a_sender, claimed
from tests.support.windows import OPEN, closed, set_window
from titanflow.actors.node import send_windows
from titanflow.errors import Conflict
from titanflow.services import campaigns
from titanflow.storage import desired
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy


def _row(db: Database, campaign_id: int) -> dict[str, Any]:
    return campaigns.get(db, campaign_id)


def test_a_start_outside_the_window_waits_for_it_with_the_reason(db: Database, fast_copy: FastCopy) -> None:
    """Promise 9: the API's answer, the row and hence the page give the same sentence."""
    campaign = a_campaign(db, state="ready")
    set_window(db, campaign.id, closed())

    answer = campaigns.start(db, fast_copy, campaign.id, by="ana")

    row = _row(db, campaign.id)
    assert (answer["state"], row["state"], row["state_by"]) == ("paused", "paused", "send_window")
    assert answer["state_reason"] == row["state_reason"]
    assert answer["state_reason"].startswith("Outside its send window; goes on ")
    assert answer["state_reason"].endswith("at 09:00 (UTC)")
    assert timedelta(days=2) < row["resumes_at"] - datetime.now(UTC) < timedelta(days=4)
    assert row["started_at"] is None  # nothing has started yet
    assert campaigns.start(db, fast_copy, campaign.id, by="ana") == answer


def test_a_start_inside_the_window_runs_at_once(db: Database, fast_copy: FastCopy) -> None:
    campaign = a_campaign(db, state="ready")
    set_window(db, campaign.id, OPEN)

    assert campaigns.start(db, fast_copy, campaign.id, by="ana") == {"id": campaign.id, "state": "running"}
    assert _row(db, campaign.id)["started_at"] is not None


def test_nothing_is_claimed_after_the_end_whoever_is_late(db: Database) -> None:
    """The claim itself checks the window: a Reconciler that hangs sends nothing at night."""
    campaign = a_campaign(db)
    sender = a_sender(db, campaign.number_id)
    set_window(db, campaign.id, closed(), turns_in_s=-0.001)

    assert claimed(db, campaign, sender) == []

    set_window(db, campaign.id, closed(), turns_in_s=60)
    assert len(claimed(db, campaign, sender)) == 3


def test_a_window_pauses_and_resumes_by_itself(db: Database) -> None:
    campaign = a_campaign(db)
    set_window(db, campaign.id, closed(), turns_in_s=0)
    assert send_windows.turn(db, desired.load(db).turns)
    assert _row(db, campaign.id)["state"] == "paused"

    set_window(db, campaign.id, OPEN, turns_in_s=0)  # the time has come
    assert send_windows.turn(db, desired.load(db).turns)

    row = _row(db, campaign.id)
    assert (row["state"], row["state_by"], row["state_reason"]) == ("running", "send_window", None)


def test_what_an_operator_paused_no_window_resumes(db: Database, fast_copy: FastCopy) -> None:
    campaign = a_campaign(db)
    set_window(db, campaign.id, closed(), turns_in_s=0)
    send_windows.turn(db, desired.load(db).turns)

    campaigns.pause(db, fast_copy, campaign.id, by="ana")

    row = _row(db, campaign.id)
    assert (row["state_by"], row["state_reason"], row["resumes_at"]) == ("ana", "Paused by ana", None)
    set_window(db, campaign.id, OPEN, turns_in_s=0)
    assert desired.load(db).turns == ()
    assert _row(db, campaign.id)["state"] == "paused"


def test_a_pause_between_seeing_and_moving_wins(db: Database, fast_copy: FastCopy) -> None:
    campaign = a_campaign(db)
    set_window(db, campaign.id, OPEN, state="paused", state_by="send_window", turns_in_s=0)
    seen = desired.load(db).turns
    campaigns.pause(db, fast_copy, campaign.id, by="ana")

    assert not send_windows.turn(db, seen)

    assert _row(db, campaign.id)["state_by"] == "ana"


def test_a_resume_outside_the_window_waits_for_it(db: Database, fast_copy: FastCopy) -> None:
    campaign = a_campaign(db, state="paused")
    set_window(db, campaign.id, closed())

    answer = campaigns.resume(db, fast_copy, campaign.id, by="ana")

    assert (answer["state"], "Outside its send window" in answer["state_reason"]) == ("paused", True)


def test_taking_the_window_away_lets_a_waiting_campaign_go(db: Database, fast_copy: FastCopy) -> None:
    campaign = a_campaign(db, state="ready")
    set_window(db, campaign.id, closed())
    campaigns.start(db, fast_copy, campaign.id, by="ana")

    changed = campaigns.update(db, fast_copy, campaign.id, {"send_window": None})

    assert (changed["state"], changed["send_window"]) == ("running", None)


def test_changing_the_window_leaves_a_manual_pause_alone(db: Database, fast_copy: FastCopy) -> None:
    campaign = a_campaign(db)
    campaigns.pause(db, fast_copy, campaign.id, by="ana")

    assert campaigns.update(db, fast_copy, campaign.id, {"send_window": OPEN})["state"] == "paused"
    assert desired.load(db).turns == ()


def test_a_cancelled_campaign_stays_cancelled_when_its_window_opens(db: Database, fast_copy: FastCopy) -> None:
    campaign = a_campaign(db)
    set_window(db, campaign.id, OPEN, state="paused", state_by="send_window", turns_in_s=0)
    assert campaigns.cancel(db, fast_copy, campaign.id, by="ana") == {"id": campaign.id, "state": "cancelled"}
    assert desired.load(db).turns == ()
    assert _row(db, campaign.id)["state_reason"] == "Cancelled by ana"


def test_a_node_that_was_away_over_night_decides_anew(db: Database) -> None:
    """Its window closed and opened meanwhile: it goes on, and knows when it closes next."""
    campaign = a_campaign(db)
    evening = (datetime.now(UTC) + timedelta(hours=2)).strftime("%H:00")
    window = {"timezone": "UTC", "days": OPEN["days"], "from": "00:00", "to": evening}
    if evening < "03:00":  # around midnight this window would be closed now
        window = OPEN
    set_window(db, campaign.id, window, turns_in_s=-40_000)

    send_windows.turn(db, desired.load(db).turns)

    row = _row(db, campaign.id)
    assert row["state"] == "running"
    assert row["pauses_at"] is None or row["pauses_at"] > datetime.now(UTC)


@pytest.mark.parametrize("window", [None, OPEN])
def test_a_schedule_can_be_moved_brought_forward_and_taken_away(
    db: Database, fast_copy: FastCopy, window: dict[str, Any] | None
) -> None:
    campaign = a_campaign(db, state="ready")
    set_window(db, campaign.id, window)
    later = datetime.now(UTC) + timedelta(days=1)
    campaigns.update(db, fast_copy, campaign.id, {"schedule_at": later})
    assert campaigns.start(db, fast_copy, campaign.id, by="ana")["state"] == "scheduled"

    moved = campaigns.update(db, fast_copy, campaign.id, {"schedule_at": later + timedelta(days=1)})
    assert (moved["state"], moved["schedule_at"]) == ("scheduled", later + timedelta(days=1))
    assert campaigns.update(db, fast_copy, campaign.id, {"schedule_at": None})["state"] == "ready"

    campaigns.update(db, fast_copy, campaign.id, {"schedule_at": later})
    campaigns.start(db, fast_copy, campaign.id, by="ana")
    campaigns.update(db, fast_copy, campaign.id, {"schedule_at": datetime.now(UTC) - timedelta(seconds=1)})
    loaded = desired.load(db)
    send_windows.turn(db, loaded.turns)
    assert loaded.started == (campaign.id,)
    assert _row(db, campaign.id)["state"] == "running"


def test_a_scheduled_campaign_can_be_paused_resumed_and_cancelled(db: Database, fast_copy: FastCopy) -> None:
    campaign = a_campaign(db, state="ready")
    later = datetime.now(UTC) + timedelta(days=1)
    campaigns.update(db, fast_copy, campaign.id, {"schedule_at": later})
    campaigns.start(db, fast_copy, campaign.id, by="ana")

    assert campaigns.pause(db, fast_copy, campaign.id, by="ana")["state"] == "paused"
    assert campaigns.resume(db, fast_copy, campaign.id, by="ana")["state"] == "scheduled"  # not before its time
    assert campaigns.cancel(db, fast_copy, campaign.id, by="ana")["state"] == "cancelled"
    with pytest.raises(Conflict, match="can't be started"):
        campaigns.start(db, fast_copy, campaign.id, by="ana")


def test_a_start_in_the_past_starts_at_once(db: Database, fast_copy: FastCopy) -> None:
    campaign = a_campaign(db, state="ready")
    campaigns.update(db, fast_copy, campaign.id, {"schedule_at": datetime.now(UTC) - timedelta(days=1)})
    assert campaigns.start(db, fast_copy, campaign.id, by="ana")["state"] == "running"


def test_of_many_starts_at_once_one_starts_it(db: Database, fast_copy: FastCopy) -> None:
    """Weakness D13 of the Elixir system: start isn't guarded, two calls for one campaign both run it."""
    campaign = a_campaign(db, state="ready")
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(campaigns.start, db, fast_copy, campaign.id, by=f"click {n}") for n in range(6)]
        states = {call.result()["state"] for call in calls}

    assert states == {"running"}
    assert list(desired.load(db).campaigns) == [campaign.id]


def test_a_resume_leaves_the_first_start_alone(db: Database, fast_copy: FastCopy) -> None:
    """Weakness C11 of the Elixir system: started_at is overwritten at every resume, so durations are wrong."""
    campaign = a_campaign(db, state="ready")
    campaigns.start(db, fast_copy, campaign.id, by="ana")
    first = _row(db, campaign.id)["started_at"]

    campaigns.pause(db, fast_copy, campaign.id, by="ana")
    campaigns.resume(db, fast_copy, campaign.id, by="ana")
    set_window(db, campaign.id, OPEN, state="paused", state_by="send_window", turns_in_s=0)
    send_windows.turn(db, desired.load(db).turns)

    row = _row(db, campaign.id)
    assert (row["state"], row["started_at"]) == ("running", first)
