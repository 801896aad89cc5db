"""Rehearser: runs rehearsals one after the other, each in a process of its own, off the hub.

One a process; child of Background (one_for_one, permanent). What is asked for is in PostgreSQL, and one node takes
it. A rehearsal changes nothing, so nothing is tried again: one whose worker dies, or whose server stops, ends as
failed with the reason. A crash of this actor leaves a worker that ends by itself or is buried by its lock.
OTP model: gen_server with a port.
"""

from dataclasses import dataclass
from typing import Any

import structlog

from titanflow.actors.node.worker_process import WorkerProcess
from titanflow.errors import StorageUnavailable
from titanflow.settings import Settings
from titanflow.storage import rehearsals
from titanflow.storage.database import Database
from titanflow.supervision import Cast, GenServer, NoReply, Stop, cast, via

log = structlog.get_logger()

_LOOK_MS = 2_000
_POLL_MS = 100
_WORKER = "titanflow.services.rehearsal_worker"


@dataclass(frozen=True, slots=True)
class Nudge(Cast):
    """There is a rehearsal."""


class _Look:
    """To self."""


def nudge() -> None:
    """Say that there is something to rehearse."""
    cast(via("rehearser"), Nudge())


class Rehearser(GenServer):
    """At most one rehearsal at a time on each node."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._settings, self._db = settings, db

    def init(self) -> None:
        """Look at once."""
        self.trap_exit = True
        self._worker: WorkerProcess | None = None
        self._job: dict[str, Any] = {}
        self.send_after(0, _Look())

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Look now."""
        if isinstance(message, Nudge):
            self._step()
            return None
        return super().handle_cast(message)

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Look, and look again."""
        if not isinstance(message, _Look):
            return super().handle_info(message)
        self._step()
        self.send_after(_POLL_MS if self._worker else _LOOK_MS, _Look())
        return None

    def terminate(self, reason: object) -> None:
        """End the worker, and its rehearsal with the reason."""
        if self._worker is not None:
            self._worker.kill()
            try:
                rehearsals.end(self._db, self._job["id"], state="failed", error="The server was stopped. Ask again.")
            except StorageUnavailable as error:  # it is buried later
                log.warning("rehearsals.waiting", why=error.what)

    def observed_state(self) -> dict[str, object]:
        """For `observe()`."""
        return {"rehearsal_id": self._job.get("id") if self._worker else None}

    def _step(self) -> None:
        try:
            if self._worker is not None:
                self._watch(self._worker)
            if self._worker is None:
                self._begin_next()
        except StorageUnavailable as error:
            log.warning("rehearsals.waiting", why=error.what)

    def _watch(self, worker: WorkerProcess) -> None:
        ended = worker.ended()
        if ended is None:
            return
        self._worker = None
        keys = {"rehearsal_id": self._job["id"], "campaign_id": self._job["campaign_id"]}
        if ended.code == 0:
            log.info("rehearsal.finished", **keys)
            return
        log.error("rehearsal.crashed", why=ended.said, **keys)
        rehearsals.end(self._db, self._job["id"], state="failed", error=f"The rehearsal broke off: {ended.said}"[:500])

    def _begin_next(self) -> None:
        buried = rehearsals.bury(self._db)
        if buried:
            log.warning("rehearsals.buried", count=len(buried))
        job = rehearsals.take_next(self._db)
        if job is None:
            return
        self._job = job
        said = self._settings.data_dir / "uploads" / f"rehearsal-{job['id']}.log"
        self._worker = WorkerProcess(_WORKER, str(job["id"]), said)
        log.info("rehearsal.started", rehearsal_id=job["id"], campaign_id=job["campaign_id"])
        self.send_after(_POLL_MS, _Look())
