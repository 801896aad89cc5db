"""Promise 8, for webhooks: a broken one costs its neighbours nothing. `webhook_fuzz` is the long form."""

import pytest

from tests.promises.webhook_fuzz import fuzz
from titanflow.storage.database import Database


@pytest.mark.timeout(300)
def test_two_thousand_broken_bodies_cost_no_valid_neighbour(db: Database) -> None:
    found = fuzz(db, 2_000, seed=20261125)

    assert found.refused == []
    assert found.deadlocks == 0
    assert (found.bodies, found.lost, found.drift) == (2_000, 0, [])
    assert found.quarantined["an unknown status"] > 0  # the junk is junk
    assert found.quarantined["not JSON"] > 0
