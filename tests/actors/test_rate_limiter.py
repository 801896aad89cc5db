"""Promise 7, and fairness: the real RateLimiter and its gate on the virtual clock, with senders that behave as ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.support.builders import a_number
from tests.support.senders import ASender
from titanflow.actors.number import rate_limiter
from titanflow.actors.number.rate_limiter import Limits, RateLimiter
from titanflow.domain.fair_share import OwnLimit, own_limits
from titanflow.storage.database import Database
from titanflow.supervision import KILL, Pid, exit_process, start, via
from titanflow.supervision.clock import VirtualClock
from titanflow.supervision.testing import no_leaked_actors, virtual_clock

_SECOND_NS = 1_000_000_000
_FAR_NS = 10**15


class _Number:
    """One number served on the virtual clock, and the campaigns that use it."""

    def __init__(self, db: Database, clock: VirtualClock, mps: int, concurrency: int = 200) -> None:
        self.clock, self.mps = clock, mps
        self.id = a_number(db, max_mps=mps)
        self.senders: dict[int, ASender] = {}
        self.own: dict[int, OwnLimit] = {}
        self._pids: dict[int, Pid] = {}
        with db.connection() as connection:  # an earlier example of the same test may have left its lease
            connection.execute("DELETE FROM leases")
        limiter = RateLimiter(db, 1, self.id, "1001", mps, concurrency)
        self._limiter = start(limiter, name=via("rate_limiter", self.id))
        self.configure(mps)
        grant = rate_limiter.take_permits(self.id, 0, 0, used=0, in_flight=0)
        rate_limiter.lease_renewed(self.id, grant.sender.epoch, _FAR_NS)

    def configure(self, mps: int, portfolio_id: str | None = None) -> None:
        self.mps = mps
        rate_limiter.configure(self.id, Limits(mps, dict(self.own), portfolio_id))
        self.clock.settle()

    def campaign(self, campaign_id: int, contacts: int = 10**6, *, answer_ms: float = 100, usable: int = 1) -> ASender:
        sender = ASender(self.id, campaign_id, contacts, answer_ms=answer_ms, usable=usable)
        self.senders[campaign_id] = sender
        self._pids[campaign_id] = start(sender)
        return sender

    def limit_campaign(self, campaign_id: int, max_mps: int) -> None:
        self.own[campaign_id] = own_limits(max_mps, {self.id: self.mps})[self.id]
        self.configure(self.mps)

    def leave(self, campaign_id: int) -> None:
        exit_process(self._pids.pop(campaign_id), KILL)
        self.clock.settle()

    def sent_within(self, ms: float) -> dict[int, int]:
        before = {campaign_id: len(sender.left) for campaign_id, sender in self.senders.items()}
        self.clock.advance(ms)
        return {campaign_id: len(sender.left) - before[campaign_id] for campaign_id, sender in self.senders.items()}

    def fullest_second(self) -> int:
        left = sorted(at_ns for sender in self.senders.values() for at_ns in sender.left)
        worst = first = 0
        for last, at_ns in enumerate(left):
            while left[first] <= at_ns - _SECOND_NS:
                first += 1
            worst = max(worst, last - first + 1)
        return worst

    def close(self) -> None:
        for pid in (*self._pids.values(), self._limiter):
            exit_process(pid, KILL)


@contextmanager
def _number(db: Database, mps: int, concurrency: int = 200) -> Iterator[_Number]:
    with no_leaked_actors(), virtual_clock() as clock:
        number = _Number(db, clock, mps, concurrency)
        try:
            yield number
        finally:
            number.close()


def _within_five_percent(counts: list[int]) -> bool:
    return max(counts) - min(counts) <= max(2, 0.05 * max(counts))


@pytest.mark.parametrize("mps", [20, 80, 600])
def test_two_campaigns_with_plenty_share_a_number_equally_and_use_all_of_it(db: Database, mps: int) -> None:
    with _number(db, mps) as number:
        number.campaign(1)
        number.campaign(2)
        number.clock.advance(2_000)
        sent = number.sent_within(10_000)
        fullest = number.fullest_second()

    assert _within_five_percent(list(sent.values())), sent
    assert sum(sent.values()) >= 0.97 * mps * 10
    assert fullest <= mps


def test_a_campaign_that_came_first_does_not_keep_the_second_one_waiting(db: Database) -> None:
    with _number(db, 80) as number:
        number.campaign(1)
        number.clock.advance(5_000)
        number.campaign(2)
        number.clock.advance(500)
        sent = number.sent_within(4_000)

    assert _within_five_percent(list(sent.values())), sent


def test_slow_answers_are_shared_equally_too(db: Database) -> None:
    """50 requests in flight, a second each: the connections are what is short."""
    with _number(db, 400, concurrency=50) as number:
        first, second = number.campaign(1, answer_ms=1_000), number.campaign(2, answer_ms=1_000)
        number.clock.advance(3_000)
        assert first.in_flight + second.in_flight <= 50
        sent = number.sent_within(20_000)
        assert first.in_flight + second.in_flight <= 50
        grant = first.grants[-1]

    assert _within_five_percent(list(sent.values())), sent
    assert sum(sent.values()) >= 0.9 * 50 * 20
    assert (grant.limited_by, grant.detail) == ("concurrency", "50 requests in flight")


def test_a_campaign_with_few_contacts_gets_them_out_and_holds_nothing(db: Database) -> None:
    with _number(db, 80) as number:
        number.campaign(1)
        number.campaign(2)
        number.clock.advance(2_000)
        small = number.campaign(3, contacts=40)
        number.clock.advance(3_000)
        assert len(small.left) == 40
        sent = number.sent_within(5_000)

    assert sent[3] == 0
    assert sum(sent.values()) >= 0.97 * 80 * 5
    assert _within_five_percent([sent[1], sent[2]]), sent


def test_a_campaign_whose_people_are_mostly_suppressed_gets_its_share_of_departures(db: Database) -> None:
    """What was granted and not claimed is nobody's loss."""
    with _number(db, 80) as number:
        number.campaign(1, usable=4)
        number.campaign(2)
        number.clock.advance(2_000)
        sent = number.sent_within(10_000)

    assert _within_five_percent(list(sent.values())), sent
    assert sum(sent.values()) >= 0.97 * 80 * 10


