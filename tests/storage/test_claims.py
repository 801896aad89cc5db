"""Promises 2, 3 and 6 as PostgreSQL keeps them: the claim, and what becomes of claims whose sender is dead."""

import threading
from dataclasses import replace

from tests.support.builders import a_campaign, a_number, a_sender, claimed, counts
from titanflow.storage import buffers, claims, leases
from titanflow.storage.counters import heal, shard_of
from titanflow.storage.database import Database
from titanflow.storage.settlements import Settlement, settle


def _suppress(db: Database, phone: str) -> None:
    with db.connection() as connection:
        connection.execute("INSERT INTO suppressions (phone, source) VALUES (%s, 'manual')", [phone])


def test_a_contact_is_claimed_once_whatever_the_senders_believe(db: Database) -> None:
    """Promise 2: the unique constraint is the fence."""
    campaign = a_campaign(db, contacts=3)
    sender = a_sender(db, campaign.number_id)

    first = claimed(db, campaign, sender)
    second = claimed(db, campaign, sender)

    assert [one.contact_id for one in first] == campaign.contact_ids
    assert second == []
    assert counts(db, campaign.id) == {"claimed": 3}
    assert heal(db, campaign.id) == {}


def test_two_claims_at_once_share_the_contacts(db: Database) -> None:
    """Promise 2, under concurrency."""
    campaign = a_campaign(db, contacts=300)
    sender = a_sender(db, campaign.number_id)
    results: list[list[claims.Claim]] = []
    threads = [threading.Thread(target=lambda: results.append(claimed(db, campaign, sender))) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    taken = [one.contact_id for result in results for one in result]
    assert sorted(taken) == campaign.contact_ids
    assert counts(db, campaign.id) == {"claimed": 300}


def test_a_sender_that_lost_its_lease_claims_nothing(db: Database) -> None:
    campaign = a_campaign(db)
    old = a_sender(db, campaign.number_id, node_id=1, epoch=10)
    a_sender(db, campaign.number_id, node_id=2, epoch=11)

    assert claimed(db, campaign, old) == []
    assert counts(db, campaign.id) == {"pending": 3}


def test_a_sender_whose_lease_has_run_out_claims_nothing(db: Database) -> None:
    campaign = a_campaign(db)
    sender = a_sender(db, campaign.number_id, lease_s=-1)

    assert claimed(db, campaign, sender) == []


def test_nothing_is_claimed_from_a_campaign_that_does_not_run(db: Database) -> None:
    campaign = a_campaign(db, state="paused")
    sender = a_sender(db, campaign.number_id)

    assert claimed(db, campaign, sender) == []


def test_numbers_of_a_campaign_count_without_waiting_for_each_other(database_url: str) -> None:
    """Whoever counts keeps its row locked until its commit is on the disk: in one row a node, forty numbers queued."""
    db = Database(database_url, pool_size=2, statement_timeout_ms=2_000)
    campaign = a_campaign(db, contacts=2)
    here, there = a_sender(db, campaign.number_id), a_sender(db, a_number(db, phone_number_id="1002"))
    parts = [replace(campaign, contact_ids=[contact_id]) for contact_id in campaign.contact_ids]
    assert len(claimed(db, parts[0], here)) == 1

    with db.transaction() as settling:
        settling.execute(
            "SELECT FROM campaign_counters WHERE campaign_id = %s AND node_id = %s FOR UPDATE",
            [campaign.id, shard_of(here.number_id)],
        )
        assert len(claimed(db, parts[1], there)) == 1

    assert counts(db, campaign.id) == {"claimed": 2}
    db.close()


def test_a_suppressed_person_becomes_excluded_in_the_claim(db: Database) -> None:
    """Promise 6: an opt-out that came after the import still counts."""
    campaign = a_campaign(db, contacts=3)
    sender = a_sender(db, campaign.number_id)
    _suppress(db, campaign.phones[1])

    taken = claimed(db, campaign, sender)

    assert [one.contact_id for one in taken] == [campaign.contact_ids[0], campaign.contact_ids[2]]
    assert counts(db, campaign.id) == {"claimed": 2, "excluded": 1}
    assert heal(db, campaign.id) == {}


def test_a_suppressed_person_is_not_tried_again(db: Database) -> None:
    """Promise 6, for a message that Meta had refused for the time being."""
    campaign = a_campaign(db, contacts=1)
    sender = a_sender(db, campaign.number_id)
    [one] = claimed(db, campaign, sender)
    assert one.log_id is not None
    settle(db, [Settlement(one.log_id, 1, "retrying", error_code=130429)], node_id=1)
    _suppress(db, campaign.phones[0])

    assert claimed(db, campaign, sender, again=True) == []
    assert counts(db, campaign.id) == {"excluded": 1}
    assert heal(db, campaign.id) == {}


def test_a_refused_message_is_claimed_again_as_a_new_attempt(db: Database) -> None:
    campaign = a_campaign(db, contacts=1)
    sender = a_sender(db, campaign.number_id)
    [one] = claimed(db, campaign, sender)
    assert one.log_id is not None
    settle(db, [Settlement(one.log_id, 1, "retrying", error_code=130429, due_in_s=0)], node_id=1)

    due = buffers.due(db, campaign.id, limit=10)
    [again] = claimed(db, campaign, sender, again=True)

    assert [contact.id for contact in due] == campaign.contact_ids
    assert (again.log_id, again.attempt) == (one.log_id, 2)
    assert counts(db, campaign.id) == {"claimed": 1}
    with db.connection() as connection:
        kept = connection.execute("SELECT attempt, state::text, error_code FROM message_attempts").fetchall()
    assert kept == [(1, "retrying", 130429)]


def test_a_message_is_not_claimed_again_before_it_is_due(db: Database) -> None:
    campaign = a_campaign(db, contacts=1)
    sender = a_sender(db, campaign.number_id)
    [one] = claimed(db, campaign, sender)
    assert one.log_id is not None
    settle(db, [Settlement(one.log_id, 1, "retrying", due_in_s=60)], node_id=1)

    assert claimed(db, campaign, sender, again=True) == []
    assert buffers.due(db, campaign.id, limit=10) == []


def test_a_dead_senders_claims_are_in_doubt_before_its_successor_starts(db: Database) -> None:
    """Promise 2: what a dead sender took may have left."""
    campaign = a_campaign(db, contacts=3)
    dead = a_sender(db, campaign.number_id, node_id=1, epoch=10)
    claimed(db, campaign, dead)
    epoch = 11
    a_sender(db, campaign.number_id, node_id=2, epoch=epoch)

    assert claims.doubt(db, node_id=2, number_id=campaign.number_id, epoch=epoch) == 3
    assert counts(db, campaign.id) == {"in_doubt": 3}
    assert heal(db, campaign.id) == {}


def test_a_claim_older_than_any_request_is_in_doubt(db: Database) -> None:
    campaign = a_campaign(db, contacts=1)
    claimed(db, campaign, a_sender(db, campaign.number_id))

    assert claims.doubt(db, node_id=1) == 0
    with db.connection() as connection:
        connection.execute("UPDATE message_logs SET due_at = now() - interval '1 s'")

    assert claims.doubt(db, node_id=1) == 1


def test_whoever_lies_between_cursor_and_claim_is_found_by_the_sweep(db: Database) -> None:
    """Promise 3: a lost buffer loses nobody."""
    campaign = a_campaign(db, contacts=5)
    sender = a_sender(db, campaign.number_id)
    read = buffers.refill(db, campaign.id, limit=4)
    claims.claim(db, [read[0].id, read[2].id], campaign_id=campaign.id, template_id=campaign.template_id, sender=sender)

    rest = buffers.refill(db, campaign.id, limit=4)
    swept = buffers.sweep(db, campaign.id, after=0, limit=10)

    assert [contact.id for contact in read + rest] == campaign.contact_ids
    assert [contact.id for contact in swept] == [read[1].id, read[3].id, rest[0].id]
    assert buffers.refill(db, campaign.id, limit=4) == []


def test_a_lease_is_taken_only_when_it_is_free(db: Database) -> None:
    node = leases.register(db, host="here", pid=1, process="", version="1")
    other = leases.register(db, host="here", pid=2, process="", version="1")

    epoch = leases.take(db, "number", 7, node_id=node)

    assert epoch is not None
    assert leases.take(db, "number", 7, node_id=other) is None
    again = leases.take(db, "number", 7, node_id=node)
    assert again is not None
    assert again > epoch
    assert leases.renew(db, node) == [leases.Lease("number", 7, again)]
    leases.bury(db, [node])
    assert leases.renew(db, node) == []
    assert leases.take(db, "number", 7, node_id=other) is not None
