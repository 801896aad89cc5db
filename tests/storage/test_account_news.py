"""What Meta says by webhook about templates and accounts: believed at once if it is a stop, else asked about."""

import threading
from typing import Any

import orjson
import pytest

from tests.support.builders import a_number, a_template
from titanflow.domain import account_events
from titanflow.domain.number_facts import NumberFacts
from titanflow.domain.webhooks import parse
from titanflow.errors import Unavailable
from titanflow.meta.error_policy import RULES
from titanflow.storage import alarms, desired, meta_syncs, pauses, phone_numbers, templates
from titanflow.storage.database import Database
from titanflow.storage.webhook_batches import store


def _webhook(db: Database, field: str, *values: dict[str, Any], waba: str = "9001", time: int | None = None) -> None:
    changes = [{"field": field, "value": value} for value in values]
    store(db, parse(orjson.dumps({"entry": [{"id": waba, "time": time, "changes": changes}]})), node_id=3)


def _event(event: str, *, meta_id: int = 77, name: str = "hello") -> dict[str, Any]:
    return {
        "event": event,
        "message_template_id": meta_id,
        "message_template_name": name,
        "message_template_language": "en-US",
        "reason": "NONE",
    }


def _status(db: Database, template_id: int) -> str:
    found = templates.get(db, template_id)
    assert found is not None
    return str(found["status"])


def _listed(name: str = "hello", status: str = "APPROVED", meta_id: str = "77", **more: Any) -> dict[str, Any]:
    return {"id": meta_id, "name": name, "language": "en_US", "status": status, "components": [], **more}


def _due(db: Database, subject: meta_syncs.Subject) -> list[str]:
    return sorted(meta_syncs.take(db, subject, every_s=600, limit=50))


def _quiet(db: Database) -> None:
    """Nothing is due any more."""
    for subject in ("templates", "number"):
        for _ in range(2):  # the first round discovers what there is
            for key in meta_syncs.take(db, subject, every_s=600, limit=50):
                meta_syncs.finish(db, subject, key)


def test_an_event_stops_the_template_of_its_id_and_good_news_is_asked_about(db: Database) -> None:
    """Weakness C7 of the Elixir system: any status event wrote NULL, and APPROVED set the PAUSED flag."""
    a_number(db)
    template_id = a_template(db)
    templates.upsert(db, "9001", [_listed()])
    _quiet(db)

    _webhook(db, "message_template_status_update", _event("PAUSED"))
    assert _status(db, template_id) == "PAUSED"
    assert _due(db, "templates") == ["9001"]
    meta_syncs.finish(db, "templates", "9001")

    _webhook(db, "message_template_status_update", _event("APPROVED"))
    assert _status(db, template_id) == "PAUSED"  # events are unordered: only the list is believed
    assert _due(db, "templates") == ["9001"]

    templates.replace(db, "9001", [_listed()], asked_at=templates.now(db))
    assert _status(db, template_id) == "APPROVED"


@pytest.mark.parametrize("event", ["DISABLED", "DELETED", "REJECTED", "ARCHIVED", "PENDING_DELETION", "IN_APPEAL"])
def test_every_end_of_a_template_is_believed_at_once(db: Database, event: str) -> None:
    a_number(db)
    template_id = a_template(db)
    templates.upsert(db, "9001", [_listed()])
    _webhook(db, "message_template_status_update", _event(event))
    assert _status(db, template_id) == event


def test_one_name_in_two_accounts_is_two_templates(db: Database) -> None:
    """Weaknesses U5 and L17 of the Elixir system: names were keys, and two templates of one name ended the webhook."""
    a_number(db)
    a_number(db, phone_number_id="1002", waba_id="9002")
    ours, theirs = a_template(db), a_template(db, waba_id="9002")
    templates.upsert(db, "9001", [_listed()])
    templates.upsert(db, "9002", [_listed(meta_id="88")])

    _webhook(db, "message_template_status_update", _event("PAUSED", meta_id=88), waba="9002")

    assert (_status(db, ours), _status(db, theirs)) == ("APPROVED", "PAUSED")


def test_a_template_whose_id_is_unknown_is_found_by_name_in_its_account_alone(db: Database) -> None:
    ours, theirs = a_template(db), a_template(db, waba_id="9002")
    _webhook(db, "message_template_status_update", _event("PAUSED"))
    assert (_status(db, ours), _status(db, theirs)) == ("PAUSED", "APPROVED")


