"""Parsing webhooks: Meta's shapes, and that an odd update never costs its neighbours."""

import copy
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from titanflow.domain.webhooks import InboundMessage, Preference, StatusUpdate, TemplateEvent, parse

_GOOD = {
    "id": "wamid.A",
    "status": "delivered",
    "timestamp": "1750030075",
    "recipient_id": "16505551234",
    "biz_opaque_callback_data": "m:42:3",
}
_AT = datetime.fromtimestamp(1750030075, UTC)


def _body(value: Any, field: str = "messages") -> bytes:
    return orjson.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": field, "value": value}]}]}
    )


def test_a_status_with_our_echo() -> None:
    batch = parse(_body({"metadata": {"phone_number_id": "7"}, "statuses": [_GOOD]}))
    assert batch.statuses == (StatusUpdate("wamid.A", "delivered", _AT, 42, 3, None, None),)
    assert len(batch) == 1


def test_a_failure_with_code_as_string_and_details() -> None:
    failed = {**_GOOD, "status": "failed", "errors": [{"code": "131026", "error_data": {"details": "gone"}}]}
    [status] = parse(_body({"statuses": [failed]})).statuses
    assert (status.error_code, status.error_detail) == (131026, "gone")


def test_a_played_status_changes_nothing_and_is_no_fault() -> None:
    assert len(parse(_body({"statuses": [{**_GOOD, "status": "played"}]}))) == 0


def test_a_message_of_a_person_without_phone() -> None:
    message = {"from_user_id": "US.1", "id": "w", "timestamp": "1750030075", "type": "text", "text": {"body": "Hi"}}
    contacts = [{"profile": {"name": "Zoë"}, "user_id": "US.1"}]
    batch = parse(_body({"metadata": {"phone_number_id": "7"}, "contacts": contacts, "messages": [message]}))
    assert batch.messages == (InboundMessage("7", "w", "US.1", "Zoë", "text", message, _AT, "US.1"),)


def test_preferences_and_template_events() -> None:
    stop = {"wa_id": "16505551234", "value": "stop", "timestamp": 1750030075}
    assert parse(_body({"user_preferences": [stop]}, "user_preferences")).preferences == (
        Preference("+16505551234", "stop", _AT),
    )
    event = {
        "event": "PAUSED",
        "message_template_id": 9,
        "message_template_name": "t",
        "message_template_language": "de",
        "reason": None,
    }
    assert parse(_body(event, "message_template_status_update")).template_events == (
        TemplateEvent("1", "9", "t", "de", "PAUSED", ""),
    )


def test_a_template_is_known_by_its_id_alone() -> None:
    value = {"event": "paused", "message_template_id": 9}
    [event] = parse(_body(value, "message_template_status_update")).template_events
    assert (event.meta_template_id, event.name, event.event) == ("9", "", "PAUSED")


def test_half_an_emoji_costs_nobody_else() -> None:
    """WhatsApp cuts names after so many UTF-16 units: orjson refuses the whole body then."""
    cut = {"from": "491", "id": "w", "timestamp": "1750030075", "type": "text", "text": {"body": "cut #"}}
    body = _body({"metadata": {"phone_number_id": "7"}, "messages": [cut], "statuses": [_GOOD]})

    batch = parse(body.replace(b"#", rb"\ud83d"))

    assert batch.statuses == (StatusUpdate("wamid.A", "delivered", _AT, 42, 3, None, None),)
    assert batch.messages[0].content["text"] == {"body": "cut ?"}
    assert batch.quarantined == ()


@pytest.mark.parametrize("depth", [900, 20_000])
@pytest.mark.parametrize("levels", [(b'{"a":', b'"]}"', b"}"), (b"[", b"1", b"]"), (b'["\\"]",', b"[]", b"]")])
def test_endless_nesting_is_kept_up_to_a_depth(levels: tuple[bytes, bytes, bytes], depth: int) -> None:
    """Else Python's stack ends in the middle of a batch, the server answers 500, and Meta sends it for a week."""
    deep = levels[0] * depth + levels[1] + levels[2] * depth
    good = orjson.dumps(_GOOD)
    body = b'{"entry":[{"id":"1","changes":[{"field":"x","value":{"y":%b}},{"field":%b,"value":{}},' % (deep, deep)
    body += b'{"field":"messages","value":{"contacts":[{"wa_id":%b}],"messages":[{"type":%b}],' % (deep, deep)
    body += b'"statuses":[%b]}}]}]}' % good

    batch = parse(body)

    assert len(batch.statuses) == 1
    assert len(batch.quarantined) == 3
    assert len(orjson.dumps(batch.quarantined[0].body)) < 1500
    assert parse(b"[" * 100_000).quarantined[0].reason == "not JSON"


def _price(**told: Any) -> str | None:
    return parse(_body({"statuses": [{**_GOOD, "pricing": told}]})).statuses[0].pricing


def test_what_meta_charges_in_old_and_new_versions() -> None:
    assert _price(billable=True, pricing_model="PMP", type="regular", category="marketing") == "marketing"
    assert _price(billable=True, pricing_model="CBP", category="utility") == "utility"
    assert _price(billable=False, pricing_model="CBP", category="utility") == "utility/not_billable"
    assert (
        _price(pricing_model="PMP", type="free_customer_service", category="Service") == "service/free_customer_service"
    )
    assert _price() is None
    assert _price(category=7, type=["x"]) is None


def test_what_is_signed_but_unreadable_is_kept() -> None:
    assert parse(b"<html>").quarantined[0].reason == "not JSON"
    assert parse(_body({"x": 1}, "a_field_of_the_future")).quarantined[0].field == "a_field_of_the_future"


_junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(junk=_junk, key=st.sampled_from(["id", "status", "timestamp", "errors", "biz_opaque_callback_data"]))
def test_a_broken_neighbour_costs_only_itself(junk: Any, key: str) -> None:
    broken = {**copy.deepcopy(_GOOD), key: junk, "status": "failed" if key == "errors" else _GOOD["status"]}
    if key == "status":
        broken["status"] = junk

    batch = parse(_body({"contacts": junk, "messages": [junk], "statuses": [_GOOD, broken, junk, _GOOD]}))

    good = StatusUpdate("wamid.A", "delivered", _AT, 42, 3, None, None)
    assert batch.statuses.count(good) >= 2


@given(junk=_junk)
def test_nothing_makes_it_raise(junk: Any) -> None:
    parse(orjson.dumps(junk, option=orjson.OPT_NON_STR_KEYS) if not _too_big(junk) else b"x")


def _too_big(junk: Any) -> bool:
    try:
        orjson.dumps(junk)
    except TypeError:
        return True
    return False
