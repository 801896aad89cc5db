"""The Janitor forgets in small batches, step by step, and a step that fails costs no other."""

from datetime import UTC, datetime

from titanflow.actors.node.janitor import Janitor, Step, steps
from titanflow.errors import StorageUnavailable
from titanflow.storage import statuses
from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all
from titanflow.storage.statuses import StatusRow
from titanflow.supervision import start, stop
from titanflow.supervision.testing import virtual_clock


def test_a_round_works_off_each_step_in_batches_and_survives_a_broken_one() -> None:
    left = {"many": 25, "few": 3}
    asked: list[str] = []

    def forget(name: str) -> int:
        asked.append(name)
        count = min(10, left[name])
        left[name] -= count
        return count

    def broken() -> int:
        asked.append("broken")
        raise StorageUnavailable("PostgreSQL is away")

    a_round = [Step("many", lambda: forget("many"), 10), Step("x", broken, 10), Step("few", lambda: forget("few"), 10)]
    with virtual_clock() as clock:
        janitor = start(Janitor(a_round))
        try:
            for _ in range(70):
                clock.advance(ms=1_000)
        finally:
            stop(janitor)

    assert asked == ["many", "many", "many", "broken", "few"]
    assert left == {"many": 0, "few": 0}


def test_parked_statuses_are_forgotten_after_a_week(db: Database) -> None:
    with db.transaction() as transaction:
        statuses.apply(transaction, [StatusRow(f"wamid.{n}", "sent", datetime.now(UTC)) for n in range(3)], node_id=1)
        transaction.execute("UPDATE parked_statuses SET parked_at = now() - interval '8 days' WHERE wamid <> 'wamid.1'")

    [parked] = [step for step in steps(db) if step.name == "parked statuses"]

    assert parked.forget() == 2
    assert fetch_all(db, "SELECT wamid FROM parked_statuses", {}) == [{"wamid": "wamid.1"}]
