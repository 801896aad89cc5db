"""What was kept aside, or captured, is read once more: by the same parser, into the same rows, counted once."""

from typing import Any

import orjson
import pytest

from tests.support.builders import a_campaign, a_number, a_sender, claimed, counts
from titanflow.domain import webhook_values, webhooks
from titanflow.domain.webhooks import parse
from titanflow.services.webhook_replay import Replayed, replay, replay_quarantine
from titanflow.storage import quarantine
from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all
from titanflow.storage.webhook_batches import store


def _body(*changes: tuple[str, dict[str, Any]]) -> bytes:
    told = [{"field": field, "value": value} for field, value in changes]
    return orjson.dumps({"entry": [{"id": "9001", "time": 1750000000, "changes": told}]})


def _status(log_id: int, status: str, **more: Any) -> dict[str, Any]:
    echo = f"m:{log_id}:1"
    return {"id": f"w{log_id}", "status": status, "timestamp": "1750030075", "biz_opaque_callback_data": echo, **more}


def _message(wamid: str = "wamid.A") -> dict[str, Any]:
    return {"from": "16505551234", "id": wamid, "timestamp": "1750030075", "type": "text", "text": {"body": "Hi"}}


def _kept_by_an_earlier_version(db: Database, monkeypatch: pytest.MonkeyPatch, *bodies: bytes) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(webhooks, "_STATUSES", ("sent", "delivered", "failed"))
        earlier.setattr(webhooks, "_ACCOUNT_FIELDS", set())
        for body in bodies:
            store(db, parse(body), node_id=3)


def test_a_later_version_reads_what_was_kept_aside(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = a_campaign(db, contacts=2)
    one, other = claimed(db, campaign, a_sender(db, campaign.number_id))
    read = {"metadata": {"phone_number_id": "1001"}, "statuses": [_status(one.log_id or 0, "read")]}
    alert = ("account_alerts", {"alert_info": {"alert_severity": "CRITICAL", "alert_type": "X"}})
    neighbour = ("messages", {"statuses": [_status(other.log_id or 0, "delivered")]})
    _kept_by_an_earlier_version(db, monkeypatch, _body(("messages", read), alert, neighbour), b"<html>")
    assert (counts(db, campaign.id), quarantine.count(db)) == ({"claimed": 1, "delivered": 1}, 3)

    first, second = replay_quarantine(db), replay_quarantine(db)

    assert first == Replayed(webhooks=3, updates=2, unreadable=1)
    assert second == Replayed(webhooks=1, updates=0, unreadable=1)
    assert counts(db, campaign.id) == {"read": 1, "delivered": 1}
    assert [row["kind"] for row in fetch_all(db, "SELECT kind FROM alarms", {})] == ["account_alert"]
    assert [row["target"] for row in fetch_all(db, "SELECT target FROM audit_log", {})] == ["9001"]
    assert [row["reason"] for row in quarantine.page(db, field=None, limit=9)] == [webhooks.NOT_JSON]


def test_a_message_to_a_number_waits_until_the_number_is_registered(db: Database) -> None:
    contacts = [{"wa_id": "16505551234", "profile": {"name": "Zoë"}, "user_id": "US.1"}]
    value = {"metadata": {"phone_number_id": "1001"}, "contacts": contacts, "messages": [_message()]}
    store(db, parse(_body(("messages", value))), node_id=3)
    assert replay_quarantine(db) == Replayed(webhooks=1, updates=0, unreadable=1)

    a_number(db)

    assert replay_quarantine(db) == Replayed(webhooks=1, updates=1, unreadable=0)
    assert quarantine.count(db) == 0
    [found] = fetch_all(db, "SELECT phone, profile_name, unread FROM conversations", {})
    assert found == {"phone": "+16505551234", "profile_name": "Zoë", "unread": 1}


def test_an_unreadable_update_of_a_person_keeps_who_it_is(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    a_number(db)
    contacts = [{"wa_id": "16505551234", "profile": {"name": "Zoë"}}]
    value = {"metadata": {"phone_number_id": "1001"}, "contacts": contacts, "messages": [_message()]}
    with monkeypatch.context() as earlier:
        earlier.setattr(webhooks, "time_of", _nothing_is_a_time)
        store(db, parse(_body(("messages", value))), node_id=3)
    assert quarantine.count(db) == 1

    replay_quarantine(db)

    assert fetch_all(db, "SELECT profile_name FROM conversations", {}) == [{"profile_name": "Zoë"}]


def _nothing_is_a_time(value: Any) -> Any:
    raise webhook_values.Unreadable("the time can't be read")


def test_a_file_is_applied_once_however_often_it_is_replayed(db: Database) -> None:
    campaign = a_campaign(db, contacts=700)
    claims = claimed(db, campaign, a_sender(db, campaign.number_id))
    bodies = [
        _body(("messages", {"statuses": [_status(one.log_id or 0, name)]}))
        for one in claims
        for name in ("read", "delivered")
    ]
    message = {"metadata": {"phone_number_id": "1001"}, "messages": [_message(), {"id": "no sender"}]}
    bodies += [_body(("messages", message)), b"<html>"]

    told = [replay(db, iter(bodies)) for _ in range(2)]

    assert told == [Replayed(webhooks=1402, updates=1401, unreadable=2)] * 2
    assert counts(db, campaign.id) == {"read": 700}
    assert fetch_all(db, "SELECT unread FROM conversations", {}) == [{"unread": 1}]
    assert quarantine.count(db) == 0
