"""What a tier allows in each of Meta's spellings, and the forecast."""

from datetime import UTC, datetime

import pytest

from titanflow.domain import tiers
from titanflow.domain.tiers import Budget


@pytest.mark.parametrize(
    ("tier", "limit"),
    [
        ("TIER_50", 50),
        ("TIER_250", 250),
        ("TIER_1K", 1_000),
        ("TIER_2K", 2_000),
        ("tier_10k", 10_000),
        ("100K", 100_000),
        ("2000", 2_000),
        (2000, 2_000),
        (-1, None),
        ("-1", None),
        ("TIER_UNLIMITED", None),
        ("TIER_NOT_SET", "not_set"),
    ],
)
def test_each_spelling_of_a_tier(tier: str | int, limit: int | str | None) -> None:
    assert tiers.limit_of(tier) == limit


@pytest.mark.parametrize("tier", ["TIER_MANY", "0", 0, -2, "2.5K", "K", "TIER_2K,"])
def test_what_is_no_tier_is_refused(tier: str | int) -> None:
    with pytest.raises(ValueError, match="no messaging limit"):
        tiers.limit_of(tier)


@pytest.mark.parametrize("limit", [50, 250, 1_000, 100_000, 1_500, None])
def test_a_limit_is_spelled_as_it_is_read(limit: int | None) -> None:
    assert tiers.limit_of(tiers.spelling(limit)) == limit


def test_the_forecast_says_what_is_left_and_when_more_comes() -> None:
    budget = Budget("1", 2_000, 760, datetime(2026, 11, 25, 14, 20, tzinfo=UTC))

    assert budget.forecast() == "1,240 of 2,000 left today; the rest goes from 14:20 UTC on"
    assert budget.forecast(waiting=1_240) == "1,240 of 2,000 left today"
    assert budget.forecast(waiting=1_241).endswith("the rest goes from 14:20 UTC on")
    assert Budget("1", 250, 300, None).forecast() == "0 of 250 left today"
