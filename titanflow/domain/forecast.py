"""What a rehearsal foretells: how long a campaign takes, day by day, and what makes it slower, in plain words. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, tzinfo

from titanflow.domain import pacing
from titanflow.domain.pacing import Lane, Plan

_DAY_S = 86_400.0
_SHOWN_DAYS = 60

# The high end: eight tenths of the rate, Meta answering in half a second, and what a start and an end take.
_SLOW_SHARE = 0.8
_SLOW_ANSWER_S = 0.5
_OVERHEAD_S = 10.0
# What costs less than this is not worth a sentence.
_NOTICEABLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Limit:
    """What will bite. seconds: what it costs of the whole; None: it stops everything. people: whom it concerns."""

    kind: str
    sentence: str
    seconds: float | None
    people: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """What the forecast rests on. idle: numbers that won't send, each with the reason. concurrency: requests in flight.

    shared: number -> the other campaigns that run on it. wanted: number -> its max_mps; Meta may let it send less.
    messages, failed: how many would leave, how many of them are refused. known: people who count in a tier already.
    names: number -> what people call it.
    """

    plan: Plan
    idle: tuple[tuple[Lane, str], ...] = ()
    shared: Mapping[str, Sequence[str]] = field(default_factory=dict)
    wanted: Mapping[str, float] = field(default_factory=dict)
    concurrency: int = 200
    zone: tzinfo = UTC
    messages: int = 0
    failed: int = 0
    known: Sequence[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    def name(self, number: str) -> str:
        """What people call a number."""
        return self.names.get(number) or number

    def finishes_at(self, plan: Plan) -> float:
        """Return when the last message would leave by a plan. Who fails gives the place in the tier back."""
        share = self.messages / max(1, self.messages - self.failed)
        budgets = {name: replace(one, limit=round(one.limit * share)) for name, one in plan.budgets.items()}
        return pacing.finishes_at(replace(plan, budgets=budgets), self.messages, self.known)


class Days:
    """Counts departures by the calendar day of a time zone. They come in order."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._ends_at = float("-inf")
        self._counts: dict[date, int] = {}
        self._today = date.min

    def add(self, at: float) -> None:
        """Count one more."""
        if at >= self._ends_at:
            local = datetime.fromtimestamp(at, self._zone)
            self._today = local.date()
            midnight = datetime.combine(self._today + timedelta(days=1), datetime.min.time(), self._zone)
            self._ends_at = midnight.timestamp()
            self._counts.setdefault(self._today, 0)
        self._counts[self._today] += 1

    def listed(self) -> list[dict[str, object]]:
        """The first days, each with its messages."""
        return [{"date": day.isoformat(), "messages": n} for day, n in list(self._counts.items())[:_SHOWN_DAYS]]

    @property
    def total(self) -> int:
        """On how many days something is sent."""
        return len(self._counts)


def range_s(situation: Situation, finishes_at: float) -> tuple[float, float] | None:
    """Return [low, high] seconds from the start to the last departure; None if nothing can be sent.

    finishes_at: the end of the plan as it stands, which is the low end.
    """
    plan = situation.plan
    if not plan.lanes:
        return None
    if situation.messages == 0:
        return 0.0, 0.0
    low_s = finishes_at - plan.starts_at
    slow = _shared(situation).slower(_SLOW_SHARE, situation.concurrency / _SLOW_ANSWER_S)
    high_s = situation.finishes_at(slow) - plan.starts_at + _OVERHEAD_S
    return low_s, max(high_s, low_s + _OVERHEAD_S)


def rests_on(situation: Situation) -> list[str]:
    """Say what the range assumes."""
    plan = situation.plan
    said = [
        f"Low: each number sends 98 % of its allowance without a stop, {plan.mps:,.0f} a second together.",
        f"High: 80 % of that, at most {situation.concurrency / _SLOW_ANSWER_S:,.0f} a second and number because Meta"
        f" answers in half a second, plus {_OVERHEAD_S:.0f} s to start and to end"
        + (", and other campaigns on these numbers going on for as long." if situation.shared else "."),
        "Nobody can know beforehand who has no WhatsApp, whom Meta spares marketing messages today (131049), or how"
        " long Meta throttles or pauses a number.",
    ]
    if not plan.budgets:
        said.append("No messaging limit is known for these numbers, so none is counted in.")
    return said


def limits(situation: Situation, finishes_at: float) -> list[Limit]:
    """Return what makes the campaign slower, each with what it costs."""
    plan, messages = situation.plan, situation.messages
    if messages == 0:
        return []
    if not plan.lanes:
        reasons = (
            "; ".join(f"{situation.name(lane.number)}: {reason}" for lane, reason in situation.idle) or "it has none"
        )
        return [Limit("no_number", f"None of the campaign's numbers can send now ({reasons}).", None, messages)]
    found = [_rate(situation), *_tiers(situation, finishes_at)]
    if plan.max_mps and plan.max_mps < sum(lane.mps for lane in plan.lanes):
        free = situation.finishes_at(replace(plan, max_mps=None))
        sentence = (
            f"The campaign's own limit is {plan.max_mps:,.0f} a second; its numbers could send"
            f" {sum(lane.mps for lane in plan.lanes):,.0f}. It adds {spoken(finishes_at - free)}."
        )
        found.append(Limit("max_mps", sentence, finishes_at - free))
    if plan.opening is not None:
        free = situation.finishes_at(pacing.without_window(plan))
        sentence = f"The send window adds {spoken(finishes_at - free)}, in which nothing may leave."
        found.append(Limit("send_window", sentence, finishes_at - free))
    found += _throughput(situation, finishes_at) + _idle(situation, finishes_at)
    if situation.shared:
        slower = situation.finishes_at(_shared(situation))
        others = "; ".join(
            f"{situation.name(number)} with " + ", ".join(f"'{name}'" for name in names)
            for number, names in situation.shared.items()
        )
        sentence = f"Other campaigns are sending on these numbers and share their rate while they run: {others}."
        found.append(Limit("shared_number", sentence, slower - finishes_at))
    return [one for one in found if one.seconds is None or one.seconds >= _NOTICEABLE_S or one.kind == "rate"]


