"""Promise 9 over several nodes: what a campaign does is the sum of what its numbers do, wherever they are."""

from collections.abc import Iterator

import pytest

from tests.support.builders import ACampaign, a_campaign
from titanflow.actors.campaign.counter_syncer import CounterSyncer, GetLive, Report
from titanflow.domain.live import CampaignLive, NumberLive
from titanflow.services import campaigns
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.supervision import KILL, Pid, call, cast, exit_process, start
from titanflow.supervision.testing import eventually


@pytest.fixture
def fast_copy(redis_url: str) -> Iterator[FastCopy]:
    made = FastCopy(redis_url)
    yield made
    made.close()


@pytest.fixture
def campaign(db: Database) -> ACampaign:
    return a_campaign(db)


def _live(node: Pid) -> CampaignLive:
    return call(node, GetLive(), timeout_s=5)


def test_two_nodes_tell_the_same_of_a_campaign(db: Database, fast_copy: FastCopy, campaign: ACampaign) -> None:
    nodes = [start(CounterSyncer(db, fast_copy, campaign.id, node_id)) for node_id in (1, 2, 3)]
    try:
        cast(nodes[0], Report(NumberLive("1001", 80, 79.0, 9, "rate", "80 a second")))
        cast(nodes[1], Report(NumberLive("1002", 80, 40.0, 9, "tier", "0 of 250 left today")))
        told = "1 of 2 numbers rate: 80 a second; 1 of 2 numbers tier: 0 of 250 left today"
        eventually(lambda: all(_live(node).limited_detail == told for node in nodes), timeout_s=20)
        elsewhere = campaigns.live(fast_copy, campaign.id)
        rates = {_live(node).rate_now for node in nodes}
    finally:
        for node in nodes:
            exit_process(node, KILL)

    assert rates == {119.0}
    assert elsewhere is not None
    assert (elsewhere.rate_now, elsewhere.limited_detail) == (119.0, told)


def test_a_campaign_whose_numbers_have_all_stopped_says_why(
    db: Database, fast_copy: FastCopy, campaign: ACampaign
) -> None:
    with db.connection() as connection:
        connection.execute(
            "UPDATE phone_numbers SET state = 'paused', state_reason = 'Too many complaints',"
            " paused_until = '2030-01-01 14:20+00'"
        )
    node = start(CounterSyncer(db, fast_copy, campaign.id, 1))
    try:
        told = "number 1001 is paused until 14:20 UTC: Too many complaints"
        eventually(lambda: _live(node).limited_detail == told, timeout_s=20)
        limited_by = _live(node).limited_by
    finally:
        exit_process(node, KILL)

    assert limited_by == "paused"
