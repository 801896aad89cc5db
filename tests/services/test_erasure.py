"""Erasing a person: no row names the phone any more, no figure changes, and nothing is ever sent to it again."""

import hashlib
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import ACampaign, a_campaign, a_sender, claimed, counts
from tests.support.inbox import a_conversation, a_reply
from tests.support.webhooks import says, webhook
from titanflow.domain.erased import hash_of, pads
from titanflow.domain.vault import Vault
from titanflow.errors import Conflict, NotFound
from titanflow.services import erasure, imports, inbox, keys, people, retries
from titanflow.storage import counters, erasures, outbox, portfolios, reports, webhook_files
from titanflow.storage.claims import Claim, Sender
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.storage.rows import fetch_all
from titanflow.storage.settlements import SettledState, Settlement, settle

_DIGITS, _OTHER_FORM, _USER = "5511987654321", "551187654321", "BR.777777"
_PHONE = f"+{_DIGITS}"
_SECRET = "a long enough secret key"


@pytest.fixture
def vault() -> Vault:
    return Vault([_SECRET])


def _campaign(db: Database, state: str = "running") -> ACampaign:
    """Two people, the second of whom is the person."""
    return a_campaign(db, contacts=2, first_phone=int(_DIGITS) - 1, state=state)


def _sent(db: Database, sender: Sender, outcome: SettledState) -> ACampaign:
    campaign = _campaign(db)
    claims = claimed(db, campaign, sender)
    settle(db, [_settled(one, name, outcome) for one, name in zip(claims, ("x", _DIGITS), strict=True)], node_id=1)
    return campaign


def _settled(claim: Claim, name: str, outcome: SettledState) -> Settlement:
    assert claim.log_id is not None
    wamid = f"wamid.{name}.{claim.log_id}"
    if outcome == "sent":
        return Settlement(claim.log_id, 1, outcome, wamid=wamid)
    detail = f"({name}) isn't reached"
    return Settlement(claim.log_id, 1, outcome, wamid=wamid, error_code=131000, error_detail=detail, due_in_s=0)


def _world(db: Database) -> list[ACampaign]:
    """The person in every state and every table."""
    portfolios.set_tier(db, "9001", 250)
    sender = a_sender(db, _campaign(db, "draft").number_id)
    made = [_sent(db, sender, outcome) for outcome in ("sent", "failed", "retrying", "in_doubt")]
    made += [_campaign(db, state) for state in ("running", "paused", "ready", "failed")]
    cancelled = _campaign(db)
    with db.connection() as connection:
        connection.execute(
            "UPDATE campaigns SET state = 'completed' WHERE id = ANY(%s)", [[one.id for one in made[:2]]]
        )
        connection.execute("UPDATE campaigns SET state = 'cancelled' WHERE id = %s", [cancelled.id])
        connection.execute(
            "UPDATE campaign_counters SET pending = 0, cancelled = 2 WHERE campaign_id = %s", [cancelled.id]
        )
        connection.execute(
            "INSERT INTO message_attempts"
            " (log_id, attempt, number_id, template_id, state, error_detail, wamid, claimed_at)"
            " SELECT id, 9, number_id, template_id, 'failed', error_detail, wamid, now() FROM message_logs"
        )
        connection.execute(
            "INSERT INTO portfolio_people SELECT '9001', phone, now() FROM (SELECT DISTINCT phone FROM contacts) AS one"
        )
        connection.execute("UPDATE portfolios SET used = (SELECT count(*) FROM portfolio_people)")
        connection.execute("INSERT INTO portfolio_rechecks (portfolio_id, phone) VALUES ('9001', %s)", [_PHONE])
        connection.execute("INSERT INTO user_ids VALUES (%s, %s, now())", [_USER, _PHONE])
        connection.execute("INSERT INTO suppressions (phone, source) VALUES (%s, 'x')", [f"+{_OTHER_FORM}"])
        connection.execute(
            "INSERT INTO suppressions (phone, source, note) VALUES ('+491', 'x', %s)", [f"the wife of {_PHONE}"]
        )
        connection.execute(
            "INSERT INTO imports (campaign_id, state, file, error, first_errors) VALUES (%s, 'done', 'f', %s, %s)",
            [
                made[0].id,
                f"about {_DIGITS}",
                '[{"line": 2, "value": "+55 (11) 98765-4321"}, {"line": 3, "value": "x"}]',
            ],
        )
        connection.execute(
            "INSERT INTO import_rejects SELECT id, line, 'bad', value FROM imports,"
            " (VALUES (2, '+55 (11) 98765-4321'), (3, %s), (4, 'somebody else')) AS one (line, value)",
            [f"x{_DIGITS}y"],
        )
        connection.execute("INSERT INTO webhook_quarantine (reason, body) VALUES ('x', %s)", [f'{{"from": {_DIGITS}}}'])
        connection.execute("INSERT INTO webhook_quarantine (reason, body) VALUES ('x', '{}')")
        connection.execute(
            "INSERT INTO audit_log (who, what, target, detail) VALUES ('a', 'b', %s, %s)",
            [f"/contacts/{_PHONE}", f'{{"phones": ["{_PHONE}"], "id": {_DIGITS}}}'],
        )
        connection.execute(
            "INSERT INTO alarms (key, kind, scope, target, sentence, fix) VALUES ('k', 'k', 's', 't', %s, 'f')",
            [_DIGITS],
        )
        connection.execute(
            "INSERT INTO rehearsals (campaign_id, requested_by, state, result) VALUES (%s, 'a', 'done', %s)",
            [made[0].id, f'{{"example": "{_PHONE}"}}'],
        )
        connection.execute(
            "INSERT INTO idempotency_keys (owner, key, node_id, status, location, body)"
            " VALUES ('a', 'b', 1, 201, %s, '')",
            [f"/api/v1/conversations/{_DIGITS}/messages/1"],
        )
        connection.execute(
            "INSERT INTO parked_statuses (wamid, status, at) SELECT wamid, 'read', now() FROM message_logs"
            " WHERE wamid IS NOT NULL"
        )
    conversation = a_conversation(db, made[0].number_id, phone=_PHONE)
    a_reply(db, conversation)
    webhook(
        db,
        says("hello", wamid=f"in.{_DIGITS}", sender=_DIGITS),
        says("STOP", wamid=f"stop.{_DIGITS}", sender=_OTHER_FORM),
        says(f"ask my friend {_DIGITS}", wamid="friend", sender="4915199999999"),
    )
    with db.connection() as connection:
        connection.execute(
            "INSERT INTO auto_replies (inbound_id, conversation_id, sender, kind)"
            " SELECT id, conversation_id, %s, 'faq' FROM inbox_messages WHERE wamid = 'friend'",
            [_PHONE],
        )
    return [*made, cancelled]


