"""Promises 3, 7 and 9 for a portfolio's messaging limit, on real processes: it stops there, says so, and goes on."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.servers import short_folder
from titanflow.cli import books, demo
from titanflow.cli.stage import Stage
from titanflow.storage import portfolios
from titanflow.storage.database import Database

_CONTACTS = 120


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as made:
        yield made / "data"


@pytest.mark.timeout(180)
def test_a_campaign_stops_at_the_tier_says_so_and_goes_on_when_it_frees_or_rises(folder: Path) -> None:
    """Two numbers of one portfolio; nobody touches the campaign."""
    stage = Stage(folder, latency_ms=30, speed=8)
    try:
        stage.start()
        db = Database(stage.database_url, pool_size=2)
        options = demo.Options(_CONTACTS, 2, 200, 30.0, "clean", False, True, None, 0, folder)
        campaign_id, max_mps = demo.prepare(stage, options, Console(quiet=True))
        portfolio_id = _portfolio_once_synced(db, numbers=2)
        portfolios.set_tier(db, portfolio_id, 40)
        stage.api.post(f"/api/v1/campaigns/{campaign_id}/start")

        def stats() -> dict[str, Any]:
            return dict(stage.api.get(f"/api/v1/campaigns/{campaign_id}/stats"))

        _until(lambda: _sent(stats()) == 40 and stats()["limited_by"] == "tier")
        full = stats()
        [budget] = full["budgets"]
        assert budget["left"] == 0
        assert budget["forecast"].startswith("0 of 40 left today; the rest goes from ")
        assert "0 of 40 left today; the rest goes from " in full["limited_detail"]

        # A day passes for ten of them.
        with db.connection() as connection:
            connection.execute(
                "UPDATE portfolio_people SET counted_at = counted_at - interval '25 h' WHERE phone IN"
                " (SELECT phone FROM portfolio_people ORDER BY phone LIMIT 10)"
            )
        _until(lambda: _sent(stats()) == 50)
        assert _sent(stats()) == 50

        stage.kill_server()  # the budget is in rows: a restart forgets nobody
        stage.start_server()
        _until(lambda: stats()["limited_by"] == "tier")
        assert _sent(stats()) == 50

        portfolios.set_tier(db, portfolio_id, "TIER_250")
        _until(lambda: stats()["state"] == "completed")
        demo.settle(stage)
        result = books.compare(stage.api, stage.meta, campaign_id, max_mps=max_mps)
        assert portfolios.drift(db) == {}
        db.close()
    finally:
        stage.stop()

    assert result.held, result


@pytest.mark.timeout(180)
def test_meta_itself_sees_nobody_beyond_the_tier_that_it_reported(folder: Path) -> None:
    """The sandbox keeps the limit, tells it when it is asked and raises it by webhook: it is the judge."""
    stage = Stage(folder, latency_ms=30, speed=8)
    try:
        stage.start()
        tier = {"id": "P1", "tier_limit": 40, "waba_ids": ["900000001"]}
        stage.meta.post("/_sandbox/portfolios", tier)
        db = Database(stage.database_url, pool_size=2)
        options = demo.Options(_CONTACTS, 2, 200, 30.0, "clean", False, True, None, 0, folder)
        campaign_id, max_mps = demo.prepare(stage, options, Console(quiet=True))
        _until(lambda: _limit(db) == 40)
        stage.api.post(f"/api/v1/campaigns/{campaign_id}/start")

        def stats() -> dict[str, Any]:
            return dict(stage.api.get(f"/api/v1/campaigns/{campaign_id}/stats"))

        _until(lambda: _sent(stats()) >= 40 and stats()["limited_by"] == "tier")
        stage.meta.post("/_sandbox/portfolios", {**tier, "tier_limit": 250, "webhook": True})
        _until(lambda: stats()["state"] == "completed")
        demo.settle(stage)
        judged = stage.meta.post("/_sandbox/portfolios", {"id": "P1"})
        result = books.compare(stage.api, stage.meta, campaign_id, max_mps=max_mps)
        db.close()
    finally:
        stage.stop()

    assert judged["over_limit"] == 0, judged
    assert result.held, result


def _limit(db: Database) -> int | None:
    with db.connection() as connection:
        row = connection.execute("SELECT tier_limit FROM portfolios WHERE tier_limit IS NOT NULL").fetchone()
    return None if row is None else int(row[0])


def _portfolio_once_synced(db: Database, *, numbers: int) -> str:
    """Wait until the server has asked Meta about both numbers, so that its answer doesn't overwrite the test's tier."""
    found: list[str] = []

    def synced() -> bool:
        with db.connection() as connection:
            row = connection.execute("SELECT count(*) FROM phone_numbers WHERE tier <> 'TIER_NOT_SET'").fetchone()
            found[:] = [str(one[0]) for one in connection.execute("SELECT id FROM portfolios").fetchall()]
        return row == (numbers,) and len(found) == 1

    _until(synced)
    return found[0]


def _sent(stats: dict[str, Any]) -> int:
    return sum(count for state, count in stats["counts"].items() if state not in ("pending", "excluded"))


def _until(condition: Callable[[], bool], *, within_s: float = 40.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.2)
