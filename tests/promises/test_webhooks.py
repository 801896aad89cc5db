"""Promise 4: an acknowledged webhook is never lost, and nothing is counted twice. `webhook_rounds` is the long form."""

import random
from collections.abc import Iterator

import pytest

from tests.chaos.sabotages.catalogue import SABOTAGES
from tests.chaos.sabotages.copies import sabotaged_copy
from tests.promises import webhook_rounds
from tests.promises.webhook_rounds import Found
from tests.support.servers import short_folder
from titanflow.cli.stage import Stage

_SEED = 20261125
_DEADLINE_S = 8.0  # of the server, on a machine that others use: 3 s


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with short_folder() as folder:
        made = webhook_rounds.stage_of(folder)
        yield made
        made.stop()


def _assert_kept(found: Found) -> None:
    assert (found.lost, found.double) == ([], []), f"seed {_SEED}"
    assert found.acknowledged == found.updates


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kill_postgres", [False, True])
def test_kills_while_webhooks_come_in(stage: Stage, kill_postgres: bool) -> None:
    found = webhook_rounds.play(stage, random.Random(_SEED), kill_postgres=kill_postgres)

    _assert_kept(found)


@pytest.mark.timeout(300)
def test_while_postgresql_is_away_meta_is_told_to_come_again(stage: Stage) -> None:
    """503 with Retry-After, soon and every time; then everything arrives by redelivery."""
    found = webhook_rounds.outage(stage, random.Random(_SEED), seconds=6)

    _assert_kept(found)
    assert found.answers.keys() == {200, 503}  # 0 would be a connection that was closed without an answer
    assert found.without_retry_after == 0
    assert found.slowest_s < _DEADLINE_S


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_rounds_find_a_server_that_answers_before_the_commit() -> None:
    with sabotaged_copy(SABOTAGES["200 before the commit"]) as source, short_folder() as folder:
        stage = webhook_rounds.stage_of(folder, source=source)
        try:
            found = [webhook_rounds.play(stage, random.Random(n), kill_postgres=True) for n in range(4)]
        finally:
            stage.stop()

    assert any(one.lost for one in found)
