"""Shares of one number: equal for those who want as much as they can get, and nothing kept for the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titanflow.domain.fair_share import FairShares, own_limits

_MS = 1_000_000


def _run(demands: dict[int, int], *, free_each_ms: float, ms: int = 20_000, every_ms: int = 12) -> dict[int, int]:
    """Serve campaigns that each want so many whenever they ask, one after the other. Returns what each got."""
    shares, got, free = FairShares(), dict.fromkeys(demands, 0), 0.0
    last = dict.fromkeys(demands, 0)
    for now_ms in range(0, ms, every_ms):
        free = min(free + every_ms * free_each_ms, 60 * free_each_ms + 1)
        for campaign_id, wanted in demands.items():
            now_ns = now_ms * _MS
            shares.tell(campaign_id, used=last[campaign_id], in_flight=0, now_ns=now_ns)
            count = shares.take(campaign_id, wanted, free=int(free), now_ns=now_ns)
            last[campaign_id], free = count, free - count
            got[campaign_id] += count
    return got


@pytest.mark.parametrize("mps", [10, 80, 1000])
@pytest.mark.parametrize("campaigns", [2, 3, 7])
def test_campaigns_with_plenty_get_equal_shares(mps: int, campaigns: int) -> None:
    got = _run(dict.fromkeys(range(campaigns), 200), free_each_ms=mps / 1000)

    assert max(got.values()) - min(got.values()) <= max(2, 0.05 * max(got.values()))
    assert sum(got.values()) >= 0.98 * mps * 20 - 10


def test_who_wants_little_gets_it_and_the_others_share_the_rest() -> None:
    got = _run({1: 200, 2: 200, 3: 1}, free_each_ms=0.4)  # the third asks for one each 12 ms: 83 a second at most

    assert got[3] >= 0.95 * 20_000 / 12
    assert abs(got[1] - got[2]) <= 0.05 * got[1]
    assert sum(got.values()) >= 0.98 * 400 * 20


def test_who_was_away_does_not_catch_up() -> None:
    shares = FairShares()
    for n in range(1_000):
        now_ns = n * 10 * _MS
        shares.tell(1, used=1, in_flight=0, now_ns=now_ns)
        assert shares.take(1, 200, free=1, now_ns=now_ns) == 1
    now_ns = 10_000 * _MS
    shares.tell(2, used=0, in_flight=0, now_ns=now_ns)
    first = shares.take(2, 200, free=40, now_ns=now_ns)
    shares.tell(1, used=1, in_flight=0, now_ns=now_ns)

    assert first == 20
    assert shares.take(1, 200, free=20, now_ns=now_ns) == 20


def test_what_was_not_used_is_given_back() -> None:
    shares = FairShares()
    for n in range(100):  # the first campaign's contacts are all suppressed: it uses nothing it is given
        now_ns = n * 10 * _MS
        for campaign_id, used in ((1, 0), (2, 200)):
            shares.tell(campaign_id, used=used, in_flight=0, now_ns=now_ns)
            shares.take(campaign_id, 200, free=10, now_ns=now_ns)
    shares.tell(1, used=0, in_flight=0, now_ns=1_000 * _MS)

    assert shares.take(1, 10, free=10, now_ns=1_000 * _MS) == 10


@given(
    asks=st.lists(
        st.tuples(st.integers(0, 400), st.integers(1, 4), st.integers(0, 200), st.integers(0, 100)), max_size=60
    )
)
def test_never_more_than_is_free_nor_than_is_wanted(asks: list[tuple[int, int, int, int]]) -> None:
    shares, now_ns = FairShares(), 0
    for wait_ms, campaign_id, wanted, free in asks:
        now_ns += wait_ms * _MS
        shares.tell(campaign_id, used=0, in_flight=0, now_ns=now_ns)
        assert 0 <= shares.take(campaign_id, wanted, free=free, now_ns=now_ns) <= min(wanted, free)


@given(max_mps=st.integers(1, 5_000), numbers=st.dictionaries(st.integers(1, 99), st.integers(10, 1_000), min_size=1))
def test_a_campaigns_own_limit_is_shared_out_whole_and_by_what_each_number_may_send(
    max_mps: int, numbers: dict[int, int]
) -> None:
    limits = own_limits(max_mps, numbers)

    assert sum(limit.share_mps for limit in limits.values()) == pytest.approx(max_mps)
    if max_mps <= sum(numbers.values()):
        assert all(limits[number_id].share_mps <= mps + 1e-9 for number_id, mps in numbers.items())


def test_a_slow_and_a_fast_number_reach_the_campaigns_limit_together() -> None:
    limits = own_limits(500, {1: 10, 2: 1_000})

    assert round(limits[1].share_mps + limits[2].share_mps) == 500
    assert limits[2].share_mps > 494
    assert limits[2].sentence == "the campaign's own limit of 500 a second, 495 of it on this number"
    assert own_limits(50, {7: 80})[7].sentence == "the campaign's own limit of 50 a second"