def test_a_campaigns_own_limit_leaves_the_rest_to_the_others(db: Database) -> None:
    with _number(db, 80) as number:
        slow = number.campaign(1)
        fast = number.campaign(2)
        number.limit_campaign(1, 10)
        number.clock.advance(2_000)
        sent = number.sent_within(10_000)
        told = slow.grants[-1], fast.grants[-1]

    assert 95 <= sent[1] <= 100, sent
    assert sum(sent.values()) >= 0.97 * 80 * 10
    assert (told[0].limited_by, told[0].detail) == ("rate", "the campaign's own limit of 10 a second")
    assert (told[1].limited_by, told[1].detail) == ("rate", "80 a second, shared with 1 other campaign")


def test_a_changed_own_limit_holds_at_once(db: Database) -> None:
    with _number(db, 80) as number:
        number.campaign(1)
        number.limit_campaign(1, 5)
        number.clock.advance(3_000)
        number.limit_campaign(1, 60)
        number.clock.advance(500)
        faster = number.sent_within(5_000)[1]
        number.limit_campaign(1, 5)
        number.clock.advance(500)
        slower = number.sent_within(5_000)[1]
        number.own.clear()
        number.configure(80)
        number.clock.advance(500)
        free = number.sent_within(5_000)[1]

    assert 285 <= faster <= 300
    assert slower <= 27
    assert free >= 0.97 * 80 * 5