def _naming(db: Database, *texts: str) -> dict[str, int]:
    """How many rows of which table have one of the texts in any column of any type."""
    tables = fetch_all(db, "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'", {})
    found = {}
    for table in tables:
        name = table["name"]
        statement = f"SELECT count(*) AS count FROM {name} AS row WHERE row::text LIKE ANY(%(patterns)s)"
        [row] = fetch_all(db, statement, {"patterns": [f"%{text}%" for text in texts]})
        if row["count"]:
            found[name] = row["count"]
    return found


@pytest.mark.parametrize("name", [_PHONE, _USER])
def test_no_row_of_any_table_names_an_erased_person_and_the_books_balance(
    db: Database, vault: Vault, name: str
) -> None:
    campaigns = _world(db)
    texts = (_DIGITS, _OTHER_FORM, _USER, "98765-4321")
    before = {one.id: counts(db, one.id) for one in campaigns}
    used = portfolios.budget(db, "9001")
    assert len(_naming(db, *texts)) >= 18
    assert {one.id for one in campaigns if counters.heal(db, one.id)} == set()

    told = erasure.erase(db, vault, name, by="ana")

    assert _naming(db, *texts) == {}
    assert (told["contacts"], told["messages"], told["conversations"]) == (10, 4, 2)
    assert (told["rejected_lines"], told["unreadable_webhooks"]) == (2, 1)
    for one in campaigns:
        assert counters.heal(db, one.id) == {}, one
        audit = reports.audit(db, one.id)
        assert (audit["total"], audit["counter_drift"], audit["balanced"]) == (2, 0, True)
        after = counts(db, one.id)
        assert after == before[one.id] or after.get("excluded") == 1 or after.get("failed", after.get("in_doubt")) == 1
    assert portfolios.budget(db, "9001") == used
    assert portfolios.drift(db) == {}
    left = fetch_all(db, "SELECT value FROM import_rejects ORDER BY line", {})
    assert [row["value"] for row in left] == ["(erased)", "(erased)", "somebody else"]


