"""RateLimiter: how many messages one phone number may send right now, and by what right.

One per phone number, shared by all campaigns that use it; first child of Number <id> (one_for_all, permanent).
Its start is the take-over: it takes the number's lease with a new epoch and moves what an earlier sender left
claimed to in_doubt, before anything can be sent. It restarts with an empty bucket, so a crash costs a moment of
sending and never causes a burst; pauses and lowered rates are rows, which it reads first. OTP model: gen_server.
"""

from dataclasses import dataclass
from typing import Any

import structlog

from titanflow.actors.number.gate import Gate
from titanflow.domain import gcra, slowdown
from titanflow.domain.live import LimitedBy
from titanflow.domain.slowdown import Slowdown
from titanflow.storage import claims, leases, pauses
from titanflow.storage.claims import Sender
from titanflow.storage.database import Database
from titanflow.storage.pauses import Brake
from titanflow.supervision import (
    SHUTDOWN,
    Call,
    Cast,
    From,
    GenServer,
    InitStop,
    NoReply,
    Reply,
    Stop,
    call,
    cast,
    via,
)

log = structlog.get_logger()

# A lease is trusted for less than PostgreSQL grants it: clocks differ in speed, and a request takes a moment to leave.
LEASE_MARGIN_S = 2.0

# Claims run ahead of departures by this much: long enough for a claim, short enough that a pause is prompt and a
# crash leaves little in doubt.
_HORIZON_NS = 60_000_000
_CONTENDER_NS = 300_000_000

_RECOVER_EVERY_MS = 1_000
# The same end of a pause, told twice, differs by the way from PostgreSQL.
_SAME_NS = 200_000_000


@dataclass(frozen=True, slots=True)
class Grant:
    """So many messages may be claimed now; ask again after wait_ms. gate: where they leave; sender: who claims."""

    count: int
    wait_ms: int
    gate: Gate
    sender: Sender
    limited_by: LimitedBy
    detail: str


@dataclass(frozen=True, slots=True)
class TakePermits(Call[Grant]):
    """in_flight: messages of this campaign that are claimed and not answered yet. max_mps: the campaign's own limit."""

    campaign_id: int
    wanted: int
    in_flight: int
    max_mps: int | None


@dataclass(frozen=True, slots=True)
class LeaseRenewed(Cast):
    """Trust the lease until then."""

    epoch: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class LeaseLost(Cast):
    """The lease is gone for good."""


@dataclass(frozen=True, slots=True)
class Braked(Cast):
    """Obey the row: hold, and send more slowly."""

    brake: Brake


@dataclass(frozen=True, slots=True)
class SetRate(Cast):
    """The operator changed max_mps."""

    max_mps: int


class _Recover:
    """To self: a little faster again."""


def take_permits(
    number_id: int, campaign_id: int, wanted: int, *, in_flight: int, max_mps: int | None, timeout_s: float = 5.0
) -> Grant:
    """Return how many of `wanted` messages may be claimed now: 0 to wanted, never more."""
    request = TakePermits(campaign_id, wanted, in_flight, max_mps)
    return call(via("rate_limiter", number_id), request, timeout_s=timeout_s)


def lease_renewed(number_id: int, epoch: int, until_ns: int) -> None:
    """Say that the lease of this epoch is good until a moment of the process's monotonic clock."""
    cast(via("rate_limiter", number_id), LeaseRenewed(epoch, until_ns))


def lease_lost(number_id: int) -> None:
    """Say that another node may have the number by now."""
    cast(via("rate_limiter", number_id), LeaseLost())


def obey(brake: Brake) -> None:
    """Tell a number what slows it down. Nothing is lost if its limiter is down or elsewhere: it reads the row."""
    cast(via("rate_limiter", brake.number_id), Braked(brake))


def set_rate(number_id: int, max_mps: int) -> None:
    """Tell the number's new allowance, in messages a second."""
    cast(via("rate_limiter", number_id), SetRate(max_mps))


