"""Dispatcher: brings contacts, permits and workers of one campaign on one number together.

One per campaign and number; last child of DispatcherPool (rest_for_one, permanent), so it stops first. Permit
first, claim second: what it claims leaves within a blink. What it holds unclaimed when it crashes is found by the
campaign's sweep. OTP model: gen_server.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import structlog

from titanflow.actors.campaign import buffer_manager, counter_syncer
from titanflow.actors.number import rate_limiter
from titanflow.actors.number.rate_limiter import Grant
from titanflow.actors.number.template_choice import TemplateChoice, Waiting
from titanflow.actors.number.worker import Deliver, Ready
from titanflow.domain.live import LimitedBy, NumberLive
from titanflow.domain.outcomes import Accepted, Rejected
from titanflow.domain.rendering import CompiledTemplate
from titanflow.errors import StorageUnavailable
from titanflow.storage import claims
from titanflow.storage.buffers import Contact
from titanflow.storage.database import Database
from titanflow.supervision import Cast, GenServer, NoReply, Pid, Stop, Via, cast, send, which_children

log = structlog.get_logger()

_BATCH = 200
_IDLE_MS = 100
_BUSY_MS = 5
_OUTAGE_MS = 500
_WAITING_MS = 250
_REPORT_EVERY_MS = 500
_RATE_WINDOW_NS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """What a pool serves. max_mps: the campaign's own limit over all its numbers, shared out to this one."""

    campaign_id: int
    number_id: int
    phone_number_id: str
    max_mps: int | None


class _Pump:
    """To self: go on."""


class _Tell:
    """To self: report to the campaign."""


class Dispatcher(GenServer):
    """Pumps: contacts -> permits -> claim -> workers."""

    mailbox_limit = 20_000

    def __init__(self, db: Database, spec: PoolSpec, workers: Via, nudge: Callable[[], None]) -> None:
        self._db, self._spec, self._workers, self._nudge = db, spec, workers, nudge

    def init(self) -> None:
        """Begin with all workers free."""
        self.trap_exit = True  # a stop waits for the claim under way: what it took goes to the workers, which drain
        self._free: deque[Pid] = deque(
            child.pid for child in which_children(self._workers) if isinstance(child.pid, Pid)
        )
        self._busy: set[Pid] = set()
        self._held: deque[Contact] = deque()
        self._held_again = False
        self._template = TemplateChoice(self._db, self._spec.campaign_id, self._spec.number_id, self._nudge)
        self._accepted: deque[tuple[int, int]] = deque()  # (when, how many) within the rate window
        self._limited_by: LimitedBy = "empty"
        self._limited_detail = ""
        self._mps_now = 0.0
        self._pumping = False
        self._pump_in(0)
        self.send_after(_REPORT_EVERY_MS, _Tell())

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """A worker is free again."""
        match message:
            case Ready(worker, delivered):
                self._busy.discard(worker)
                if delivered is None and worker in self._free:
                    return None
                self._free.append(worker)
                match delivered:
                    case Accepted():
                        self._count_accepted()
                    case Rejected(rule):
                        self._template.doubt(rule)
                return None
        return super().handle_cast(message)

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Pump, or report."""
        match message:
            case _Pump():
                self._pumping = False
                try:
                    self._pump_in(self._pump())
                except StorageUnavailable as error:
                    self._held.clear()  # some may be claimed: the sweep will tell them apart
                    self._limit("database", error.what)
                    self._pump_in(_OUTAGE_MS)
            case _Tell():
                self.send_after(_REPORT_EVERY_MS, _Tell())
                counter_syncer.report(self._spec.campaign_id, self._live())
            case _:
                return super().handle_info(message)
        return None

    def observed_state(self) -> dict[str, object]:
        """For `observe()`."""
        return {
            "campaign_id": self._spec.campaign_id,
            "number_id": self._spec.number_id,
            "in_flight": len(self._busy),
            "free_workers": len(self._free),
            "limited_by": self._limited_by,
        }

    def _pump(self) -> int:
        """Take one step. Returns after how many milliseconds to take the next."""
        if not self._free:
            self._limit("concurrency", f"all {len(self._busy)} requests are waiting for Meta's answer")
            return _BUSY_MS
        if not self._held:
            batch = buffer_manager.take(self._spec.campaign_id, _BATCH)
            self._held.extend(batch.contacts)
            self._held_again = batch.again
        if not self._held:
            self._limit("empty", "nobody is waiting to be sent to")
            return _IDLE_MS
        template = self._template.now(self.now_ns())
        if isinstance(template, Waiting):
            self._limit("paused", template.detail)
            return _WAITING_MS
        grant = rate_limiter.take_permits(
            self._spec.number_id,
            self._spec.campaign_id,
            min(len(self._held), len(self._free), _BATCH),
            in_flight=len(self._busy),
            max_mps=self._spec.max_mps,
        )
        self._mps_now = grant.gate.plan.mps
        self._limit(grant.limited_by, grant.detail)
        if grant.count > 0:
            self._claim_and_deliver(grant, template)
        return grant.wait_ms

    def _claim_and_deliver(self, grant: Grant, template: CompiledTemplate) -> None:
        contacts = list(islice(self._held, grant.count))
        taken = claims.claim(
            self._db,
            [contact.id for contact in contacts],
            campaign_id=self._spec.campaign_id,
            template_id=template.template_id,
            sender=grant.sender,
            again=self._held_again,
        )
        for _ in contacts:
            self._held.popleft()
        by_id = {contact.id: contact for contact in contacts}
        for one in taken:
            assert one.log_id is not None  # claim() returns only what it took
            contact = by_id[one.contact_id]
            worker = self._free.popleft()
            self._busy.add(worker)
            message: Any = Deliver(
                self._spec.campaign_id,
                one.log_id,
                one.attempt,
                contact.phone,
                contact.variables,
                template,
                grant.gate,
            )
            cast(worker, message)

    def _pump_in(self, in_ms: int) -> None:
        if not self._pumping:
            self._pumping = True
            if in_ms:
                self.send_after(in_ms, _Pump())
            else:
                send(self.pid, _Pump())

    def _limit(self, limited_by: LimitedBy, detail: str) -> None:
        self._limited_by, self._limited_detail = limited_by, detail

    def _count_accepted(self) -> None:
        second = self.now_ns() // 1_000_000_000 * 1_000_000_000
        if self._accepted and self._accepted[-1][0] == second:
            self._accepted[-1] = (second, self._accepted[-1][1] + 1)
        else:
            self._accepted.append((second, 1))

    def _live(self) -> NumberLive:
        now_ns = self.now_ns()
        while self._accepted and self._accepted[0][0] < now_ns - _RATE_WINDOW_NS:
            self._accepted.popleft()
        span_s = min(5.0, max(1.0, (now_ns - self._accepted[0][0]) / 1e9)) if self._accepted else 5.0
        rate = sum(count for _, count in self._accepted) / span_s
        return NumberLive(
            self._spec.phone_number_id,
            round(self._mps_now, 1),
            round(rate, 1),
            len(self._busy),
            self._limited_by,
            self._limited_detail,
        )
