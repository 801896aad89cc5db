"""The Janitor forgets in small batches, step by step, and a step that fails costs no other."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.builders import a_campaign, a_number, counts
from tests.support.inbox import hears
from tests.support.webhooks import says
from titanflow.actors.node.janitor import Janitor, Step, steps
from titanflow.errors import StorageUnavailable
from titanflow.storage import retention, statuses, webhook_files
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


def _step(db: Database, name: str, folder: Path = Path("nowhere"), days: int = 15) -> Step:
    [found] = [step for step in steps(db, webhook_folder=folder, webhook_days=days) if step.name == name]
    return found


def test_parked_statuses_are_forgotten_after_a_week(db: Database) -> None:
    with db.transaction() as transaction:
        statuses.apply(transaction, [StatusRow(f"wamid.{n}", "sent", datetime.now(UTC)) for n in range(3)], node_id=1)
        transaction.execute("UPDATE parked_statuses SET parked_at = now() - interval '8 days' WHERE wamid <> 'wamid.1'")

    assert _step(db, "parked statuses").forget() == 2
    assert fetch_all(db, "SELECT wamid FROM parked_statuses", {}) == [{"wamid": "wamid.1"}]


def test_webhooks_as_they_came_are_forgotten_after_their_days(db: Database, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    ages = [timedelta(), timedelta(days=14, hours=22), timedelta(days=15, hours=2), timedelta(days=99)]
    for n, age in enumerate(ages):
        webhook_files.WebhookFiles(tmp_path, f"1-{n}").append([b"{}"], at=now - age)
    (tmp_path / "somebody's.ndjson.gz").write_bytes(b"")

    step = _step(db, "webhooks as they came", tmp_path)

    assert (step.forget(), step.forget()) == (2, 0)
    assert sorted(path.name.rpartition("-")[2] for path in tmp_path.glob("2*")) == ["0.ndjson.gz", "1.ndjson.gz"]
    assert _step(db, "webhooks as they came", tmp_path / "not there yet").forget() == 0


def test_what_nobody_could_read_is_forgotten_too(db: Database) -> None:
    with db.transaction() as transaction:
        transaction.execute(
            "INSERT INTO webhook_quarantine (reason, body, received_at)"
            " SELECT 'x', '{}', now() - n * interval '10 days' FROM generate_series(0, 3) AS n"
        )

    assert _step(db, "unreadable webhooks").forget() == 2
    assert _step(db, "unreadable webhooks", days=9).forget() == 1
    assert _step(db, "unreadable webhooks", days=0).forget() == 0


def test_ended_campaigns_are_closed_and_their_messages_deleted_in_a_round(db: Database) -> None:
    campaign = a_campaign(db, contacts=2, state="completed")
    with db.connection() as connection:
        connection.execute("UPDATE campaigns SET updated_at = now() - interval '31 days'")

    assert [_step(db, "ended campaigns, closed").forget() for _ in range(2)] == [1, 0]
    assert [_step(db, "messages of closed campaigns").forget() for _ in range(3)] == [2, 1, 0]
    assert fetch_all(db, "SELECT id FROM contacts", {}) == []
    assert counts(db, campaign.id) == {"pending": 2}


def test_files_that_people_sent_are_kept_as_long_as_is_chosen(db: Database) -> None:
    a_number(db)
    hears(db, {**says("", wamid="m"), "type": "image", "image": {"id": "77", "mime_type": "image/png"}})
    with db.connection() as connection:
        connection.execute(
            "UPDATE inbound_media SET state = 'stored', due_at = NULL, stored_at = now() - interval '3 days'"
        )
    step = _step(db, "files that people sent")

    assert step.forget() == 0
    retention.change(db, {"media_days": 2})
    assert step.forget() == 1