class RateLimiter(GenServer):
    """Holds the lease, owns the gate, shares it out among the campaigns."""

    def __init__(self, db: Database, node_id: int, number_id: int, max_mps: int, concurrency: int) -> None:
        self._db, self._node_id, self._number_id = db, node_id, number_id
        self._max_mps, self._concurrency = max_mps, concurrency

    def init(self) -> InitStop | None:
        """Take over the number; stop if another node holds it."""
        self.trap_exit = True
        asked_ns = self.now_ns()
        epoch = leases.take(self._db, "number", self._number_id, node_id=self._node_id)
        if epoch is None:
            return InitStop("lease_elsewhere")
        doubted = claims.doubt(self._db, node_id=self._node_id, number_id=self._number_id, epoch=epoch)
        if doubted:
            log.warning("claims.doubted", number_id=self._number_id, count=doubted, why="their sender is dead")
        self._sender = Sender(self._node_id, self._number_id, epoch)
        until_ns = asked_ns + int((leases.LEASE_S - LEASE_MARGIN_S) * gcra.SECOND_NS)
        self._gate = Gate(self._max_mps, now_ns=self.now_ns(), lease_until_ns=until_ns)
        self._mps = float(self._max_mps)
        self._slowdown: Slowdown | None = None
        self._held_until_ns = 0
        self._held_reason = ""
        self._throttled = False  # the hold is part of a throttle
        for brake in pauses.brakes(self._db, [self._number_id]):
            self._obey(brake)
        self._pending: dict[int, tuple[int, int]] = {}  # campaign -> (granted last time, when)
        self._in_flight: dict[int, tuple[int, int]] = {}  # campaign -> (in flight, when told)
        self._own_plans: dict[int, gcra.Plan] = {}  # campaigns with a limit of their own
        self.send_after(_RECOVER_EVERY_MS, _Recover())
        return None

    def handle_call(self, request: Call[Any], sender: From) -> Reply | NoReply | Stop:
        """Grant permits."""
        match request:
            case TakePermits():
                return Reply(self._grant(request))
        return super().handle_call(request, sender)

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Follow the lease, the rate, and what Meta says."""
        match message:
            case LeaseRenewed(epoch, until_ns):
                if epoch == self._sender.epoch:
                    self._gate.lease_until_ns = max(self._gate.lease_until_ns, until_ns)
            case LeaseLost():
                self._gate.closed = True
                log.warning("lease.lost", number_id=self._number_id, epoch=self._sender.epoch)
                return Stop("lease_lost")
            case Braked(brake):
                self._obey(brake)
            case SetRate(max_mps):
                self._max_mps = max_mps
                self._set_rate()
            case _:
                return super().handle_cast(message)
        return None

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Recover from throttling, step by step."""
        if not isinstance(message, _Recover):
            return super().handle_info(message)
        self.send_after(_RECOVER_EVERY_MS, _Recover())
        if self._slowdown is not None:
            self._set_rate()
        return None

    def terminate(self, reason: object) -> None:
        """Let nothing leave any more, and free the lease if this is an orderly end."""
        self._gate.closed = True
        if reason == SHUTDOWN:
            leases.release(self._db, "number", self._number_id, node_id=self._node_id, epoch=self._sender.epoch)

    def observed_state(self) -> dict[str, object]:
        """For `observe()`."""
        return {
            "number_id": self._number_id,
            "epoch": self._sender.epoch,
            "mps": self._mps,
            "max_mps": self._max_mps,
            "departed": self._gate.departed,
            "held": self._held_reason if self._held_until_ns > self.now_ns() else "",
        }

    def _grant(self, asked: TakePermits) -> Grant:
        now_ns = self.now_ns()
        self._pending.pop(asked.campaign_id, None)
        self._in_flight[asked.campaign_id] = (asked.in_flight, now_ns)
        if now_ns < self._held_until_ns:
            wait_ms = (self._held_until_ns - now_ns) // 1_000_000 + 1
            return self._nothing(min(wait_ms, 250), "throttled" if self._throttled else "paused", self._held_reason)
        if now_ns >= self._gate.lease_until_ns:
            return self._nothing(100, "database", "The lease of this number could not be renewed")
        recent_ns = now_ns - _CONTENDER_NS
        flying = sum(count for count, told_ns in self._in_flight.values() if told_ns > recent_ns)
        if flying >= self._concurrency:
            return self._nothing(5, "concurrency", f"{flying} requests are waiting for Meta's answer")
        count = min(asked.wanted, self._concurrency - flying, self._free_slots(asked.campaign_id, now_ns))
        count = self._own_limit(asked, count, now_ns)
        if count > 0:
            self._pending[asked.campaign_id] = (count, now_ns)
        slowed = self._mps < self._max_mps
        detail = f"{self._mps:.0f} of {self._max_mps} messages a second" if slowed else f"{self._max_mps} a second"
        wait_ms = max(1, min(_HORIZON_NS // 2, self._gate.plan.interval_ns) // 1_000_000)
        return Grant(count, wait_ms, self._gate, self._sender, "throttled" if slowed else "rate", detail)

    def _free_slots(self, campaign_id: int, now_ns: int) -> int:
        """How many departures within the horizon this campaign may have: an equal share of those still free."""
        plan = self._gate.plan
        horizon_ns = max(_HORIZON_NS, plan.interval_ns * 3 // 2)
        recent_ns = now_ns - _CONTENDER_NS
        others = [granted for granted, at_ns in self._pending.values() if at_ns > recent_ns]
        free = gcra.available(plan, now_ns=now_ns, horizon_ns=horizon_ns) - sum(others)
        contenders = sum(1 for _, told_ns in self._in_flight.values() if told_ns > recent_ns)
        return -(-free // max(1, contenders)) if free > 0 else 0

    def _own_limit(self, asked: TakePermits, count: int, now_ns: int) -> int:
        """Keep the campaign's own max_mps, if it has one."""
        if asked.max_mps is None or count <= 0:
            return count
        plan = self._own_plans.get(asked.campaign_id) or gcra.empty(asked.max_mps, now_ns=now_ns)
        plan = gcra.at_rate(plan, asked.max_mps)
        count = min(count, gcra.available(plan, now_ns=now_ns, horizon_ns=max(_HORIZON_NS, plan.interval_ns * 3 // 2)))
        if count:
            plan, _ = gcra.schedule(plan, count, now_ns=now_ns)
        self._own_plans[asked.campaign_id] = plan
        return count

    def _nothing(self, wait_ms: int, limited_by: LimitedBy, detail: str) -> Grant:
        return Grant(0, wait_ms, self._gate, self._sender, limited_by, detail)

    def _obey(self, brake: Brake) -> None:
        """Hold and slow down as the row says. Hearing it again changes nothing; a longer hold stays."""
        now_ns = self.now_ns()
        until_ns = now_ns + int(brake.hold_s * gcra.SECOND_NS)
        if brake.hold_s > 0 and until_ns > self._held_until_ns + _SAME_NS:
            self._held_until_ns, self._held_reason, self._throttled = until_ns, brake.reason, brake.throttled
            self._gate.hold(until_ns)
        if brake.slowed_mps is not None:
            speeds_up_at_ns = now_ns + int(brake.speeds_up_in_s * gcra.SECOND_NS)
            full_speed_in_ns = int(brake.full_speed_in_s * gcra.SECOND_NS)
            self._slowdown = Slowdown(brake.slowed_mps, speeds_up_at_ns, full_speed_in_ns)
            self._set_rate()

    def _set_rate(self) -> None:
        """Follow the recovery, or the operator."""
        self._mps = slowdown.rate(self._slowdown, self._max_mps, now_ns=self.now_ns())
        if self._mps >= self._max_mps:
            self._slowdown = None
        self._gate.plan = gcra.at_rate(self._gate.plan, self._mps)
