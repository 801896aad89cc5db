"""RateLimiter: how many messages one phone number may send right now, and by what right.

One per phone number, shared by all campaigns that use it; first child of Number <id> (one_for_all, permanent).
Its start is the take-over: it takes the number's lease with a new epoch and moves what an earlier sender left
claimed to in_doubt, before anything can be sent. It restarts with an empty bucket, so a crash costs a moment of
sending and never causes a burst; pauses and lowered rates are rows, which it reads first. OTP model: gen_server.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from titanflow.actors.number.gate import Gate
from titanflow.domain import gcra, slowdown
from titanflow.domain.fair_share import FairShares, OwnLimit, OwnPace
from titanflow.domain.live import LimitedBy
from titanflow.domain.slowdown import Slowdown
from titanflow.storage import claims, leases, outbox, pauses
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
_REPLY_HORIZON_NS = 150_000_000
# Seldom enough that a claim takes many contacts at once, often enough that the horizon never runs out.
_ASK_AGAIN_MS = 20
_ANSWERS_COME_MS = 5

_RECOVER_EVERY_MS = 1_000
# The same end of a pause, told twice, differs by the way from PostgreSQL.
_SAME_NS = 200_000_000


@dataclass(frozen=True, slots=True)
class Grant:
    """So many messages may be claimed now; ask again after wait_ms.

    gate: where they leave; sender: who claims; portfolio_id: whose budget the claim must keep, None if it has no limit.
    limited_by, detail: why it is no more than count. It is what was asked for if count is wanted.
    """

    count: int
    wait_ms: int
    gate: Gate
    sender: Sender
    portfolio_id: str | None
    limited_by: LimitedBy
    detail: str


@dataclass(frozen=True, slots=True)
class TakePermits(Call[Grant]):
    """used: of the last grant; in_flight: messages of this campaign that are claimed and not answered yet."""

    campaign_id: int
    wanted: int
    used: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class LeaseRenewed(Cast):
    """Trust the lease until then."""

    epoch: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class LeaseTaken(Cast):
    """To Node: renew this lease from now on, and say so when it is lost."""

    number_id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class LeaseLost(Cast):
    """The lease of this epoch is gone for good."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Braked(Cast):
    """Obey the row: hold, and send more slowly."""

    brake: Brake


@dataclass(frozen=True, slots=True)
class Limits:
    """What a number must keep. own: limits of campaigns; portfolio_id: set if its portfolio has a messaging limit."""

    max_mps: int
    own: Mapping[int, OwnLimit]
    portfolio_id: str | None


@dataclass(frozen=True, slots=True)
class Configure(Cast):
    """Keep these limits from now on."""

    limits: Limits


@dataclass(frozen=True, slots=True)
class Inbound(Cast):
    """Messages have come in: Meta counts them against the same rate."""

    count: int


@dataclass(frozen=True, slots=True)
class TakeReplyPermits(Call[Grant]):
    """For replies of the inbox: they are few, somebody waits for them, and they go before campaigns."""

    wanted: int
    in_flight: int


class _Recover:
    """To self: a little faster again."""


def take_permits(
    number_id: int, campaign_id: int, wanted: int, *, used: int, in_flight: int, timeout_s: float = 5.0
) -> Grant:
    """Return how many of `wanted` messages may be claimed now: 0 to wanted, never more.

    Ask also when nothing is wanted, as long as something is in flight: it counts against the other campaigns.
    """
    request = TakePermits(campaign_id, wanted, used, in_flight)
    return call(via("rate_limiter", number_id), request, timeout_s=timeout_s)


def take_reply_permits(number_id: int, wanted: int, *, in_flight: int, timeout_s: float = 5.0) -> Grant:
    """Return how many of `wanted` replies may be claimed now. They count against the rate and take no fair share."""
    return call(via("rate_limiter", number_id), TakeReplyPermits(wanted, in_flight), timeout_s=timeout_s)


def lease_renewed(number_id: int, epoch: int, until_ns: int) -> None:
    """Say that the lease of this epoch is good until a moment of the process's monotonic clock."""
    cast(via("rate_limiter", number_id), LeaseRenewed(epoch, until_ns))


