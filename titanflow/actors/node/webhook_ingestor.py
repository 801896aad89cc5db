"""WebhookIngestor: commits what Meta sends, many requests in one transaction, before anybody answers 200.

A few partitions a process; children of Webhooks (PartitionSupervisor, permanent). Group commit: while one batch is
being written, the next one gathers in the mailbox. A crash answers nobody, so Meta delivers again. OTP: gen_server.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from titanflow.actors.node.node import node_id
from titanflow.actors.node.reconciler import nudge
from titanflow.actors.number import consequences, media_downloader, rate_limiter
from titanflow.actors.number.consequences import Happened
from titanflow.domain.inbox import MEDIA_KINDS
from titanflow.domain.outcomes import ErrorRule
from titanflow.domain.webhooks import WebhookBatch, merged
from titanflow.errors import StorageUnavailable, Unavailable
from titanflow.meta.error_policy import DOUBTFUL_CODES, rule_for
from titanflow.storage import failure_runs
from titanflow.storage.database import Database
from titanflow.storage.statuses import Reported
from titanflow.storage.webhook_batches import store
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
    partition_of,
    reply,
    via,
)

log = structlog.get_logger()

PARTITIONS = 2

_GATHER_MS = 4
_BATCH = 500
_AGAIN_MS = 500
_JUDGE_MS = 250
_MOST_LOOKED_AT = 16  # failures between two looks: if all are in a run, any of them shows it
_turns = itertools.count()


@dataclass(frozen=True, slots=True)
class Ingest(Call[bool]):
    """Commit these updates. The reply is True after the commit, False if the database is away."""

    batch: WebhookBatch


@dataclass(frozen=True, slots=True)
class FollowUp(Cast):
    """Carry out what follows from statuses that were committed elsewhere."""

    reported: tuple[Reported, ...]


class _Flush:
    """To self."""


class _CarryOut:
    """To self: the database was away."""


class _Judge:
    """To self: are the failures of a moment a run?"""


@dataclass(slots=True)
class _Suspect:
    """Failures that mean something only if there are many in a row."""

    rule: ErrorRule
    template_id: int
    contact_ids: list[int] = field(default_factory=list)


def ingest(batch: WebhookBatch, *, timeout_s: float = 10.0) -> None:
    """Commit a batch of updates. Returns after the commit.

    Raises Unavailable if that can't be had in time: Meta must deliver it again. It may be committed all the same;
    a second time changes nothing.
    """
    try:
        committed = call(partition_of(via("webhooks"), next(_turns)), Ingest(batch), timeout_s=timeout_s)
    except CallExit as error:
        raise Unavailable("Webhooks can't be taken in right now", why=str(error.reason)[:200]) from error
    if not committed:
        raise StorageUnavailable("PostgreSQL is away", fix="Deliver the webhook again.")


def follow_up(reported: Sequence[Reported]) -> None:
    """Let what parked statuses report have its consequences, as if they had come now. Lost if the ingestor crashes."""
    if reported:
        cast(partition_of(via("webhooks"), 0), FollowUp(tuple(reported)))


class WebhookIngestor(GenServer):
    """Gathers for _GATHER_MS or _BATCH updates, then writes."""

    mailbox_limit = 2_000
    mailbox_policy = "refuse"

    def __init__(self, db: Database) -> None:
        self._db = db

    def init(self) -> None:
        """Begin empty."""
        self._node_id = node_id()
        self._waiting: list[From] = []
        self._gathered: list[WebhookBatch] = []
        self._count = 0
        self._flushing = False
        self._happened: list[Happened] = []  # whose consequences are still to be carried out
        self._suspects: dict[tuple[int, int, tuple[int, ...]], _Suspect] = {}  # campaign, number, codes

    def handle_call(self, request: Call[Any], sender: From) -> Reply | NoReply | Stop:
        """Gather."""
        match request:
            case Ingest(batch):
                self._waiting.append(sender)
                self._gathered.append(batch)
                self._count += len(batch)
                if self._count >= _BATCH:
                    self._flush()
                elif not self._flushing:
                    self._flushing = True
                    self.send_after(_GATHER_MS, _Flush())
                return NoReply()
        return super().handle_call(request, sender)

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Follow up what somebody else committed."""
        match message:
            case FollowUp(reported):
                self._follow_up(reported)
                return None
        return super().handle_cast(message)

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Write what was gathered, or finish what follows from it."""
        match message:
            case _Flush():
                self._flushing = False
                self._flush()
            case _CarryOut():
                self._carry_out()
            case _Judge():
                self._judge()
            case _:
                return super().handle_info(message)
        return None

    def observed_state(self) -> dict[str, object]:
        """For `observe()`."""
        return {"waiting": len(self._waiting), "gathered": self._count}

    def _flush(self) -> None:
        if not self._waiting:
            return
        waiting, batch = self._waiting, merged(self._gathered)
        self._waiting, self._gathered, self._count = [], [], 0
        try:
            reported = store(self._db, batch, node_id=self._node_id)
        except StorageUnavailable as error:
            log.warning("webhooks.not_committed", count=len(batch), why=error.why)
            for sender in waiting:
                reply(sender, False)
            return
        for sender in waiting:
            reply(sender, True)
        for phone_number_id, count in Counter(message.phone_number_id for message in batch.messages).items():
            rate_limiter.inbound(phone_number_id, count)
        if any(message.type in MEDIA_KINDS for message in batch.messages):
            media_downloader.look()
        self._follow_up(reported)

    def _follow_up(self, reported: Sequence[Reported]) -> None:
        """Most refusals of a person or an account come this way, after the 200: the consequences are the same."""
        for one in reported:
            if one.error_code is None:
                continue
            rule = rule_for(one.error_code)
            if rule.breaker <= 1:
                self._happened.append(Happened(rule, one.campaign_id, one.number_id, one.template_id, one.count, 1))
                continue
            if not self._suspects:
                self.send_after(_JUDGE_MS, _Judge())
            codes = DOUBTFUL_CODES if rule.verdict == "doubt" else (rule.code,)
            suspect = self._suspects.setdefault(
                (one.campaign_id, one.number_id, codes), _Suspect(rule, one.template_id)
            )
            suspect.contact_ids += one.contact_ids or []
        self._carry_out()

    def _judge(self) -> None:
        """Ask the rows, at most four times a second, and only while such failures come."""
        try:
            while self._suspects:
                key = next(iter(self._suspects))
                self._happened.append(self._judged(*key, self._suspects[key]))
                del self._suspects[key]
        except StorageUnavailable as error:
            log.warning("failures.not_judged_yet", count=len(self._suspects), why=error.why)
            self.send_after(_AGAIN_MS, _Judge())
        self._carry_out()

    def _judged(self, campaign_id: int, number_id: int, codes: tuple[int, ...], suspect: _Suspect) -> Happened:
        failed = sorted(suspect.contact_ids)
        in_a_row = failure_runs.longest(
            self._db,
            failed[:: -(-len(failed) // _MOST_LOOKED_AT)],
            campaign_id=campaign_id,
            number_id=number_id,
            codes=codes,
            breaker=suspect.rule.breaker,
        )
        return Happened(suspect.rule, campaign_id, number_id, suspect.template_id, len(failed), in_a_row)

    def _carry_out(self) -> None:
        try:
            consequences.carry_out(self._db, self._happened, nudge=nudge)
        except StorageUnavailable as error:
            log.warning("consequences.not_carried_out_yet", count=len(self._happened), why=error.why)
            self.send_after(_AGAIN_MS, _CarryOut())
