"""Retention: a campaign is closed first, then its rows go in batches; nobody waits again, and no figure changes."""

import os
import subprocess
import sys
from datetime import timedelta
from itertools import count
from typing import Any

import psycopg
import pytest

from tests.support.builders import ACampaign, a_campaign, a_sender, claimed, counts
from tests.support.inbox import a_conversation, a_reply, hears
from tests.support.webhooks import says, webhook
from titanflow.errors import Conflict, Gone
from titanflow.services import campaigns as service
from titanflow.services import doubts as doubts_service
from titanflow.services import retries as retries_service
from titanflow.storage import completion, counters, doubts, people, reports, retention, retries
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.storage.rows import fetch_all
from titanflow.storage.settlements import Settlement, settle

_ROLL_UPS = ("stats_hourly", "stats_failures", "stats_pricing", "reply_times", "campaign_counters", "campaign_reasons")
_ENDED = count(1)
_RECOUNTED = f"WITH {counters.RECOUNTED} SELECT * FROM recounted"
_ROWS = ("contacts", "message_logs", "message_attempts", "replies", "import_rejects")


@pytest.fixture
def fast_copy(redis_url: str) -> Any:
    made = FastCopy(redis_url)
    yield made
    made.close()


def _ended(db: Database, *, people: int = 6, days: float = 40) -> ACampaign:
    """A completed campaign: one failed after two attempts, one excluded, one in doubt, others sent, one answered."""
    campaign = a_campaign(db, contacts=people, first_phone=491510000000 + 1000 * next(_ENDED))
    with db.connection() as connection:
        connection.execute("INSERT INTO suppressions (phone, source) VALUES (%s, 'manual')", [campaign.phones[1]])
    sender = a_sender(db, campaign.number_id)
    log_ids = {one.contact_id: one.log_id or 0 for one in claimed(db, campaign, sender)}
    failing, doubted = log_ids[campaign.contact_ids[0]], log_ids[campaign.contact_ids[2]]
    settle(db, [Settlement(failing, 1, "retrying", error_code=130429, error_detail="slow", due_in_s=0)], node_id=1)
    claimed(db, campaign, sender, again=True)
    rest = [one for one in log_ids.values() if one not in (failing, doubted)]
    settle(
        db,
        [
            Settlement(failing, 2, "failed", error_code=131000, error_detail="something"),
            Settlement(doubted, 1, "in_doubt"),
            *(Settlement(one, 1, "sent", wamid=f"wamid.{one}") for one in rest),
        ],
        node_id=1,
    )
    webhook(db, says("hi", wamid=f"in.{campaign.id}", sender=campaign.phones[-1].lstrip("+")))
    assert completion.complete(db, campaign.id, reason="done")
    _age(db, campaign.id, days)
    return campaign


def _age(db: Database, campaign_id: int, days: float) -> None:
    with db.connection() as connection:
        parameters = {"id": campaign_id, "age": timedelta(days=days)}
        connection.execute(
            "UPDATE campaigns SET updated_at = updated_at - %(age)s, completed_at = completed_at - %(age)s"
            " WHERE id = %(id)s",
            parameters,
        )
        connection.execute(
            "UPDATE message_logs SET due_at = due_at - %(age)s, claimed_at = claimed_at - %(age)s"
            " WHERE campaign_id = %(id)s",
            parameters,
        )


def _all(db: Database, tables: tuple[str, ...]) -> dict[str, Any]:
    with db.connection() as connection:
        return {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3".encode()).fetchall() for table in tables
        }


def _rows(db: Database) -> dict[str, int]:
    return {table: len(rows) for table, rows in _all(db, _ROWS).items() if rows}


def _run(db: Database, *, limit: int = 5_000) -> None:
    retention.close(db)
    while retention.purge(db, limit=limit):
        pass


def test_weakness_d7_what_retention_deletes_makes_nobody_pending_again(db: Database, fast_copy: FastCopy) -> None:
    """Weakness D7 of the Elixir system: retention deleted the rows that prove "sent"; a resume then sent to all."""
    campaign = _ended(db)
    before = counts(db, campaign.id)

    retention.close(db)
    retention.purge(db, limit=2)  # half-way: some have gone, some have not

    sender = a_sender(db, campaign.number_id, epoch=11)
    for _ in range(2):
        with pytest.raises(Conflict, match="is closed"):
            service.start(db, fast_copy, campaign.id, by="ana")
        with pytest.raises(Conflict, match="is closed"):
            service.resume(db, fast_copy, campaign.id, by="ana")
        with pytest.raises(Conflict, match="is closed"):
            retries_service.retry(db, fast_copy, campaign.id, ["131000"], by="ana")
        for verdict in ("failed", "sent", "resend"):
            with pytest.raises(Conflict, match="is closed"):
                doubts_service.resolve(
                    db, fast_copy, campaign.id, verdict, log_ids=[], older_than_hours=0, by="ana"
                )  # fmt: skip
        assert retries.retry(db, campaign.id, {"131000": 0.0}, by="ana") is None
        assert doubts.resend_by_policy(db, node_id=1) == 0
        assert claimed(db, campaign, sender) == claimed(db, campaign, sender, again=True) == []
        assert counts(db, campaign.id) == before
        _run(db)
    assert _rows(db) == {}


