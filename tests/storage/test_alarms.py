"""Promise 9: every stop has a reason, and it is told once, however often it happens."""

from typing import Any

from tests.support.builders import a_campaign, a_number
from titanflow.actors.number.consequences import Happened, carry_out
from titanflow.meta.error_policy import RULES, rule_for
from titanflow.storage import alarms, desired, pauses, phone_numbers
from titanflow.storage.alarms import Alarm
from titanflow.storage.counters import heal
from titanflow.storage.database import Database


def _open(db: Database) -> list[tuple[str, str, int]]:
    return [(one["kind"], one["target"], one["count"]) for one in _page(db, "open")]


def _page(db: Database, state: str) -> list[dict[str, Any]]:
    return alarms.page(db, state=state, before=10**9, limit=50)


def _raise(db: Database, kind: str = "error_code", target: str = "7", count: int = 1) -> None:
    with db.connection() as connection:
        alarms.raise_alarm(connection, Alarm(kind, "code", target, "Something happened", "Look."), count=count)


def test_the_same_again_counts_up_and_another_is_its_own(db: Database) -> None:
    _raise(db)
    _raise(db, count=41)
    _raise(db, target="8")

    assert _open(db) == [("error_code", "8", 1), ("error_code", "7", 42)]


def test_a_cleared_alarm_opens_anew(db: Database) -> None:
    _raise(db)
    [first] = _page(db, "open")

    assert alarms.clear(db, first["id"], by="operator")
    assert alarms.clear(db, first["id"], by="somebody else")
    assert not alarms.clear(db, 999, by="operator")
    _raise(db)

    assert _open(db) == [("error_code", "7", 1)]
    [cleared] = _page(db, "cleared")
    assert (cleared["id"], cleared["cleared_by"]) == (first["id"], "operator")
    assert len(_page(db, "all")) == 2


def test_each_change_is_announced_once(db: Database) -> None:
    _raise(db)
    first, again = alarms.take_unannounced(db), alarms.take_unannounced(db)
    _raise(db)
    counted = alarms.take_unannounced(db)
    alarms.clear(db, first[0]["id"], by="operator")
    cleared = alarms.take_unannounced(db)
    alarms.clear(db, first[0]["id"], by="operator")

    assert [len(one) for one in (first, again, counted, cleared)] == [1, 0, 1, 1]
    assert cleared[0]["cleared_at"] is not None
    assert alarms.take_unannounced(db) == []


def test_a_numbers_alarm_clears_when_it_sends_again(db: Database) -> None:
    blocked = a_number(db, phone_number_id="1001", waba_id="A")
    paused = a_number(db, phone_number_id="2001", waba_id="B")
    pauses.block(db, RULES[133010], blocked)
    pauses.pause(db, RULES[131048], paused)
    assert alarms.clear_gone(db) == 0
    assert _open(db) == [("number_paused", "2001", 1), ("number_blocked", "1001", 1)]

    phone_numbers.set_state(db, "1001", state="active", reason=None)
    assert alarms.clear_gone(db) == 1
    assert _open(db) == [("number_paused", "2001", 1)]


def test_an_accounts_alarm_waits_for_its_last_number(db: Database) -> None:
    a_number(db, phone_number_id="1002", waba_id="A")
    pauses.block(db, RULES[190], a_number(db, phone_number_id="1001", waba_id="A"))
    assert _open(db) == [("account_blocked", "A", 1)]

    phone_numbers.set_state(db, "1001", state="active", reason=None)
    assert alarms.clear_gone(db) == 0
    phone_numbers.set_state(db, "1002", state="active", reason=None)
    assert alarms.clear_gone(db) == 1


def test_a_campaign_stopped_by_the_engine_alarms_and_by_an_operator_does_not(db: Database) -> None:
    engine, operator = a_campaign(db), a_campaign(db)
    with db.connection() as connection:
        assert desired.pause_campaigns(connection, [engine.id], by="engine", reason="Too bad.") == [engine.id]
        assert desired.pause_campaigns(connection, [engine.id], by="engine", reason="Too bad.") == []
        desired.pause_campaigns(connection, [operator.id], by="operator", reason="Lunch.")
    assert _open(db) == [("campaign_paused", str(engine.id), 1)]

    with db.connection() as connection:
        connection.execute("UPDATE campaigns SET state = 'running'")
    assert alarms.clear_gone(db) == 1


def test_an_unknown_code_alarms_at_the_first_and_stops_the_campaign_at_the_third(db: Database) -> None:
    campaign = a_campaign(db)
    rule = rule_for(987654)

    def happens(count: int, in_a_row: int) -> None:
        happened = [Happened(rule, campaign.id, campaign.number_id, campaign.template_id, count, in_a_row)]
        carry_out(db, happened, nudge=lambda: None)
        assert happened == []

    happens(1, 1)
    assert _open(db) == [("error_code", "987654", 1)]
    happens(2, 3)
    assert _open(db) == [("campaign_paused", str(campaign.id), 1), ("error_code", "987654", 3)]
    with db.connection() as connection:
        row = connection.execute("SELECT state, state_by, state_reason FROM campaigns").fetchone()
    assert row == ("paused", "engine", "Meta gave an error that is not known here (code 987654). Report it.")


def test_counters_that_drifted_alarm(db: Database) -> None:
    campaign = a_campaign(db)
    with db.connection() as connection:
        connection.execute("UPDATE campaign_counters SET pending = pending + 1")

    heal(db, campaign.id)

    assert _open(db) == [("counter_drift", str(campaign.id), 1)]
