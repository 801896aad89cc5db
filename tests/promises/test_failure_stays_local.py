"""Promise 8: a number whose tree is torn down again and again leaves every other one running, and comes back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.builders import ACampaign, a_campaign
from titanflow import application
from titanflow.actors.node.reconciler import nudge
from titanflow.domain.vault import Vault
from titanflow.settings import Settings
from titanflow.storage.database import Database
from titanflow.supervision import KILL, exit_process, via, whereis
from titanflow.supervision.testing import eventually

_KEY = "a key for the tests alone"


@pytest.fixture
def two_campaigns(db: Database) -> tuple[ACampaign, ACampaign]:
    """Two running campaigns, each on a number of its own."""
    first = a_campaign(db, contacts=50, phone_number_id="1001")
    second = a_campaign(db, contacts=50, phone_number_id="1002", first_phone=491530000000)
    with db.connection() as connection:
        connection.execute("UPDATE phone_numbers SET access_token = %s", [Vault([_KEY]).encrypt("token")])
    return first, second


@pytest.fixture
def running(
    two_campaigns: tuple[ACampaign, ACampaign], database_url: str, redis_url: str, tmp_path: Path
) -> Iterator[application.Application]:
    """The whole tree in this process; its Meta is a closed port, so nothing can leave."""
    settings = Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        secret_key=(SecretStr(_KEY),),
        admin_pin=SecretStr("83-92-01"),
        meta_app_secret=(SecretStr("secret"),),
        meta_verify_token=SecretStr("token"),
        meta_graph_url="http://127.0.0.1:9",
        pipeline_concurrency=3,
        data_dir=tmp_path,
    )
    started = application.start(settings)
    yield started
    started.stop()


def test_a_number_torn_down_again_and_again_costs_nobody_else(
    running: application.Application, two_campaigns: tuple[ACampaign, ACampaign]
) -> None:
    broken, other = two_campaigns
    pools = [via("pool", one.number_id, one.id) for one in two_campaigns]
    eventually(lambda: all(whereis(pool) is not None for pool in pools), timeout_s=20)
    bystanders = [
        via("reconciler"),
        via("number", other.number_id),
        via("pool", other.number_id, other.id),
        via("campaign", other.id),
    ]
    before = [whereis(name) for name in bystanders]

    for _ in range(6):
        # The pools' supervisor alone is gone for a moment while the Reconciler wants to add a pool to it.
        eventually(lambda: whereis(via("pools", broken.number_id)) is not None, timeout_s=20)
        exit_process(via("pools", broken.number_id), KILL)
        nudge()

    eventually(lambda: whereis(pools[0]) is not None, timeout_s=60)
    assert [whereis(name) for name in bystanders] == before


def test_the_reconciler_survives_a_supervisor_that_is_gone(
    running: application.Application, two_campaigns: tuple[ACampaign, ACampaign], db: Database
) -> None:
    """It crashed on noproc once, and its restart tore every tree of the node down."""
    broken, _ = two_campaigns
    pools = via("pools", broken.number_id)
    eventually(lambda: whereis(via("pool", broken.number_id, broken.id)) is not None, timeout_s=20)
    reconciler = whereis(via("reconciler"))

    with db.transaction() as holding:  # the number's restart waits for this lease: no pools supervisor meanwhile
        holding.execute("SELECT FROM leases WHERE resource_id = %s FOR UPDATE", [broken.number_id])
        exit_process(pools, KILL)
        pool = via("pool", broken.number_id, broken.id)
        eventually(lambda: whereis(pools) is None and whereis(pool) is None, timeout_s=15)
        eventually(lambda: whereis(via("reconciler")) != reconciler, timeout_s=3, must=False)  # its back-off passes

    eventually(lambda: whereis(via("pool", broken.number_id, broken.id)) is not None, timeout_s=60)
    assert whereis(via("reconciler")) == reconciler