def test_no_statement_at_all_brings_a_closed_campaign_back(db: Database) -> None:
    """Weakness D7: whatever code of whatever version tries it, the table refuses."""
    campaign = _ended(db)
    retention.close(db)

    for state in ("running", "paused", "scheduled", "ready", "draft", "importing"):
        with db.connection() as connection, pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("UPDATE campaigns SET state = %s WHERE id = %s", [state, campaign.id])


def test_weakness_c1_what_retention_deletes_changes_no_figure(db: Database) -> None:
    """Weakness C1 of the Elixir system: opening the stats of a campaign older than retention set them to zero."""
    campaign = _ended(db)
    before, figures = _all(db, _ROLL_UPS), reports.stats(db, campaign.id)
    assert all(before[table] for table in _ROLL_UPS if table != "stats_pricing")
    assert _rows(db) == {"contacts": 6, "message_logs": 5, "message_attempts": 1, "replies": 1}
    retention.close(db)
    seen = []

    while retention.purge(db, limit=2):
        seen.append(_rows(db).get("contacts", 0))
        assert counters.heal(db, campaign.id) == {}
        assert reports.stats(db, campaign.id) == figures
        assert _all(db, _ROLL_UPS) == before

    assert seen == [4, 2, 0, 0]
    assert _rows(db) == {}
    audit = reports.audit(db, campaign.id)
    assert audit["closed_at"] is not None
    assert (audit["balanced"], audit["counter_drift"], audit["duplicates"]) == (True, 0, 0)
    assert (audit["total"], {state: n for state, n in audit["counts"].items() if n}) == (
        6,
        counts(db, campaign.id),
    )


def test_nobody_is_ever_left_without_the_message_that_was_sent(db: Database) -> None:
    """Weakness D3: half of a campaign deleted, whoever is left is known with all that happened."""
    campaign = _ended(db)
    retention.close(db)

    retention.purge(db, limit=3)

    left = fetch_all(db, _RECOUNTED, {"id": campaign.id})
    assert {row["state"] for row in left} == {"sent"}
    assert people.campaigns(db, campaign.phones[:3], before=2**62, limit=9) == []
    with pytest.raises(Gone, match="is closed"):
        service.with_messages(db, campaign.id)


_PURGE = """
import sys
from titanflow.storage import retention
from titanflow.storage.database import Database
db = Database(sys.argv[1], pool_size=1)
while retention.purge(db, limit=20):
    print("a piece", flush=True)
"""


def test_killed_anywhere_it_leaves_nobody_without_the_message_that_was_sent(db: Database, database_url: str) -> None:
    """Weakness D7 under kill -9: each piece is a commit that keeps how far it came."""
    campaign = a_campaign(db, contacts=1_500, state="completed")
    with db.connection() as connection:
        connection.execute(
            "INSERT INTO message_logs (contact_id, incarnation, campaign_id, number_id, template_id, state)"
            " SELECT id, 1, campaign_id, %s, %s, 'read' FROM contacts",
            [campaign.number_id, campaign.template_id],
        )
        connection.execute("UPDATE campaign_counters SET pending = 0, read = 1500")
    _age(db, campaign.id, 40)
    retention.close(db)

    for pieces in (1, 2, 5):
        purging = subprocess.Popen(
            [sys.executable, "-c", _PURGE, database_url], stdout=subprocess.PIPE, env={**os.environ}
        )
        assert purging.stdout is not None
        for _ in range(pieces):
            assert purging.stdout.readline() == b"a piece\n"
        purging.kill()
        purging.communicate()
        left = fetch_all(db, _RECOUNTED, {"id": campaign.id})
        assert [row["state"] for row in left] == ["read"]
        assert left[0]["count"] <= 1_500 - 20 * pieces
        [orphans] = fetch_all(
            db,
            "SELECT count(*) AS count FROM message_logs WHERE contact_id NOT IN (SELECT id FROM contacts)",
            {},
        )
        assert orphans["count"] == 0
    _run(db)
    assert _rows(db) == {}
    assert counts(db, campaign.id) == {"read": 1_500}


def test_what_is_young_alive_or_in_doubt_is_not_touched(db: Database) -> None:
    young, running, old = _ended(db, days=29), a_campaign(db, contacts=2), _ended(db, days=31)
    paused = a_campaign(db, contacts=2, state="paused")
    doubted = _ended(db, days=31)
    for campaign in (running, paused):
        _age(db, campaign.id, 99)
    with db.connection() as connection:
        connection.execute(
            "UPDATE message_logs SET due_at = now() - interval '29 days' WHERE campaign_id = %s AND state = 'in_doubt'",
            [doubted.id],
        )

    _run(db)

    closed = fetch_all(db, "SELECT id FROM campaigns WHERE closed_at IS NOT NULL AND purged_at IS NOT NULL", {})
    assert closed == [{"id": old.id}]
    for campaign in (young, running, paused, doubted):
        assert reports.audit(db, campaign.id)["total"] == len(campaign.contact_ids)
        assert counters.heal(db, campaign.id) == {}


