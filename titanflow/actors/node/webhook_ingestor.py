"""WebhookIngestor: commits what Meta sends, many requests in one transaction, before anybody answers 200.

A few partitions a process; children of Webhooks (PartitionSupervisor, permanent). Group commit: while one batch is
being written, the next one gathers in the mailbox. A crash answers nobody, so Meta delivers again. While the database
is away, batches are refused for moments without asking it, so that nobody waits in line for a 503. What was committed
is kept as it came, too, in hourly files: after the answer, and only as long as there is room. OTP: gen_server.
"""

import itertools
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from titanflow.actors.node import reported_failures
from titanflow.actors.node.node import node_id
from titanflow.actors.number import media_downloader, rate_limiter
from titanflow.domain.inbox import MEDIA_KINDS
from titanflow.domain.webhooks import WebhookBatch, merged
from titanflow.errors import StorageUnavailable, Unavailable
from titanflow.storage.database import Database
from titanflow.storage.webhook_batches import store
from titanflow.storage.webhook_files import WebhookFiles
from titanflow.supervision import (
    Call,
    CallExit,
    From,
    GenServer,
    NoReply,
    Reply,
    Stop,
    call,
    partition_of,
    reply,
    via,
)

log = structlog.get_logger()

PARTITIONS = 2

_GATHER_MS = 4
_BATCH = 500
_SLOW_MS = 500  # a refusal that took so long would take as long for the next batch
_REFUSE_MS = 250
_NO_ROOM_MS = 60_000
_turns = itertools.count()


@dataclass(frozen=True, slots=True)
class Ingest(Call[bool]):
    """Commit these updates of `body`. The reply is True after the commit, False if the database is away."""

    batch: WebhookBatch
    body: bytes


class _Flush:
    """To self."""


def ingest(batch: WebhookBatch, body: bytes = b"", *, timeout_s: float = 10.0) -> None:
    """Commit a batch of updates. Returns after the commit. body: as it came, to be kept for a while.

    Raises Unavailable if that can't be had in time: Meta must deliver it again. It may be committed all the same;
    a second time changes nothing.
    """
    try:
        committed = call(partition_of(via("webhooks"), next(_turns)), Ingest(batch, body), timeout_s=timeout_s)
    except CallExit as error:
        raise Unavailable("Webhooks can't be taken in right now", why=str(error.reason)[:200]) from error
    if not committed:
        raise StorageUnavailable("PostgreSQL is away", fix="Deliver the webhook again.")


class WebhookIngestor(GenServer):
    """Gathers for _GATHER_MS or _BATCH updates, then writes."""

    mailbox_limit = 2_000
    mailbox_policy = "refuse"

    def __init__(self, db: Database, folder: Path | None = None, partition: int = 0) -> None:
        self._db, self._folder, self._partition = db, folder, partition  # folder None: nothing is kept as it came

    def init(self) -> None:
        """Begin empty."""
        self._node_id = node_id()
        self._waiting: list[From] = []
        self._gathered: list[WebhookBatch] = []
        self._bodies: list[bytes] = []
        self._files = WebhookFiles(self._folder, f"{self._node_id}-{self._partition}") if self._folder else None
        self._files_again_ns = 0
        self._count = 0
        self._flushing = False
        self._refusing_until_ns = 0

    def handle_call(self, request: Call[Any], sender: From) -> Reply | NoReply | Stop:
        """Gather."""
        match request:
            case Ingest(batch, body):
                if self.now_ns() < self._refusing_until_ns:
                    return Reply(False)
                self._waiting.append(sender)
                self._gathered.append(batch)
                if self._files is not None and body:
                    self._bodies.append(body)
                self._count += len(batch)
                if self._count >= _BATCH:
                    self._flush()
                elif not self._flushing:
                    self._flushing = True
                    self.send_after(_GATHER_MS, _Flush())
                return NoReply()
        return super().handle_call(request, sender)

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Write what was gathered."""
        if not isinstance(message, _Flush):
            return super().handle_info(message)
        self._flushing = False
        self._flush()
        return None

    def observed_state(self) -> dict[str, object]:
        """For `observe()`."""
        return {"waiting": len(self._waiting), "gathered": self._count}

    def _flush(self) -> None:
        if not self._waiting:
            return
        waiting, batch, bodies = self._waiting, merged(self._gathered), self._bodies
        self._waiting, self._gathered, self._bodies, self._count = [], [], [], 0
        began_ns = self.now_ns()
        try:
            reported = store(self._db, batch, node_id=self._node_id)
        except StorageUnavailable as error:
            log.warning("webhooks.not_committed", count=len(batch), why=error.why)
            if self.now_ns() - began_ns > _SLOW_MS * 1_000_000:  # else it was one dead connection, and there are others
                self._refusing_until_ns = self.now_ns() + _REFUSE_MS * 1_000_000
            for sender in waiting:
                reply(sender, False)
            return
        for sender in waiting:
            reply(sender, True)
        for phone_number_id, count in Counter(message.phone_number_id for message in batch.messages).items():
            rate_limiter.inbound(phone_number_id, count)
        if any(message.type in MEDIA_KINDS for message in batch.messages):
            media_downloader.look()
        reported_failures.follow_up(reported)
        self._keep(bodies)

    def _keep(self, bodies: list[bytes]) -> None:
        if self._files is None or not bodies or self.now_ns() < self._files_again_ns:
            return
        try:
            self._files.append(bodies, at=datetime.now(UTC))
        except OSError as error:
            log.error("webhooks.not_kept", count=len(bodies), why=error.strerror)
            self._files.close()
            self._files_again_ns = self.now_ns() + _NO_ROOM_MS * 1_000_000
