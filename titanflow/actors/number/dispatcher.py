"""Dispatcher: brings contacts, permits and workers of one campaign on one number together.

One per campaign and number; last child of DispatcherPool (rest_for_one, permanent), so it stops first. Permit
first, claim second: what it claims leaves within a blink. Contacts for whom the portfolio's budget has no place are
kept apart until one is free. What it holds unclaimed when it crashes is found by the campaign's sweep.
OTP model: gen_server.
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
from titanflow.domain.live import LimitedBy, LimitLog, NumberLive
from titanflow.domain.outcomes import Accepted, Rejected
from titanflow.domain.rendering import CompiledTemplate
from titanflow.errors import StorageUnavailable
from titanflow.storage import budget_claims, claims, portfolios
from titanflow.storage.buffers import Contact
from titanflow.storage.claims import Claim
from titanflow.storage.database import Database
from titanflow.supervision import Cast, GenServer, NoReply, Pid, Stop, Via, cast, send, which_children

log = structlog.get_logger()

_BATCH = 200
_IDLE_MS = 100
# Claims run ahead of departures by 60 ms: one that takes longer is what the number waits for.
_SLOW_CLAIM_NS = 60_000_000
# So many contacts without a place are kept while looking for people behind them who need none.
_APART_AT_MOST = 2_000
_LOOK_AT_BUDGET_NS = 1_000_000_000
_ANSWER_SMOOTHING = 0.02
_OUTAGE_MS = 500
_WAITING_MS = 250
_REPORT_EVERY_MS = 500
_RATE_WINDOW_NS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """What a pool serves."""

    campaign_id: int
    number_id: int
    phone_number_id: str


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
        self._busy: dict[Pid, int] = {}  # since when
        self._answer_ms = 0.0  # how long an answer takes, smoothed
        self._held: deque[Contact] = deque()
        self._held_again = False
        self._template = TemplateChoice(self._db, self._spec.campaign_id, self._spec.number_id, self._nudge)
        self._used = 0  # of the last grant
        self._apart: dict[int, Contact] = {}  # without a place in the budget
        self._portfolio_id: str | None = None
        self._look_at_budget_ns = 0
        self._budget = ""  # the forecast
        self._accepted: deque[tuple[int, int]] = deque()  # (when, how many) within the rate window
        self._limits = LimitLog()
        self._mps_now = 0.0
        self._pumping = False
        self._pump_in(0)
        self.send_after(_REPORT_EVERY_MS, _Tell())

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """A worker is free again."""
        match message:
            case Ready(worker, delivered):
                since_ns = self._busy.pop(worker, None)
                if since_ns is not None:
                    self._answer_ms += ((self.now_ns() - since_ns) / 1e6 - self._answer_ms) * _ANSWER_SMOOTHING
                    self._free.append(worker)
                else:
                    self._meet(worker)
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
                    self._used = 0
                    self._limits.add("database", error.what, _OUTAGE_MS)
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
            "without_place": len(self._apart),
            "limited_by": self._limits.most()[0],
        }

    def _meet(self, worker: Pid) -> None:
        """Take in a worker that has started, maybe in place of one that died with its message."""
        self._free = deque(pid for pid in self._free if pid.alive and pid is not worker)
        self._free.append(worker)
        self._busy = {pid: since_ns for pid, since_ns in self._busy.items() if pid.alive}

    def _pump(self) -> int:
        """Take one step. Returns after how many milliseconds to take the next."""
        waiting = self._fetch()
        if not self._held:
            if self._busy:
                self._ask(0)
            self._limits.add(*self._without_contacts(waiting), _IDLE_MS)
            return _IDLE_MS
        template = self._template.now(self.now_ns())
        if isinstance(template, Waiting):
            self._limits.add("paused", template.detail, _WAITING_MS)
            return _WAITING_MS
        grant = self._ask(min(len(self._held), len(self._free), _BATCH))
        limited_by, detail = grant.limited_by, grant.detail
        if not self._free:
            limited_by, detail = "concurrency", f"{len(self._busy)} requests in flight"
        if limited_by == "concurrency":
            detail = f"{detail}, answers take {self._answer_ms:.0f} ms"
        if grant.count == 0:
            self._limits.add(limited_by, detail, grant.wait_ms)
            return grant.wait_ms
        begun_ns = self.now_ns()
        is_last = grant.count == len(self._held)
        self._claim_and_deliver(grant, template)
        took_ns = self.now_ns() - begun_ns
        if self._apart and not self._used:
            limited_by, detail = "tier", self._budget
        elif took_ns > _SLOW_CLAIM_NS:
            limited_by, detail = "database", f"PostgreSQL takes {took_ns / 1e6:.0f} ms for a claim"
        elif is_last:
            return 0  # no rule was the limit, and there may be more contacts
        self._limits.add(limited_by, detail, grant.wait_ms + took_ns / 1e6)
        return 0 if is_last else grant.wait_ms

    def _ask(self, wanted: int) -> Grant:
        grant = rate_limiter.take_permits(
            self._spec.number_id, self._spec.campaign_id, wanted, used=self._used, in_flight=len(self._busy)
        )
        self._used = 0
        self._mps_now = grant.gate.plan.mps
        self._portfolio_id = grant.portfolio_id
        return grant

    def _fetch(self) -> str:
        """Hold contacts, if there are any. Returns what to say of those who wait until later, "" if nobody does."""
        if self._held:
            return ""
        if self._apart and self._may_have_places():
            self._held.extend(self._apart.values())
            self._held_again = False
            self._apart.clear()
            return ""
        if len(self._apart) >= _APART_AT_MOST:
            return ""
        batch = buffer_manager.take(self._spec.campaign_id, _BATCH)
        self._held.extend(contact for contact in batch.contacts if contact.id not in self._apart)
        self._held_again = batch.again
        return batch.waiting

    def _without_contacts(self, waiting: str) -> tuple[LimitedBy, str]:
        if self._apart:
            return "tier", self._budget
        if waiting:
            return "empty", waiting
        if self._busy:
            return "empty", f"the last {len(self._busy)} are on their way"
        return "empty", "nobody is waiting to be sent to"

    def _may_have_places(self) -> bool:
        """Look at the budget, at most once a second; True if it has places, or the portfolio has no limit any more."""
        now_ns = self.now_ns()
        if self._portfolio_id is None:
            return True
        if now_ns < self._look_at_budget_ns:
            return False
        self._look_at_budget_ns = now_ns + _LOOK_AT_BUDGET_NS
        budget = portfolios.budget(self._db, self._portfolio_id)
        self._budget = budget.forecast() if budget else ""
        return budget is None or budget.left > 0

    def _claim_and_deliver(self, grant: Grant, template: CompiledTemplate) -> None:
        contacts = list(islice(self._held, grant.count))
        taken = self._claim(grant, template, contacts)
        for _ in contacts:
            self._held.popleft()
        by_id = {contact.id: contact for contact in contacts}
        now_ns = self.now_ns()
        self._used = len(taken)
        for one in taken:
            assert one.log_id is not None  # a claim returns only what it took
            contact = by_id[one.contact_id]
            worker = self._free.popleft()
            self._busy[worker] = now_ns
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

    def _claim(self, grant: Grant, template: CompiledTemplate, contacts: list[Contact]) -> list[Claim]:
        contact_ids = [contact.id for contact in contacts]
        campaign_id, template_id = self._spec.campaign_id, template.template_id
        if grant.portfolio_id is None:
            return claims.claim(
                self._db,
                contact_ids,
                campaign_id=campaign_id,
                template_id=template_id,
                sender=grant.sender,
                again=self._held_again,
            )
        taken = budget_claims.claim_within_budget(
            self._db,
            contact_ids,
            portfolio_id=grant.portfolio_id,
            campaign_id=campaign_id,
            template_id=template_id,
            sender=grant.sender,
            again=self._held_again,
        )
        if taken.without_place and not self._held_again:  # tried again ones are due again in a minute, by their rows
            missing = set(taken.without_place)
            self._apart.update((contact.id, contact) for contact in contacts if contact.id in missing)
            self._may_have_places()  # for the forecast
        return taken.claims

    def _pump_in(self, in_ms: int) -> None:
        if not self._pumping:
            self._pumping = True
            if in_ms:
                self.send_after(in_ms, _Pump())
            else:
                send(self.pid, _Pump())

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
            *self._limits.most(begin_anew=True),
        )
