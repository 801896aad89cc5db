"""The promises of the README, on real processes: the server is killed, PostgreSQL and Redis are killed."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from rich.console import Console

from tests.support.servers import short_folder
from titanflow.cli import books, demo
from titanflow.cli.stage import Stage
from titanflow.errors import Unavailable

_SEED = 20261124


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as made:
        yield made / "data"


def _options(folder: Path, *, contacts: int, mps: int, faults: str = "clean") -> demo.Options:
    return demo.Options(contacts, 2, mps, 50.0, faults, False, True, None, 0, folder)


def _begin(stage: Stage, options: demo.Options) -> tuple[int, dict[str, int]]:
    stage.start()
    campaign_id, max_mps = demo.prepare(stage, options, Console(quiet=True))
    stage.api.post(f"/api/v1/campaigns/{campaign_id}/start")
    return campaign_id, max_mps


def _finish(stage: Stage, campaign_id: int, max_mps: dict[str, int], *, within_s: float) -> books.Books:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if stage.api.get(f"/api/v1/campaigns/{campaign_id}")["state"] == "completed":
                break
        except Unavailable:
            pass
        time.sleep(0.2)
    demo.settle(stage)
    return books.compare(stage.api, stage.meta, campaign_id, max_mps=max_mps)


@pytest.mark.timeout(240)
def test_twenty_kills_of_the_server_at_random_moments(folder: Path) -> None:
    """Before the claim, between claim and POST, between POST and settle, during a webhook's commit: wherever."""
    rng = random.Random(_SEED)
    options = _options(folder, contacts=3_000, mps=250)
    stage = Stage(folder, latency_ms=50, speed=8, seed=_SEED)
    try:
        campaign_id, max_mps = _begin(stage, options)
        for _ in range(20):
            time.sleep(rng.uniform(0.05, 0.9))  # the moment is the point, not a wait for something
            stage.kill_server()
            stage.start_server()
        result = _finish(stage, campaign_id, max_mps, within_s=120)
    finally:
        stage.stop()

    assert result.held, (f"seed {_SEED}", result)


@pytest.mark.timeout(180)
def test_outages_of_redis_and_postgresql_change_no_number(folder: Path) -> None:
    """FLUSHALL, kill -9 of Redis, an immediate restart of PostgreSQL in mid-campaign."""
    stage = Stage(folder, latency_ms=50, speed=8, profile="chaos-webhooks")
    try:
        campaign_id, max_mps = _begin(stage, _options(folder, contacts=2_500, mps=300))
        time.sleep(1)
        with redis.Redis.from_url(stage.servers.urls.redis_url) as client:
            client.flushall()
        stage.servers.kill_redis()
        time.sleep(1)
        stage.servers.restart_redis()
        stage.servers.restart_postgres("immediate")
        result = _finish(stage, campaign_id, max_mps, within_s=90)
    finally:
        stage.stop()

    assert result.held, result


@pytest.mark.timeout(120)
def test_a_graceful_stop_leaves_nothing_in_doubt(folder: Path) -> None:
    """SIGTERM drains what is in flight and settles it."""
    stage = Stage(folder, latency_ms=200, speed=8)
    try:
        campaign_id, max_mps = _begin(stage, _options(folder, contacts=1_500, mps=300))
        time.sleep(2)
        stage.stop_server()
        stage.start_server()
        counts = stage.api.get(f"/api/v1/campaigns/{campaign_id}/stats")["counts"]
        result = _finish(stage, campaign_id, max_mps, within_s=60)
    finally:
        stage.stop()

    assert counts["in_doubt"] == 0
    assert result.held, result
