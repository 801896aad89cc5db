"""What Meta's news about accounts and numbers mean, in each of the shapes it has had."""

from datetime import UTC, datetime
from typing import Any

import pytest

from titanflow.domain import number_facts
from titanflow.domain.account_events import (
    AccountTier,
    BlockAccount,
    NumberNews,
    ProbeAccount,
    effects,
    status_block,
    tier,
)
from titanflow.domain.webhooks import AccountEvent


def _effects(field: str, value: dict[str, Any]) -> list[Any]:
    return effects(AccountEvent("900", field, value))


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (2000, "TIER_2K"),
        (250, "TIER_250"),
        (-1, "TIER_UNLIMITED"),
        ("TIER_100K", "TIER_100K"),
        ("2000", "TIER_2K"),
        ("tier_10k", "TIER_10K"),
        (None, None),
        (True, None),
        ({}, None),
        ("soon", None),
        (0, None),
        ("-1", "TIER_UNLIMITED"),
    ],
)
def test_a_limit_is_read_in_every_shape(given: Any, read: str | None) -> None:
    assert tier(given) == read


@pytest.mark.parametrize("name", ["max_daily_conversations_per_business", "max_daily_conversation_per_phone"])
def test_a_portfolios_limit_under_its_old_and_new_name(name: str) -> None:
    assert _effects("business_capability_update", {name: 10000}) == [AccountTier("TIER_10K")]


@pytest.mark.parametrize(
    ("event", "status", "throughput"),
    [
        ("FLAGGED", "FLAGGED", None),
        ("UNFLAGGED", "CONNECTED", None),
        ("THROUGHPUT_UPGRADE", None, "HIGH"),
        ("ONBOARDING", None, None),
        ("UPGRADE", None, None),
    ],
)
def test_number_events_of_old_and_today(event: str, status: str | None, throughput: str | None) -> None:
    value = {"display_phone_number": "1 555-078", "event": event, "current_limit": "TIER_10K"}
    assert _effects("phone_number_quality_update", value) == [NumberNews("1555078", "TIER_10K", status, throughput)]


def test_a_restriction_blocks_until_its_end() -> None:
    info = [{"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": 1_800_000_000}]
    [block] = _effects("account_update", {"event": "ACCOUNT_RESTRICTION", "restriction_info": info})
    assert block.until == datetime.fromtimestamp(1_800_000_000, UTC)
    assert "until 2027-01-15" in block.reason


def test_a_restriction_of_something_else_blocks_nothing() -> None:
    info = [{"restriction_type": "RESTRICTED_ADD_PHONE_NUMBER_ACTION"}, 7]
    assert _effects("account_update", {"event": "ACCOUNT_RESTRICTION", "restriction_info": info}) == []
    assert _effects("account_update", {"event": "ACCOUNT_RESTRICTION", "restriction_info": "odd"}) == []


@pytest.mark.parametrize("event", ["ACCOUNT_DELETED", "ACCOUNT_OFFBOARDED", "PARTNER_REMOVED", "ACCOUNT_VIOLATION"])
def test_the_end_of_an_account_blocks_until_meta_takes_it_back(event: str) -> None:
    [block] = _effects("account_update", {"event": event})
    assert isinstance(block, BlockAccount)
    assert block.until is None


@pytest.mark.parametrize(("state", "kind"), [("DISABLE", BlockAccount), ("SCHEDULE_FOR_DISABLE", BlockAccount)])
def test_a_ban_blocks(state: str, kind: type) -> None:
    [effect] = _effects("account_update", {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": state}})
    assert isinstance(effect, kind)


@pytest.mark.parametrize(
    "value",
    [{"event": "ACCOUNT_RECONNECTED"}, {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "REINSTATE"}}],
)
def test_good_news_asks_for_a_probe_and_nothing_more(value: dict[str, Any]) -> None:
    assert _effects("account_update", value) == [ProbeAccount()]


@pytest.mark.parametrize("value", [{}, {"event": 7}, {"event": "VERIFIED_ACCOUNT"}, {"ban_info": []}])
def test_what_isnt_known_changes_nothing(value: dict[str, Any]) -> None:
    assert _effects("account_update", value) == []
    assert _effects("security", value) == []


def test_only_what_is_connected_may_send() -> None:
    assert [status_block(one) for one in ("CONNECTED", "FLAGGED", "WARNED", "A_WORD_OF_THE_FUTURE", None)] == [None] * 5
    assert all(status_block(one) for one in ("BANNED", "RESTRICTED", "DISCONNECTED", "DELETED", "PENDING", "MIGRATED"))


def test_a_number_is_read_leniently() -> None:
    full = {
        "display_phone_number": "+1 555",
        "quality_rating": "NA",
        "status": "CONNECTED",
        "throughput": {"level": "HIGH"},
        "whatsapp_business_manager_messaging_limit": "TIER_2K",
    }
    assert number_facts.read(full) == number_facts.NumberFacts("+1 555", "UNKNOWN", "TIER_2K", "CONNECTED", "HIGH")
    odd = {"quality_rating": "PURPLE", "throughput": "HIGH", "status": 5, "display_phone_number": ""}
    assert number_facts.read(odd) == number_facts.NumberFacts()