def in_order(found: Sequence[Limit]) -> list[Limit]:
    """What stops everything first, then by what it costs in time, then in people."""
    return sorted(found, key=lambda one: (one.seconds is not None, -(one.seconds or 0.0), -one.people))


def spoken(seconds: float) -> str:
    """Say a duration: `45 s`, `12 min`, `2 h 35 min`, `6 days 4 h`."""
    seconds = max(0.0, seconds)
    if 0 < seconds < 1:
        return "less than a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        hours, rest = divmod(minutes, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, hours = divmod(round(minutes / 60), 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


def _rate(situation: Situation) -> Limit:
    plan, messages = situation.plan, situation.messages
    bare = replace(plan, budgets={}, opening=None, lanes=tuple(replace(lane, joins_at=0.0) for lane in plan.lanes))
    seconds = situation.finishes_at(bare) - plan.starts_at
    one = len(plan.lanes) == 1
    numbers = "one number" if one else f"{len(plan.lanes)} numbers"
    sentence = f"At {plan.mps:,.0f} a second over {numbers}, {messages:,} messages take {spoken(seconds)}."
    return Limit("rate", sentence, seconds)


def _tiers(situation: Situation, finishes_at: float) -> list[Limit]:
    plan, messages = situation.plan, situation.messages
    found = []
    for name, budget in plan.budgets.items():
        free = replace(plan, budgets={other: one for other, one in plan.budgets.items() if other != name})
        cost_s = finishes_at - situation.finishes_at(free)
        days = int((finishes_at - plan.starts_at) // _DAY_S) + 1
        took = f"{days} days" if days > 1 else spoken(finishes_at - plan.starts_at)
        sentence = f"The tier lets {budget.limit:,} people a day through: the list of {messages:,} takes {took}"
        used = min(budget.limit, len(budget.used))
        if used:
            frees_at = datetime.fromtimestamp(budget.used[0][0] + pacing.DAY_S, situation.zone)
            sentence += f" ({used:,} of them are used up now; the first come free at {frees_at:%H:%M %Z})"
        found.append(Limit("tier", sentence + ".", cost_s, messages))
    return found


def _throughput(situation: Situation, finishes_at: float) -> list[Limit]:
    plan = situation.plan
    wanted = [replace(lane, mps=situation.wanted.get(lane.number, lane.mps)) for lane in plan.lanes]
    less = [(lane, one) for lane, one in zip(plan.lanes, wanted, strict=True) if lane.mps < one.mps]
    if not less:
        return []
    cost_s = finishes_at - situation.finishes_at(pacing.with_lanes(plan, wanted))
    numbers = ", ".join(
        f"{situation.name(lane.number)} ({lane.mps:,.0f} instead of {one.mps:,.0f})" for lane, one in less
    )
    sentence = f"Meta lets these numbers send less than their max_mps: {numbers} a second."
    return [Limit("throughput", sentence, max(cost_s, _NOTICEABLE_S))]


def _idle(situation: Situation, finishes_at: float) -> list[Limit]:
    plan = situation.plan
    found = []
    if situation.idle:
        lanes = [*plan.lanes, *(lane for lane, _ in situation.idle)]
        reasons = "; ".join(f"{situation.name(lane.number)}: {reason.rstrip('.')}" for lane, reason in situation.idle)
        count = len(situation.idle)
        sentence = f"{len(lanes)} numbers, but {count} {'sends' if count == 1 else 'send'} nothing ({reasons})."
        cost_s = finishes_at - situation.finishes_at(pacing.with_lanes(plan, lanes))
        found.append(Limit("idle_number", sentence, max(cost_s, _NOTICEABLE_S)))
    paused = [lane for lane in plan.lanes if lane.joins_at > plan.starts_at]
    if paused:
        joined = [replace(lane, joins_at=0.0) for lane in plan.lanes]
        cost_s = finishes_at - situation.finishes_at(pacing.with_lanes(plan, joined))
        ends = {lane.number: datetime.fromtimestamp(lane.joins_at, situation.zone) for lane in paused}
        until = ", ".join(f"{situation.name(number)} until {at:%Y-%m-%d %H:%M %Z}" for number, at in ends.items())
        found.append(Limit("paused_number", f"Paused for a while: {until}.", max(cost_s, _NOTICEABLE_S)))
    return found


def _shared(situation: Situation) -> Plan:
    lanes = [
        replace(lane, mps=lane.mps / (1 + len(situation.shared.get(lane.number, ())))) for lane in situation.plan.lanes
    ]
    return pacing.with_lanes(situation.plan, lanes)