def test_a_broken_change_costs_only_itself(db: Database) -> None:
    """Weakness L17 of the Elixir system: one bad change killed the rest of the POST."""
    template_id = a_template(db)
    broken: list[dict[str, Any]] = [{"event": None}, {**_event("PAUSED"), "event": "", "message_template_name": None}]
    _webhook(db, "message_template_status_update", *broken, _event("PAUSED"))
    assert _status(db, template_id) == "PAUSED"
    with db.connection() as connection:
        assert connection.execute("SELECT count(*) FROM webhook_quarantine").fetchone() == (2,)


def test_a_failure_of_an_unknown_message_costs_its_neighbours_nothing(db: Database) -> None:
    """Weakness L20 of the Elixir system: a failed test message had no campaign, and the rest of its batch was lost."""
    template_id = a_template(db)
    failed = {"id": "wamid.x", "status": "failed", "timestamp": "1750000000", "errors": [{"code": 132001}]}
    event = _event("PAUSED")
    changes = [
        {"field": "messages", "value": {"statuses": [{**failed, "biz_opaque_callback_data": "m:99999:1"}, failed]}},
        {"field": "message_template_status_update", "value": event},
    ]
    store(db, parse(orjson.dumps({"entry": [{"id": "9001", "changes": changes}]})), node_id=3)
    assert _status(db, template_id) == "PAUSED"


def test_what_the_list_lacks_was_deleted(db: Database) -> None:
    a_number(db)
    template_id, local = a_template(db), a_template(db, name="made_here_only")
    templates.upsert(db, "9001", [_listed()])
    templates.replace(db, "9001", [_listed("another", meta_id="78")], asked_at=templates.now(db))
    assert (_status(db, template_id), _status(db, local)) == ("DELETED", "APPROVED")


def test_a_list_asked_for_before_the_news_does_not_undo_it(db: Database) -> None:
    a_number(db)
    template_id = a_template(db)
    templates.upsert(db, "9001", [_listed()])
    asked_at = templates.now(db)
    _webhook(db, "message_template_status_update", _event("PAUSED"))
    templates.replace(db, "9001", [_listed()], asked_at=asked_at)
    assert _status(db, template_id) == "PAUSED"


def test_a_refusal_outweighs_the_list_until_meta_says_that_it_is_back(db: Database) -> None:
    a_number(db)
    template_id = a_template(db)
    templates.upsert(db, "9001", [_listed()])
    _quiet(db)

    desired.stop_template(db, template_id, status="PAUSED")
    assert _due(db, "templates") == ["9001"]
    templates.replace(db, "9001", [_listed()], asked_at=templates.now(db))
    assert _status(db, template_id) == "PAUSED"

    _webhook(db, "message_template_status_update", _event("APPROVED"))
    templates.replace(db, "9001", [_listed()], asked_at=templates.now(db))
    assert _status(db, template_id) == "APPROVED"


def test_an_odd_list_is_read_as_far_as_it_goes(db: Database) -> None:
    a_number(db)
    odd: list[dict[str, Any]] = [
        {"id": "1"},
        {"name": 5, "language": "en"},
        _listed("twice", "DISABLED", "5"),
        _listed("twice", "APPROVED", "6"),
        _listed("nul\x00name"),
        _listed("odd", components="text", parameter_format="NEW", category="MARKETING", quality_score=None),
        _listed("nul_inside", components=[{"type": "BODY", "text": "a\x00b"}]),
    ]
    assert templates.replace(db, "9001", odd, asked_at=templates.now(db)) == 3
    found = {one["name"]: one for one in templates.page(db, after=0, limit=10)}
    assert found["twice"]["status"] == "APPROVED"
    assert found["odd"]["components"] == []


