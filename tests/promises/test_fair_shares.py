"""Two campaigns on one number, on real processes: they share it equally, and use all of it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.servers import short_folder
from titanflow.cli import demo
from titanflow.cli.stage import Stage
from titanflow.storage.database import Database

_MPS = 100


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as made:
        yield made / "data"


@pytest.mark.timeout(180)
def test_two_campaigns_share_a_number_within_five_percent(folder: Path) -> None:
    stage = Stage(folder, latency_ms=60, speed=8)
    try:
        stage.start()
        options = demo.Options(3_000, 1, _MPS, 60.0, "clean", False, True, None, 0, folder)
        first, _ = demo.prepare(stage, options, Console(quiet=True))
        second = _another(stage, first, folder / "contacts.csv")
        for campaign_id in (first, second):
            stage.api.post(f"/api/v1/campaigns/{campaign_id}/start")
        db = Database(stage.database_url, pool_size=1)
        sent = _claimed_within(db, after_s=3, seconds=8)
        db.close()
        details = {
            stage.api.get(f"/api/v1/campaigns/{campaign_id}/stats")["limited_detail"] for campaign_id in (first, second)
        }
    finally:
        stage.stop()

    assert set(sent) == {first, second}
    assert max(sent.values()) - min(sent.values()) <= 0.05 * max(sent.values()), sent
    assert details == {f"{_MPS} a second, shared with 1 other campaign"}


def _another(stage: Stage, campaign_id: int, contacts: Path) -> int:
    known = stage.api.get(f"/api/v1/campaigns/{campaign_id}")
    fields = {key: known[key] for key in ("template_ids", "phone_number_ids", "variables")}
    campaign = stage.api.post("/api/v1/campaigns", {"name": "Another", **fields})
    imported = stage.api.upload(f"/api/v1/campaigns/{campaign['id']}/contacts", contacts)
    deadline = time.monotonic() + 60
    while imported["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
        imported = stage.api.get(f"/api/v1/campaigns/{campaign['id']}/imports/{imported['id']}")
    assert imported["state"] == "done"
    return int(campaign["id"])


def _claimed_within(db: Database, *, after_s: float, seconds: float) -> dict[int, int]:
    """How many messages of each campaign were claimed within some seconds, begun after both have got going."""
    time.sleep(after_s + seconds)  # time itself is what is measured
    with db.connection() as connection:
        rows = connection.execute(
            "SELECT campaign_id, count(*) FROM message_logs"
            " WHERE claimed_at > now() - make_interval(secs => %s) GROUP BY campaign_id",
            [seconds],
        ).fetchall()
    return {int(campaign_id): int(count) for campaign_id, count in rows}
