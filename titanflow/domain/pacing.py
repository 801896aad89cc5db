"""When each message of a campaign would leave, on a virtual clock: numbers, rates, budgets, windows. Pure.

The same rules that the engine keeps, one departure after the other: a number sends one message an interval, the
campaign's own rate holds over all of them, a portfolio lets so many people through in any 24 hours, and outside the
send window nothing leaves. All times are seconds since the epoch.
"""

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat

from titanflow.domain import gcra

# A portfolio counts a person for 24 hours, and the engine a minute longer: its clock is not Meta's.
DAY_S = 86_460.0

# A time -> the open interval (from, until) that contains it, or the next one after it.
Opening = Callable[[float], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Lane:
    """A phone number that sends. joins_at: when its pause ends, 0 if it sends already."""

    number: str
    mps: float
    portfolio: str
    joins_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a portfolio lets through: so many people in any 24 hours. used: since when who counts, in order."""

    limit: int
    used: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides when messages leave. max_mps: the campaign's own limit. opening: None if it is always open."""

    starts_at: float
    lanes: tuple[Lane, ...]
    budgets: Mapping[str, Budget]
    max_mps: float | None = None
    opening: Opening | None = None

    @property
    def mps(self) -> float:
        """The rate of all numbers together, as far as the campaign lets them."""
        total = sum(lane.mps for lane in self.lanes)
        return min(total, self.max_mps) if self.max_mps else total

    def slower(self, share: float, most_mps: float) -> "Plan":
        """The plan with a share of the rate, each number at most at `most_mps`."""
        lanes = tuple(replace(lane, mps=min(lane.mps * share, most_mps)) for lane in self.lanes)
        return replace(self, lanes=lanes, max_mps=self.max_mps * share if self.max_mps else None)


class _Used:
    """A budget as it is used up: when each use is 24 hours old."""

    def __init__(self, budget: Budget) -> None:
        self._limit = max(1, budget.limit)
        self._frees = deque(at + DAY_S for at, _ in budget.used)
        self._people = {person: at + DAY_S for at, person in budget.used}

    def next_at(self, at: float) -> float:
        """The first moment from `at` on when there is room for one more."""
        over = len(self._frees) - self._limit
        return at if over < 0 else max(at, self._frees[over])

    def counts(self, person: str, at: float) -> bool:
        """True if a person counts already, and passes without a place."""
        return self._people.get(person, 0.0) > at

    def prolong(self, at: float) -> None:
        """A person who counts is reached again. The oldest count makes room, whosever it is: never too early."""
        if self._frees:
            self._frees.popleft()
        self._frees.append(at + DAY_S)

    def use(self, at: float) -> None:
        while self._frees and self._frees[0] <= at:
            self._frees.popleft()
        self._frees.append(at + DAY_S)

    def give_back(self, count: int) -> None:
        for _ in range(min(count, len(self._frees))):
            self._frees.pop()


class Departures:
    """Deals out departures, never an earlier one after a later one."""

    def __init__(self, plan: Plan) -> None:
        self._opening = plan.opening
        self._open_from, self._open_until = 0.0, 0.0 if plan.opening else float("inf")
        self._lanes = plan.lanes
        self._intervals = [_interval_s(lane.mps) for lane in plan.lanes]
        self._queue = [
            (max(plan.starts_at, lane.joins_at) + interval, n)
            for n, (lane, interval) in enumerate(zip(plan.lanes, self._intervals, strict=True))
        ]
        heapq.heapify(self._queue)
        self._own_interval = _interval_s(plan.max_mps) if plan.max_mps else 0.0
        self._own_next = plan.starts_at
        self._used = {name: _Used(budget) for name, budget in plan.budgets.items()}
        self._one_portfolio = len({lane.portfolio for lane in plan.lanes}) == 1

    def next(self, person: str = "") -> tuple[Lane, float]:
        """Return which number sends to a person next, and when. The plan must have a lane."""
        while True:
            at, n = self._queue[0]
            lane = self._lanes[n]
            wanted = max(at, self._own_next)
            used = self._used.get(lane.portfolio)
            counted = used is not None and used.counts(person, self._allowed(wanted, None))
            departs = self._allowed(wanted, None if counted else used)
            if departs > wanted and not self._one_portfolio:
                heapq.heapreplace(self._queue, (departs, n))  # its portfolio may be used up: the others go on
                continue
            if used is not None and counted:
                used.prolong(departs)
            elif used is not None:
                used.use(departs)
            self._own_next = departs + self._own_interval
            heapq.heapreplace(self._queue, (departs + self._intervals[n], n))
            return lane, departs

    def give_back(self, portfolio: str, count: int) -> None:
        """Meta refused so many: they used nothing up."""
        used = self._used.get(portfolio)
        if used is not None:
            used.give_back(count)

    def _allowed(self, at: float, used: _Used | None) -> float:
        while True:
            later = at
            if not self._open_from <= at < self._open_until and self._opening is not None:
                self._open_from, self._open_until = self._opening(at)
                later = max(at, self._open_from)
            if used is not None:
                later = used.next_at(later)
            if later == at:
                return at
            at = later


def finishes_at(plan: Plan, messages: int, known: Sequence[str] = ()) -> float:
    """Return when the last of so many messages leaves; when the plan starts if there is none.

    known: of the people, those who count in a budget already; they go first.
    """
    if messages == 0 or not plan.lanes:
        return plan.starts_at
    departures = Departures(plan)
    at = plan.starts_at
    for person in chain(known, repeat("", messages - len(known))):
        _, at = departures.next(person)
    return at


def without_budgets(plan: Plan) -> Plan:
    """The plan as if no tier limited it."""
    return replace(plan, budgets={})


def without_window(plan: Plan) -> Plan:
    """The plan as if it might send at any hour."""
    return replace(plan, opening=None)


def with_lanes(plan: Plan, lanes: Sequence[Lane]) -> Plan:
    """The plan with other numbers."""
    return replace(plan, lanes=tuple(lanes))


def _interval_s(mps: float) -> float:
    return gcra.empty(mps, now_ns=0).interval_ns / gcra.SECOND_NS