@pytest.mark.parametrize("about", ["templates", "accounts"])
def test_news_that_crosses_on_several_nodes_never_deadlocks(db: Database, about: str) -> None:
    for n in range(6):
        a_number(db, phone_number_id=f"10{n}", waba_id=f"900{n}")
        templates.upsert(db, f"900{n}", [_listed(meta_id=str(70 + n))])
    wrong: list[BaseException] = []
    together = threading.Barrier(2)

    def ingest(order: list[int]) -> None:
        changes: dict[str, Any] = {
            "templates": lambda n: ("message_template_status_update", _event("PAUSED", meta_id=70 + n)),
            "accounts": lambda n: ("account_update", {"event": "ACCOUNT_DELETED"}),
        }
        made = [(f"900{n}", *changes[about](n)) for n in order]
        entries = [{"id": waba, "changes": [{"field": field, "value": value}]} for waba, field, value in made]
        try:
            for _ in range(40):
                together.wait(timeout=20)
                store(db, parse(orjson.dumps({"entry": entries})), node_id=3)
        except Unavailable as error:
            wrong.append(error)
            together.abort()
        except threading.BrokenBarrierError:
            pass  # the other one has said why

    threads = [threading.Thread(target=ingest, args=(order,)) for order in ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert wrong == []


def _number(db: Database) -> dict[str, Any]:
    found = phone_numbers.get(db, "1001")
    assert found is not None
    return found


def _poll(db: Database, status: str) -> None:
    phone_numbers.sync(db, "1001", NumberFacts(status=status), block=account_events.status_block(status))


def _account(db: Database, event: str, *, time: int | None = None, **more: Any) -> None:
    _webhook(db, "account_update", {"event": event, **more}, time=time)


def test_an_accounts_end_blocks_its_numbers_until_meta_takes_it_back_and_a_poll_agrees(db: Database) -> None:
    a_number(db)
    a_number(db, phone_number_id="1002", waba_id="9002")
    _quiet(db)

    _account(db, "ACCOUNT_OFFBOARDED")
    assert _number(db)["state"] == "blocked"
    assert "offboarded" in _number(db)["state_reason"]
    assert _due(db, "number") == ["1001"]
    meta_syncs.finish(db, "number", "1001")
    _poll(db, "CONNECTED")
    assert _number(db)["state"] == "blocked"  # a number of a closed account may look connected

    _account(db, "ACCOUNT_RECONNECTED")
    assert _number(db)["state"] == "blocked"
    assert _due(db, "number") == ["1001"]
    _poll(db, "DISCONNECTED")
    assert _number(db)["state"] == "blocked"
    _poll(db, "CONNECTED")
    assert (_number(db)["state"], _number(db)["state_reason"]) == ("active", None)
    other = phone_numbers.get(db, "1002")
    assert other is not None
    assert other["state"] == "active"


def test_a_restriction_ends_at_its_time_by_a_poll(db: Database) -> None:
    a_number(db)
    info = [{"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": 1_700_000_000}]
    _account(db, "ACCOUNT_RESTRICTION", restriction_info=info)
    assert _number(db)["state"] == "blocked"
    _poll(db, "CONNECTED")
    assert _number(db)["state"] == "active"


def test_a_refusal_of_the_account_ends_by_metas_word_too(db: Database) -> None:
    a_number(db)
    _quiet(db)
    pauses.block(db, RULES[131031], a_number(db))
    assert _number(db)["state"] == "blocked"
    assert _due(db, "number") == ["1001"]
    _poll(db, "CONNECTED")
    assert _number(db)["state"] == "blocked"
    _account(db, "DISABLED_UPDATE", ban_info={"waba_ban_state": "REINSTATE"})
    _poll(db, "CONNECTED")
    assert _number(db)["state"] == "active"


def test_a_refusal_of_the_number_ends_when_its_status_comes_back(db: Database) -> None:
    a_number(db)
    pauses.block(db, RULES[133010], a_number(db))
    _poll(db, "CONNECTED")
    assert _number(db)["state"] == "blocked"  # the poll is not believed at once, else the two would take turns
    _poll(db, "DISCONNECTED")
    phone_numbers.sync(db, "1001", NumberFacts(status="CONNECTED"), block=None, returned=True)
    assert _number(db)["state"] == "active"


def test_a_refused_token_or_payment_waits_for_an_operator(db: Database) -> None:
    a_number(db)
    pauses.block(db, RULES[131042], a_number(db))
    _account(db, "ACCOUNT_RECONNECTED")
    _poll(db, "CONNECTED")
    assert _number(db)["state"] == "blocked"


def test_metas_blocks_raise_an_alarm_that_ends_with_them(db: Database) -> None:
    a_number(db)
    _poll(db, "BANNED")
    _poll(db, "BANNED")
    _account(db, "ACCOUNT_DELETED")
    open_ones = {one["kind"]: one for one in alarms.page(db, state="open", before=10**9, limit=9)}
    assert {kind: one["count"] for kind, one in open_ones.items()} == {"number_blocked": 1, "account_blocked": 1}
    assert open_ones["number_blocked"]["sentence"] == "Meta has banned the number"
    _account(db, "ACCOUNT_RECONNECTED")
    _poll(db, "CONNECTED")
    alarms.clear_gone(db)
    assert alarms.page(db, state="open", before=10**9, limit=9) == []


def test_a_red_number_raises_an_alarm_until_it_is_better(db: Database) -> None:
    a_number(db)
    for quality in ("RED", "RED", "YELLOW"):
        phone_numbers.sync(db, "1001", NumberFacts(quality=quality), block=None)
        alarms.clear_gone(db)
        found = [one["kind"] for one in alarms.page(db, state="open", before=10**9, limit=9)]
        assert found == ([] if quality == "YELLOW" else ["number_quality"])


def test_a_late_event_does_not_undo_a_newer_one(db: Database) -> None:
    a_number(db)
    _account(db, "ACCOUNT_RECONNECTED", time=1_750_000_100)
    _account(db, "DISABLED_UPDATE", time=1_750_000_000, ban_info={"waba_ban_state": "DISABLE"})
    assert _number(db)["state"] == "active"
    _account(db, "DISABLED_UPDATE", time=1_750_000_200, ban_info={"waba_ban_state": "DISABLE"})
    assert _number(db)["state"] == "blocked"


def test_an_operators_pause_is_still_there_when_metas_block_ends(db: Database) -> None:
    a_number(db)
    phone_numbers.set_state(db, "1001", state="paused", reason="Paused by an operator")
    _poll(db, "BANNED")
    assert _number(db)["state"] == "blocked"
    _poll(db, "CONNECTED")
    assert (_number(db)["state"], _number(db)["state_reason"]) == ("paused", "Paused by an operator")


def test_an_operator_may_insist(db: Database) -> None:
    a_number(db)
    _poll(db, "BANNED")
    assert phone_numbers.set_state(db, "1001", state="active", reason=None) == {"id": "1001", "state": "active"}


def test_quality_limit_and_throughput_follow(db: Database) -> None:
    a_number(db)
    phone_numbers.update(db, "1001", {"display_phone_number": "+1 555-078"})
    _webhook(db, "phone_number_quality_update", {"display_phone_number": "1555078", "event": "FLAGGED"})
    assert _number(db)["status"] == "FLAGGED"
    upgrade = {"display_phone_number": "1555078", "event": "THROUGHPUT_UPGRADE", "current_limit": "TIER_UNLIMITED"}
    _webhook(db, "phone_number_quality_update", upgrade)
    assert (_number(db)["throughput"], _number(db)["tier"]) == ("HIGH", "TIER_UNLIMITED")
    _webhook(db, "business_capability_update", {"max_daily_conversations_per_business": 2000})
    assert _number(db)["tier"] == "TIER_2K"
    phone_numbers.sync(db, "1001", NumberFacts(quality="RED", tier="TIER_10K"), block=None)
    assert (_number(db)["quality"], _number(db)["tier"]) == ("RED", "TIER_10K")


def test_a_need_that_comes_up_while_somebody_asks_is_asked_again(db: Database) -> None:
    a_number(db)
    _quiet(db)
    _account(db, "ACCOUNT_RECONNECTED")
    assert _due(db, "number") == ["1001"]
    _account(db, "ACCOUNT_RECONNECTED")
    assert _due(db, "number") == []  # one at a time
    meta_syncs.finish(db, "number", "1001")
    assert _due(db, "number") == ["1001"]


def test_what_could_not_be_asked_is_tried_again_later(db: Database) -> None:
    a_number(db)
    _quiet(db)
    _account(db, "ACCOUNT_RECONNECTED")
    assert _due(db, "number") == ["1001"]
    meta_syncs.finish(db, "number", "1001", error="Meta can't be reached")
    assert _due(db, "number") == []
    with db.connection() as connection:
        row = connection.execute("SELECT due_at < now() + '20 s', error FROM meta_syncs WHERE key = '1001'").fetchone()
    assert row == (True, "Meta can't be reached")
