"""Promise 3: whoever a crash left between cursor and claim is handed out again, all of them."""

import time

from tests.support.builders import a_campaign
from titanflow.actors.campaign import buffer_manager
from titanflow.actors.campaign.buffer_manager import BufferManager
from titanflow.storage.database import Database
from titanflow.supervision import SHUTDOWN, start, stop, via


def _taken(campaign_id: int, wanted: int, *, within_s: float) -> list[int]:
    taken: list[int] = []
    deadline = time.monotonic() + within_s
    while len(taken) < wanted and time.monotonic() < deadline:
        taken += [contact.id for contact in buffer_manager.take(campaign_id, 500).contacts]
        time.sleep(0.02)
    return taken


def test_contacts_come_in_order_and_all_of_them(db: Database) -> None:
    campaign = a_campaign(db, contacts=4_500)
    pid = start(BufferManager(db, campaign.id), name=via("buffer_manager", campaign.id))
    try:
        assert _taken(campaign.id, 4_500, within_s=20) == campaign.contact_ids
    finally:
        stop(pid, SHUTDOWN, timeout_s=5)


def test_after_a_crash_the_sweep_finds_more_than_one_buffer(db: Database) -> None:
    """It stalled once: the sweep stopped when the buffer was above its low-water mark."""
    campaign = a_campaign(db, contacts=4_500)
    with db.connection() as connection:
        connection.execute("UPDATE campaign_cursors SET contact_id = %s", [campaign.contact_ids[-1]])
    pid = start(BufferManager(db, campaign.id), name=via("buffer_manager", campaign.id))
    try:
        assert set(_taken(campaign.id, 4_500, within_s=30)) == set(campaign.contact_ids)
    finally:
        stop(pid, SHUTDOWN, timeout_s=5)