def lease_lost(number_id: int, epoch: int) -> None:
    """Say that another node may have the number by now. A later incarnation takes no notice."""
    cast(via("rate_limiter", number_id), LeaseLost(epoch))


def obey(brake: Brake) -> None:
    """Tell a number what slows it down. Nothing is lost if its limiter is down or elsewhere: it reads the row."""
    cast(via("rate_limiter", brake.number_id), Braked(brake))


def configure(number_id: int, limits: Limits) -> None:
    """Tell the limits to keep. Say it again and again: a limiter that has restarted grants nothing until it knows."""
    cast(via("rate_limiter", number_id), Configure(limits))


def inbound(phone_number_id: str, count: int) -> None:
    """Say that so many messages came in for a number, by Meta's id. Lost if the number is not served here."""
    cast(via("inbound", phone_number_id), Inbound(count))


class RateLimiter(GenServer):
    """Holds the lease, owns the gate, shares it out among the campaigns."""

    def __init__(
        self, db: Database, node_id: int, number_id: int, phone_number_id: str, max_mps: int, concurrency: int
    ) -> None:
        self._db, self._node_id, self._number_id, self._phone_number_id = db, node_id, number_id, phone_number_id
        self._max_mps, self._concurrency = max_mps, concurrency

    def init(self) -> InitStop | None:
        """Take over the number; stop if another node holds it."""
        self.trap_exit = True
        asked_ns = self.now_ns()
        epoch = leases.take(self._db, "number", self._number_id, node_id=self._node_id)
        if epoch is None:
            return InitStop("lease_elsewhere")
        cast(via("node"), LeaseTaken(self._number_id, epoch))
        doubted = claims.doubt(self._db, node_id=self._node_id, number_id=self._number_id, epoch=epoch)
        doubted += outbox.doubt(self._db, number_id=self._number_id, epoch=epoch)
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
        self._slowed_at: datetime | None = None
        for brake in pauses.brakes(self._db, [self._number_id]):
            self._obey(brake)
        self._limits: Limits | None = None  # until the Reconciler has told
        self._shares = FairShares()
        self._own_pace = OwnPace()
        name = via("inbound", self._phone_number_id)
        name.registry.register(name.key)
        self.send_after(_RECOVER_EVERY_MS, _Recover())
        return None

    def handle_call(self, request: Call[Any], sender: From) -> Reply | NoReply | Stop:
        """Grant permits."""
        match request:
            case TakePermits():
                return Reply(self._grant(request))
            case TakeReplyPermits(wanted, in_flight):
                return Reply(self._grant_replies(wanted, in_flight))
        return super().handle_call(request, sender)

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Follow the lease, the rate, and what Meta says."""
        match message:
            case LeaseRenewed(epoch, until_ns):
                if epoch == self._sender.epoch:
                    self._gate.lease_until_ns = max(self._gate.lease_until_ns, until_ns)
            case LeaseLost(epoch):
                if epoch == self._sender.epoch:
                    self._gate.closed = True
                    log.warning("lease.lost", number_id=self._number_id, epoch=epoch)
                    return Stop("lease_lost")
            case Braked(brake):
                if brake.slowed_mps is not None and self._slowdown is None:
                    self._slowed_at = datetime.now(UTC)
                self._obey(brake)
            case Configure(limits):
                self._configure(limits)
            case Inbound(count):
                # At most a second's worth at once: more would let nothing leave for longer than Meta counts it.
                self._gate.skip(min(count, int(self._mps) or 1), self.now_ns())
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

    def _configure(self, limits: Limits) -> None:
        if limits != self._limits:
            self._own_pace.keep_only(limits.own)
            self._limits, self._max_mps = limits, limits.max_mps
            self._set_rate()

    def _grant(self, asked: TakePermits) -> Grant:
        now_ns, campaign_id = self.now_ns(), asked.campaign_id
        unused = self._shares.tell(campaign_id, used=asked.used, in_flight=asked.in_flight, now_ns=now_ns)
        self._own_pace.give_back(campaign_id, unused)
        if (stopped := self._stopped(now_ns)) is not None:
            return stopped
        assert self._limits is not None  # else it is stopped
        horizon_ns = max(_HORIZON_NS, self._gate.plan.interval_ns * 3 // 2)
        # Each is how many may go by one rule. What comes first wins where they are equal.
        departures = gcra.available(self._gate.plan, now_ns=now_ns, horizon_ns=horizon_ns)
        departures -= self._shares.on_the_way(campaign_id, now_ns)
        connections = self._concurrency - self._shares.flying()
        own_limit = self._limits.own.get(campaign_id)
        wanted = asked.wanted
        if own_limit is not None:
            own = self._own_pace.available(campaign_id, own_limit, now_ns=now_ns, horizon_ns=_HORIZON_NS)
            wanted = min(wanted, own)
        count = self._shares.take(campaign_id, wanted, free=min(departures, connections), now_ns=now_ns)
        if own_limit is not None:
            self._own_pace.take(campaign_id, count, now_ns=now_ns)
        if own_limit is not None and count == wanted < asked.wanted:
            limited_by, detail = self._rate(own_limit, now_ns)
        elif connections < departures:
            limited_by, detail = "concurrency", f"{self._shares.flying()} requests in flight"
        else:
            limited_by, detail = self._rate(None, now_ns)
        wait_ms = _ASK_AGAIN_MS
        if limited_by == "concurrency":
            wait_ms = _ANSWERS_COME_MS
        return self._granted(count, wait_ms, limited_by, detail)

    def _grant_replies(self, wanted: int, in_flight: int) -> Grant:
        """What leaves within the horizon of replies, which is longer than the campaigns': so they come first."""
        now_ns = self.now_ns()
        if (stopped := self._stopped(now_ns)) is not None:
            return stopped
        departures = gcra.available(self._gate.plan, now_ns=now_ns, horizon_ns=_REPLY_HORIZON_NS)
        count = min(wanted, max(departures, 0 if in_flight else 1))
        return self._granted(count, _ASK_AGAIN_MS, *self._rate(None, now_ns))

    def _stopped(self, now_ns: int) -> Grant | None:
        """Grant nothing, if nothing may leave now."""
        if self._limits is None:
            return self._nothing(10, "paused", "the number is starting")
        if now_ns < self._held_until_ns:
            wait_ms = (self._held_until_ns - now_ns) // 1_000_000 + 1
            return self._nothing(min(wait_ms, 250), *self._holding(now_ns))
        if now_ns >= self._gate.lease_until_ns:
            return self._nothing(100, "database", "the lease of this number could not be renewed")
        return None

    def _rate(self, own_limit: OwnLimit | None, now_ns: int) -> tuple[LimitedBy, str]:
        """What to call it when the rate is the limit: the campaign's own, the number's, or what Meta leaves of it."""
        if own_limit is not None:
            return "rate", own_limit.sentence
        if self._mps < self._max_mps:
            since = f" since {self._slowed_at:%H:%M} UTC" if self._slowed_at else ""
            why = f": {self._held_reason}" if self._held_reason else ""
            return "throttled", f"{self._mps:.0f} of {self._max_mps} a second{since}{why}"
        others = self._shares.contenders(now_ns) - 1
        shared = f", shared with {others} other campaign{'s' if others > 1 else ''}" if others > 0 else ""
        return "rate", f"{self._max_mps} a second{shared}"

    def _holding(self, now_ns: int) -> tuple[LimitedBy, str]:
        until = datetime.now(UTC) + timedelta(microseconds=(self._held_until_ns - now_ns) / 1000)
        limited_by: LimitedBy = "throttled" if self._throttled else "paused"
        return limited_by, f"until {until:%H:%M:%S} UTC: {self._held_reason}"

    def _nothing(self, wait_ms: int, limited_by: LimitedBy, detail: str) -> Grant:
        return self._granted(0, wait_ms, limited_by, detail)

    def _granted(self, count: int, wait_ms: int, limited_by: LimitedBy, detail: str) -> Grant:
        portfolio_id = self._limits.portfolio_id if self._limits else None
        return Grant(count, wait_ms, self._gate, self._sender, portfolio_id, limited_by, detail)

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