def test_the_audit_log_keeps_that_somebody_was_erased_and_no_phone(db: Database, vault: Vault) -> None:
    erasure.erase(db, vault, _DIGITS, by="ana")

    [entry] = fetch_all(db, "SELECT who, target, outcome FROM audit_log WHERE what = 'person.erased'", {})
    assert (entry["who"], entry["outcome"]) == ("ana", "done")
    assert entry["target"].removeprefix("person ") in {
        row["hash"].hex()[:16] for row in fetch_all(db, "SELECT hash FROM erased_people", {})
    }


def test_nothing_is_sent_to_an_erased_person_again(db: Database, vault: Vault, fast_copy: FastCopy) -> None:
    """Promise 6, whatever waited, failed or was in doubt."""
    campaigns = _world(db)
    erasure.erase(db, vault, _PHONE, by="ana")
    failed = campaigns[1]
    sender = a_sender(db, failed.number_id, epoch=11)
    with db.connection() as connection:
        connection.execute("UPDATE campaigns SET state = 'running' WHERE state IN ('ready', 'paused', 'completed')")
        connection.execute("UPDATE campaigns SET resend_after_hours = 1")
        connection.execute("UPDATE message_logs SET due_at = now() - interval '9 hours' WHERE state = 'in_doubt'")

    retries.retry(db, fast_copy, failed.id, ["131000"], by="ana")
    taken = [
        claim.contact_id
        for campaign in campaigns
        for again in (False, True)
        for claim in claimed(db, campaign, sender, again=again)
    ]

    person = {one.contact_ids[1] for one in campaigns}
    assert taken
    assert not person & set(taken)
    assert [counters.heal(db, one.id) for one in campaigns] == [{}] * len(campaigns)
    assert outbox.claim(db, sender=sender, limit=9).claims == []


def test_the_claim_itself_refuses_a_tombstone(db: Database, vault: Vault) -> None:
    """Promise 6 in the last moment, if somebody lets an erased contact be tried again."""
    campaign = _sent(db, a_sender(db, _campaign(db, "draft").number_id), "failed")
    erasure.erase(db, vault, _PHONE, by="ana")
    with db.connection() as connection:
        connection.execute("UPDATE message_logs SET state = 'retrying', due_at = now()")
        connection.execute("UPDATE contacts SET excluded_reason = NULL")
        connection.execute(
            "UPDATE campaign_counters SET failed = failed - 2, retrying = retrying + 2"
            " WHERE campaign_id = %s AND node_id = 1",
            [campaign.id],
        )

    taken = claimed(db, campaign, a_sender(db, campaign.number_id, epoch=12), again=True)

    assert [one.contact_id for one in taken] == campaign.contact_ids[:1]
    assert counts(db, campaign.id) == {"claimed": 1, "failed": 1}


def test_not_while_a_message_is_on_its_way_but_nothing_follows_it(db: Database, vault: Vault) -> None:
    campaign, other = _campaign(db), _campaign(db)
    sender = a_sender(db, campaign.number_id)
    [_, on_its_way] = claimed(db, campaign, sender)

    with pytest.raises(Conflict, match="on its way"):
        erasure.erase(db, vault, _PHONE, by="ana")

    assert len(claimed(db, other, sender)) == 1
    settle(db, [Settlement(on_its_way.log_id or 0, 1, "sent", wamid="wamid.x")], node_id=1)
    assert erasure.erase(db, vault, _PHONE, by="ana")["contacts"] == 2
    assert _naming(db, _DIGITS) == {}


def test_not_while_a_list_is_being_merged(db: Database, vault: Vault) -> None:
    with db.transaction() as merging:
        erasures.hold(merging)
        with pytest.raises(Conflict, match="imported"):
            erasure.erase(db, vault, _PHONE, by="ana")

    erasure.erase(db, vault, _PHONE, by="ana")


def test_a_later_list_brings_the_person_in_excluded(
    db: Database, vault: Vault, database_url: str, tmp_path: Path
) -> None:
    erasure.erase(db, vault, f"+{_OTHER_FORM}", by="ana")
    campaign = _campaign(db, "draft")

    class File:
        pieces = iter([f"phone\n{_PHONE}\n+4915112345678\n".encode()])

        def read(self, _: int, /) -> bytes:
            return next(self.pieces, b"")

    made = imports.receive(db, tmp_path, campaign.id, File(), default_country=None)

    def work(secret: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "titanflow.services.import_worker", str(made["id"])],
            env={**os.environ, "DATABASE_URL": database_url, "DATA_DIR": str(tmp_path), "SECRET_KEY": secret},
            check=True,
        )

    with db.connection() as connection:
        connection.execute("DELETE FROM contacts WHERE phone = %s", [_PHONE])
        connection.execute("UPDATE campaign_counters SET pending = 1 WHERE campaign_id = %s", [campaign.id])

    work(_SECRET)

    rows = fetch_all(db, "SELECT phone, excluded_reason FROM contacts WHERE campaign_id = %(id)s", {"id": campaign.id})
    assert {row["phone"]: row["excluded_reason"] for row in rows}[_PHONE] == "opted_out"
    assert counts(db, campaign.id) == {"pending": 2, "excluded": 1}