def test_a_list_that_asks_who_was_written_to_lately_keeps_the_messages(db: Database) -> None:
    campaign = _ended(db, days=50)
    asking = a_campaign(db, contacts=1, state="ready")
    with db.connection() as connection:
        connection.execute("UPDATE campaigns SET dedupe_days = 60 WHERE id = %s", [asking.id])
    assert retention.close(db) == 0

    _age(db, campaign.id, 20)

    assert retention.close(db) == 1


def test_settings_are_rows_and_take_effect_at_once(db: Database) -> None:
    campaign = _ended(db, days=10)
    assert retention.close(db) == 0

    assert retention.change(db, {"log_days": 7, "conversation_days": None}) == retention.Retention(7, None, 90)

    assert retention.close(db) == 1
    assert counts(db, campaign.id)["sent"] == 3
    with pytest.raises(psycopg.errors.CheckViolation):
        retention.change(db, {"log_days": 1})


def test_a_recount_under_way_and_a_close_wait_for_each_other(db: Database) -> None:
    """Else a recount could read rows that are being deleted and call the counters wrong."""
    campaign = _ended(db)
    with db.transaction() as closing:
        counters.closing(closing, campaign.id)
        with db.transaction() as recount:
            recount.execute("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                counters._is_open(recount, campaign.id)
            recount.execute("ROLLBACK")


def test_old_conversations_go_with_their_messages_unless_a_reply_waits(db: Database) -> None:
    number_id = a_campaign(db, contacts=1).number_id
    old, waiting = (
        a_conversation(db, number_id, phone="+4917000001"),
        a_conversation(db, number_id, phone="+4917000002"),
    )
    a_reply(db, waiting)
    hears(db, says("still here", wamid="young", sender="4917000003"))
    with db.connection() as connection:
        connection.execute(
            "UPDATE conversations SET last_message_at = now() - interval '366 days' WHERE id = ANY(%s)",
            [[old, waiting]],
        )

    assert retention.forget_conversations(db, limit=50) == 1

    left = fetch_all(db, "SELECT phone FROM conversations ORDER BY phone", {})
    assert [row["phone"] for row in left] == ["+4917000002", "+4917000003"]


def test_nothing_names_a_deleted_campaign_but_roll_ups_and_the_audit_log(db: Database) -> None:
    campaign, other = _ended(db), _ended(db)
    with db.connection() as connection:
        connection.execute("INSERT INTO imports (campaign_id, state, file) VALUES (%s, 'done', 'x')", [campaign.id])
        connection.execute("INSERT INTO import_rejects SELECT id, 2, 'bad', 'x' FROM imports")
        connection.execute("INSERT INTO rehearsals (campaign_id, requested_by) VALUES (%s, 'ana')", [campaign.id])
        connection.execute(
            "INSERT INTO alarms (key, kind, scope, target, sentence, fix)"
            " VALUES ('k', 'campaign_paused', 'campaign', %s::text, 's', 'f')",
            [campaign.id],
        )
    figures = _all(db, ("stats_hourly", "reply_times", "stats_failures"))
    assert _naming(db, campaign.id) > {"campaign_changes", "contacts", "inbox_messages", "message_logs", "replies"}

    service.delete(db, campaign.id)

    assert _naming(db, campaign.id) == {"stats_hourly", "reply_times", "stats_failures"}
    assert _all(db, ("stats_hourly", "reply_times", "stats_failures")) == figures
    assert _rows(db) == {"contacts": 6, "message_logs": 5, "message_attempts": 1, "replies": 1}
    assert reports.audit(db, other.id)["counter_drift"] == 0


def test_a_deletion_that_was_cut_off_is_finished_by_the_janitor(db: Database) -> None:
    campaign = _ended(db)
    assert retention._close(db, retention._DELETE, campaign.id) == 1
    retention.purge(db, campaign.id, limit=2)

    assert reports.audit(db, campaign.id)["balanced"]
    _run(db)

    assert reports.campaign_ids(db) == []


def _naming(db: Database, campaign_id: int) -> set[str]:
    columns = fetch_all(
        db,
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        " AND (column_name = 'campaign_id' OR (table_name, column_name) IN (('campaigns', 'id'),"
        " ('alarms', 'target')))",
        {},
    )
    found = set()
    for column in columns:
        table, name = column["table_name"], column["column_name"]
        statement = f"SELECT 1 FROM {table} WHERE {name}::text = %(id)s::text LIMIT 1"
        if fetch_all(db, statement, {"id": campaign_id}):
            found.add(table)
    return found
