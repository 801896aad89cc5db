"""Promise 5: what the pages and the API show comes from counters, costs nothing, and changes nothing."""

from datetime import UTC, datetime

from tests.support.builders import a_campaign, a_sender, claimed, counts
from titanflow.storage import message_lists, reports, statuses
from titanflow.storage.counters import heal
from titanflow.storage.database import Database
from titanflow.storage.message_lists import Filters
from titanflow.storage.settlements import Settlement, settle
from titanflow.storage.statuses import StatusRow

_AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def test_looking_at_figures_writes_nothing(db: Database, database_url: str) -> None:
    """Weakness C1 of the Elixir system: opening the stats of an old campaign rewrote its counters with zeros."""
    campaign = a_campaign(db, contacts=3)
    claimed(db, campaign, a_sender(db, campaign.number_id))
    with db.connection() as connection:
        row = connection.execute("SELECT current_database()").fetchone()
        assert row is not None
        connection.execute(f'ALTER DATABASE "{row[0]}" SET default_transaction_read_only = on'.encode())
    reader = Database(database_url, pool_size=1)

    try:
        assert reports.stats(reader, campaign.id)["counts"]["claimed"] == 3
        assert reports.audit(reader, campaign.id)["balanced"]
        assert message_lists.messages(reader, campaign.id, Filters(), after=0, limit=9)[1] == 3
    finally:
        reader.close()


def test_figures_need_no_row_of_a_message_or_contact(db: Database) -> None:
    """Weakness R11 of the Elixir system: each look at a campaign sorted all of its rows, every ten seconds."""
    campaign = a_campaign(db, contacts=3)
    claimed(db, campaign, a_sender(db, campaign.number_id))

    with db.transaction() as other:
        other.execute("LOCK TABLE message_logs, message_attempts, contacts IN ACCESS EXCLUSIVE MODE")
        stats = reports.stats(db, campaign.id)  # with a lock in its way it would wait, and fail after 15 s

    assert (stats["total"], stats["counts"]["claimed"]) == (3, 3)


def test_a_person_counts_once_however_many_attempts_it_took(db: Database) -> None:
    """Weakness C4 of the Elixir system: each refused attempt added a failure for a person who then got it."""
    campaign = a_campaign(db, contacts=1)
    sender = a_sender(db, campaign.number_id)
    [one] = claimed(db, campaign, sender)
    assert one.log_id is not None
    for attempt in (1, 2, 3):
        refused = Settlement(one.log_id, attempt, "retrying", error_code=132015, error_detail="paused", due_in_s=0)
        settle(db, [refused], node_id=1)
        claimed(db, campaign, sender, again=True)
    settle(db, [Settlement(one.log_id, 4, "sent", wamid="w")], node_id=1)
    with db.transaction() as transaction:
        statuses.apply(transaction, [StatusRow("w", "delivered", _AT, one.log_id, 4)], node_id=1)

    stats = reports.stats(db, campaign.id)

    assert counts(db, campaign.id) == {"delivered": 1}
    assert stats["failed"] == {}
    for part in (*stats["templates"], *stats["numbers"]):
        assert (part["sent"], part["delivered"], part["failed"]) == (1, 1, 0)


def test_what_meta_charges_is_counted_once_and_recounted(db: Database) -> None:
    campaign = a_campaign(db, contacts=3)
    claims = claimed(db, campaign, a_sender(db, campaign.number_id))
    words = ("marketing", "marketing", "service/free_customer_service")
    rows = [
        StatusRow(f"w{one.log_id}", status, _AT, one.log_id, 1, pricing=word)
        for one, word in zip(claims, words, strict=True)
        for status in ("sent", "delivered", "read")
    ]
    for row in [*rows, *rows]:
        with db.transaction() as transaction:
            statuses.apply(transaction, [row], node_id=1)

    told = {"marketing": 2, "service/free_customer_service": 1}
    assert reports.stats(db, campaign.id)["pricing"] == told
    assert reports.audit(db, campaign.id)["counter_drift"] == 0
    with db.connection() as connection:
        connection.execute("UPDATE stats_pricing SET count = count + 5 WHERE pricing = 'marketing'")
    assert reports.audit(db, campaign.id)["counter_drift"] == 5
    assert heal(db, campaign.id) == {"stats_pricing": 5}
    assert reports.stats(db, campaign.id)["pricing"] == told
