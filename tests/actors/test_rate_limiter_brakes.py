"""The limiter obeys pauses and lowered rates, and a restarted one knows them before it grants anything."""

from collections.abc import Iterator

import pytest

from tests.support.builders import ACampaign, a_campaign
from titanflow.actors.number import rate_limiter
from titanflow.actors.number.consequences import Happened, carry_out
from titanflow.actors.number.rate_limiter import Grant, Limits, RateLimiter
from titanflow.domain import slowdown
from titanflow.domain.slowdown import Slowdown
from titanflow.meta.error_policy import NO_PROOF, RULES
from titanflow.storage.database import Database
from titanflow.supervision import SHUTDOWN, Pid, start, stop, via
from titanflow.supervision.clock import VirtualClock
from titanflow.supervision.testing import virtual_clock

_SECOND = 1_000_000_000


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with virtual_clock() as made:
        yield made


def _limiter(db: Database, campaign: ACampaign) -> Pid:
    limiter = RateLimiter(db, 1, campaign.number_id, "1001", 80, 100)
    pid = start(limiter, name=via("rate_limiter", campaign.number_id))
    rate_limiter.configure(campaign.number_id, Limits(80, {}, None))
    return pid


def _ask(campaign: ACampaign) -> Grant:
    return rate_limiter.take_permits(campaign.number_id, campaign.id, 1, used=0, in_flight=0)


def _happened(campaign: ACampaign, code: int, *, in_a_row: int = 1) -> list[Happened]:
    rule = NO_PROOF if code == NO_PROOF.code else RULES[code]
    return [Happened(rule, campaign.id, campaign.number_id, campaign.template_id, 1, in_a_row)]


@pytest.mark.parametrize(
    ("code", "limited_by"), [(130429, "throttled"), (131057, "paused"), (131016, "paused"), (-5, "paused")]
)
def test_a_hold_is_obeyed_at_once_and_after_a_crash(
    db: Database, clock: VirtualClock, code: int, limited_by: str
) -> None:
    campaign = a_campaign(db)
    pid = _limiter(db, campaign)
    clock.advance(ms=100)
    granted = _ask(campaign).count

    carry_out(db, _happened(campaign, code, in_a_row=5), nudge=lambda: None)
    before = _ask(campaign)
    stop(pid, SHUTDOWN, timeout_s=5)
    pid = _limiter(db, campaign)
    after = _ask(campaign)
    stop(pid, SHUTDOWN, timeout_s=5)

    assert granted == 1
    assert [(one.count, one.limited_by) for one in (before, after)] == [(0, limited_by)] * 2
    for one in (before, after):
        assert one.detail.startswith("until ")
        assert f"(code {code})" in one.detail


def test_few_doubts_in_a_row_hold_nothing(db: Database, clock: VirtualClock) -> None:
    campaign = a_campaign(db)
    pid = _limiter(db, campaign)
    clock.advance(ms=100)

    carry_out(db, _happened(campaign, -5, in_a_row=2), nudge=lambda: None)

    assert _ask(campaign).count == 1
    stop(pid, SHUTDOWN, timeout_s=5)


def test_the_rate_is_halved_recovers_step_by_step_and_a_crash_speeds_nothing_up(
    db: Database, clock: VirtualClock
) -> None:
    campaign = a_campaign(db)
    pid = _limiter(db, campaign)

    carry_out(db, _happened(campaign, 130429), nudge=lambda: None)
    slowed = _ask(campaign).gate.plan.mps
    stop(pid, SHUTDOWN, timeout_s=5)
    pid = _limiter(db, campaign)
    restarted = _ask(campaign).gate.plan.mps
    clock.advance(ms=11_000)
    _ask(campaign)
    halfway = _ask(campaign).gate.plan.mps
    clock.advance(ms=15_000)
    _ask(campaign)
    whole = _ask(campaign).gate.plan.mps
    stop(pid, SHUTDOWN, timeout_s=5)

    assert (slowed, restarted) == (40, 40)
    assert halfway == pytest.approx(80, abs=5)
    assert whole == 80


def test_a_new_allowance_keeps_the_slowdown(db: Database, clock: VirtualClock) -> None:
    campaign = a_campaign(db)
    pid = _limiter(db, campaign)
    carry_out(db, _happened(campaign, 130429), nudge=lambda: None)

    rate_limiter.configure(campaign.number_id, Limits(1000, {}, None))

    assert _ask(campaign).gate.plan.mps == 40
    stop(pid, SHUTDOWN, timeout_s=5)


def test_the_rate_while_recovering() -> None:
    slowed = Slowdown(10, 5 * _SECOND, 20 * _SECOND)

    rates = [slowdown.rate(slowed, 80, now_ns=second * _SECOND) for second in (0, 5, 10, 20, 99)]

    assert rates == [10, 10, 30, 70, 80]
    assert slowdown.rate(None, 80, now_ns=0) == 80