def test_people_the_list_and_the_inbox_know_that_somebody_was_erased_until_let_back(
    db: Database, vault: Vault, fast_copy: FastCopy
) -> None:
    campaign = _campaign(db)
    assert erasure.erased_at(db, vault, (_PHONE,)) is None
    erasure.erase(db, vault, _PHONE, by="ana")

    known = people.timeline(db, fast_copy, vault, _OTHER_FORM, before=2**62, limit=9)
    assert (known["campaigns"]["total"], known["suppression"]["source"]) == (0, "erasure")
    assert erasure.suppression_of(db, vault, _PHONE)["reason"] == "opted_out"
    answer = inbox.Answer(text="hello again")
    with pytest.raises(Conflict, match="do-not-send"):
        inbox.reply(db, fast_copy, vault, _PHONE, "1001", answer, who="ana")

    webhook(db, says("are you there?", wamid="again", sender=_DIGITS))
    assert inbox.reply(db, fast_copy, vault, _PHONE, "1001", answer, who="ana")["state"] == "queued"
    template = inbox.TemplateOf(campaign.template_id, None, None, {"body.1": "Ana", "body.2": "X"})
    offer = inbox.Answer(template=template)
    with pytest.raises(Conflict, match="do-not-send"):
        inbox.reply(db, fast_copy, vault, _PHONE, "1001", offer, who="ana")
    erasure.lift(db, vault, _PHONE, who="ana")

    with pytest.raises(NotFound):
        erasure.suppression_of(db, vault, _PHONE)
    with pytest.raises(NotFound):
        erasure.lift(db, vault, _PHONE, who="ana")
    assert counts(db, campaign.id) == {"pending": 1, "excluded": 1}


def test_a_new_secret_key_still_knows_who_was_erased(db: Database, vault: Vault) -> None:
    erasure.erase(db, vault, _PHONE, by="ana")
    both, new = Vault(["another secret key", _SECRET]), Vault(["another secret key"])
    assert keys.look(db, both).older == ["(who was erased)"]
    assert keys.look(db, new).unreadable == ["(who was erased)"]

    keys.rekey(db, both)

    assert erasure.erased_at(db, new, (_PHONE,)) is not None


def test_kept_answers_that_name_the_person_go(db: Database, vault: Vault) -> None:
    with db.connection() as connection:
        for key, body in (("his", f'{{"phone": "{_PHONE}"}}'), ("other", "{}")):
            connection.execute(
                "INSERT INTO idempotency_keys (owner, key, node_id, status, body) VALUES ('a', %s, 1, 201, %s)",
                [key, vault.encrypt(body)],
            )

    erasure.erase(db, vault, _PHONE, by="ana")

    assert [row["key"] for row in fetch_all(db, "SELECT key FROM idempotency_keys", {})] == ["other"]


def test_webhooks_kept_as_they_came_lose_what_names_the_person(tmp_path: Path) -> None:
    early, now = datetime(2026, 11, 1, 9, 30, tzinfo=UTC), datetime.now(UTC)
    bodies = [b'{"a":1}', b'{"from":"%s"}' % _DIGITS.encode(), b'{"b":2}']
    for at in (early, now):
        webhook_files.WebhookFiles(tmp_path, "1").append(bodies, at=at)

    assert erasure.erase_webhook_files(tmp_path, _PHONE) == 1

    [old, current] = sorted(tmp_path.iterdir())
    assert list(webhook_files.read(old)) == [bodies[0], bodies[2]]
    assert list(webhook_files.read(current)) == bodies  # its hour is not over
    assert erasure.erase_webhook_files(tmp_path, _PHONE) == 0


def test_sql_makes_the_same_hash() -> None:
    key = b"k" * 32
    inner, outer = pads(key)

    made: Any = hashlib.sha256(outer + hashlib.sha256(inner + _PHONE.encode()).digest()).digest()

    assert made == hash_of(key, _PHONE)
