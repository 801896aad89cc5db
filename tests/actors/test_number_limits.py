"""A campaign's own max_mps over several numbers: shared out by what each may send, again when one leaves or returns."""

import pytest

from titanflow.actors.node import number_limits
from titanflow.storage.desired import CampaignConfig, Desired, NumberConfig


def _number(number_id: int, max_mps: int, portfolio_id: str | None = None) -> NumberConfig:
    return NumberConfig(number_id, f"100{number_id}", "9001", b"", max_mps, "active", None, None, portfolio_id)


def _shares(*active: int, limit: int | None = 500) -> dict[int, float]:
    numbers = {1: _number(1, 10), 2: _number(2, 1000), 3: _number(3, 1000)}
    campaign = CampaignConfig(7, limit, list(active), [1, 2, 3])
    limits = number_limits.of_numbers(Desired({7: campaign}, numbers), set(active))
    return {number_id: one.own[7].share_mps for number_id, one in limits.items() if 7 in one.own}


def test_a_slow_and_a_fast_number_reach_the_limit_together() -> None:
    shares = _shares(1, 2)

    assert shares[1] == pytest.approx(4.95, abs=0.01)
    assert sum(shares.values()) == pytest.approx(500)


def test_the_share_of_a_number_that_leaves_goes_to_the_others_and_comes_back() -> None:
    assert _shares(2, 3) == {2: 250, 3: 250}
    assert _shares(2) == {2: 500}
    assert _shares(2, 3) == {2: 250, 3: 250}


def test_numbers_of_other_nodes_have_their_share() -> None:
    numbers = {2: _number(2, 300), 3: _number(3, 100, "P1")}
    campaign = CampaignConfig(7, 80, [2, 3], [2, 3])

    here = number_limits.of_numbers(Desired({7: campaign}, numbers), {3})

    assert set(here) == {3}
    assert here[3].own[7].share_mps == 20
    assert (here[3].max_mps, here[3].portfolio_id) == (100, "P1")


def test_a_campaign_without_a_limit_has_none() -> None:
    assert _shares(1, 2, limit=None) == {}
