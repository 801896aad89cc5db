"""CounterSyncer: tells the world how a campaign stands, at most twice a second, and proves its counters.

One per campaign on each node that serves it; child of Campaign <id> (rest_for_one, permanent). Memory only.
Counts come from PostgreSQL, where they change in the transaction that changes the rows; what happens right now
comes from the number's dispatchers, by cast, and from the other nodes' numbers by way of Redis. A crash costs half a
second of freshness. OTP model: gen_server.
"""

from dataclasses import dataclass
from typing import Any

import structlog

from titanflow.domain.live import CampaignLive, NumberLive, nobody_sends, of_campaign
from titanflow.errors import StorageUnavailable
from titanflow.storage import counters, desired
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy, Numbers
from titanflow.supervision import (
    Call,
    CallExit,
    Cast,
    From,
    GenServer,
    NoReply,
    Reply,
    Stop,
    call,
    cast,
    via,
)

log = structlog.get_logger()

_PUBLISH_EVERY_MS = 500
_RECOUNT_EVERY_MS = 5 * 60 * 1000
_ROLL_UPS_EVERY = 6  # recounts: with a million contacts they are seconds of work for PostgreSQL
_REPORT_IS_FRESH_NS = 3_000_000_000


@dataclass(frozen=True, slots=True)
class Report(Cast):
    """What a dispatcher sees of this campaign on its number."""

    live: NumberLive


@dataclass(frozen=True, slots=True)
class GetLive(Call[CampaignLive]):
    """Ask for what happens right now."""


class _Publish:
    """To self."""


class _Recount:
    """To self."""


def report(campaign_id: int, number: NumberLive) -> None:
    """Tell what a number does for a campaign. Lost if the campaign's tree is down."""
    cast(via("counter_syncer", campaign_id), Report(number))


def live(campaign_id: int, *, timeout_s: float = 0.5) -> CampaignLive | None:
    """Return what happens right now; None if the campaign has no tree on this node."""
    try:
        return call(via("counter_syncer", campaign_id), GetLive(), timeout_s=timeout_s)
    except CallExit:
        return None


class CounterSyncer(GenServer):
    """Publishes while something changes; recounts every five minutes, roll-ups every half hour."""

    def __init__(self, db: Database, fast_copy: FastCopy, campaign_id: int, node_id: int) -> None:
        self._db, self._fast_copy, self._campaign_id, self._node_id = db, fast_copy, campaign_id, node_id

    def init(self) -> None:
        """Begin without knowing anything."""
        self._reports: dict[str, tuple[int, NumberLive]] = {}
        self._told: dict[int, Numbers] = {}  # by the other nodes
        self._live = CampaignLive(self._campaign_id, 0.0, "paused", "its numbers are starting", ())
        self._published: dict[str, object] = {}
        self._fast_copy_is_away = False
        self._recounts = 0
        self.send_after(_PUBLISH_EVERY_MS, _Publish())
        self.send_after(_RECOUNT_EVERY_MS, _Recount())

    def handle_call(self, request: Call[Any], sender: From) -> Reply | NoReply | Stop:
        """Answer with the latest reports."""
        match request:
            case GetLive():
                return Reply(self._live)
        return super().handle_call(request, sender)

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Keep a report."""
        match message:
            case Report(number):
                self._reports[number.phone_number_id] = (self.now_ns(), number)
                return None
        return super().handle_cast(message)

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Publish, or recount."""
        match message:
            case _Publish():
                self.send_after(_PUBLISH_EVERY_MS, _Publish())
                self._publish()
            case _Recount():
                self.send_after(_RECOUNT_EVERY_MS, _Recount())
                self._recount()
            case _:
                return super().handle_info(message)
        return None

    def _publish(self) -> None:
        oldest = self.now_ns() - _REPORT_IS_FRESH_NS
        own = tuple(number for at_ns, number in self._reports.values() if at_ns >= oldest)
        try:
            self._told = self._fast_copy.exchange_live(self._campaign_id, self._node_id, own)
            self._live = self._sum_up(own)
            # The first of the nodes that serve the campaign speaks for all of them.
            serving = [node_id for node_id, numbers in self._told.items() if numbers]
            if self._node_id == min(serving, default=self._node_id):
                self._announce()
            self._fast_copy_is_away = False
        except StorageUnavailable as error:
            self._told = {}
            if own:
                self._live = of_campaign(self._campaign_id, own)
            if not self._fast_copy_is_away:
                log.warning("counters.not_published", campaign_id=self._campaign_id, why=error.what)
            self._fast_copy_is_away = True

    def _sum_up(self, own: Numbers) -> CampaignLive:
        others = [number for node_id, told in self._told.items() if node_id != self._node_id for number in told]
        # A number has moved here from a node whose last word is still fresh: the own report is the newer one.
        numbers = {number.phone_number_id: number for number in (*others, *own)}
        if numbers:
            return of_campaign(self._campaign_id, list(numbers.values()))
        return nobody_sends(self._campaign_id, desired.number_states(self._db, self._campaign_id))

    def _announce(self) -> None:
        counts = counters.read(self._db, self._campaign_id)
        figures: dict[str, object] = {
            "campaign_id": self._campaign_id,
            "type": "stats",
            "total": counts.total,
            "counts": counts.by_state,
            "rate_now": round(self._live.rate_now, 1),
            "limited_by": self._live.limited_by,
            "limited_detail": self._live.limited_detail,
        }
        if figures != self._published:
            self._fast_copy.publish_stats(figures)
            self._published = figures

    def _recount(self) -> None:
        try:
            roll_ups = self._recounts % _ROLL_UPS_EVERY == 0
            drift = counters.heal(self._db, self._campaign_id, roll_ups=roll_ups)
            self._recounts += 1
        except StorageUnavailable as error:
            log.warning("counters.not_recounted", campaign_id=self._campaign_id, why=error.what)
            return
        if drift:
            log.error("counters.drifted", campaign_id=self._campaign_id, drift=drift)