def test_messages_that_come_in_take_departures(db: Database) -> None:
    """Meta counts both directions against the number's rate."""
    with _number(db, 80) as number:
        number.campaign(1)
        number.clock.advance(2_000)
        sent = 0
        for _ in range(10):
            rate_limiter.inbound("1001", 20)
            sent += number.sent_within(1_000)[1]

    assert 0.95 * 60 * 10 <= sent <= 60 * 10 + 2


def test_a_limiter_grants_nothing_until_it_knows_its_limits(db: Database) -> None:
    with no_leaked_actors(), virtual_clock():
        number_id = a_number(db)
        pid = start(RateLimiter(db, 1, number_id, "1001", 80, 200), name=via("rate_limiter", number_id))
        grant = rate_limiter.take_permits(number_id, 1, 100, used=0, in_flight=0)
        exit_process(pid, KILL)

    assert (grant.count, grant.limited_by, grant.detail) == (0, "paused", "the number is starting")


class _AnyTraffic(RuleBasedStateMachine):
    """Campaigns come and go, limits change, messages come in, time passes in any steps."""

    db: Database

    def __init__(self) -> None:
        super().__init__()
        self._clock = virtual_clock()
        clock = self._clock.__enter__()
        self.number = _Number(self.db, clock, 80)
        self.running: set[int] = set()
        self.next_id = 1
        self.highest = 80

    @rule(contacts=st.integers(1, 300), answer_ms=st.integers(1, 400))
    def a_campaign_comes(self, contacts: int, answer_ms: int) -> None:
        if len(self.running) < 5:
            self.number.campaign(self.next_id, contacts, answer_ms=answer_ms)
            self.running.add(self.next_id)
            self.next_id += 1

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_campaign_goes(self, data: st.DataObject) -> None:
        campaign_id = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(campaign_id)
        self.number.leave(campaign_id)

    @rule(mps=st.sampled_from([10, 40, 80, 150]))
    def the_rate_changes(self, mps: int) -> None:
        self.number.clock.advance(1_100)  # so that a window belongs to one rate, and the invariant can be sharp
        self.forget()
        self.number.configure(mps)
        self.highest = mps

    @rule(max_mps=st.integers(1, 100))
    def a_campaign_gets_a_limit(self, max_mps: int) -> None:
        if self.running:
            self.number.limit_campaign(min(self.running), max_mps)

    @rule(count=st.integers(1, 200))
    def messages_come_in(self, count: int) -> None:
        rate_limiter.inbound("1001", count)

    @rule(ms=st.floats(0.5, 700))
    def time_passes(self, ms: float) -> None:
        self.number.clock.advance(ms)

    @rule(campaigns=st.integers(2, 4), answer_ms=st.integers(1, 300))
    def send_flat_out(self, campaigns: int, answer_ms: int) -> None:
        """Only small random steps would never reach the edge."""
        for campaign_id in sorted(self.running):
            self.number.leave(campaign_id)
        self.running = set(range(self.next_id, self.next_id + campaigns))
        self.next_id += campaigns
        for campaign_id in self.running:
            self.number.campaign(campaign_id, answer_ms=answer_ms)
        self.number.clock.advance(3_500)  # what came in before, and those that left, are over
        sent = self.number.sent_within(4_000)
        shares = [sent[campaign_id] for campaign_id in self.running]
        assert _within_five_percent(shares), shares
        assert sum(shares) >= 0.95 * self.highest * 4 - 2, (sum(shares), self.highest)

    @invariant()
    def no_second_holds_more_than_the_rate(self) -> None:
        assert self.number.fullest_second() <= self.highest

    def forget(self) -> None:
        for sender in self.number.senders.values():
            sender.left.clear()

    def teardown(self) -> None:
        self.number.close()
        self._clock.__exit__(None, None, None)


@pytest.mark.timeout(300)
def test_rates_and_shares_hold_whatever_happens(db: Database) -> None:
    class Machine(_AnyTraffic):
        pass

    Machine.db = db
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
