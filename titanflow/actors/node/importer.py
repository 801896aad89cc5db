"""Importer: runs contact imports one after the other, each in a process of its own, off the hub.

One a process; child of Background (one_for_one, permanent). What should be imported is in PostgreSQL; a crash of
this actor or of the server starts the import again from its file, and an advisory lock lets only one worker have
it. Files of finished imports are removed here. OTP model: gen_server with a port.
"""

from dataclasses import dataclass
from typing import Any

import structlog

from titanflow.actors.node.worker_process import WorkerProcess
from titanflow.errors import StorageUnavailable
from titanflow.settings import Settings
from titanflow.storage import imports
from titanflow.storage.database import Database
from titanflow.supervision import Cast, GenServer, NoReply, Stop, cast, via

log = structlog.get_logger()

_LOOK_MS = 2_000
_POLL_MS = 100
_TRIES = 3
_WORKER = "titanflow.services.import_worker"


@dataclass(frozen=True, slots=True)
class Nudge(Cast):
    """There is an import."""


class _Look:
    """To self."""


def nudge() -> None:
    """Say that there is something to import."""
    cast(via("importer"), Nudge())


class Importer(GenServer):
    """At most one import at a time on each node."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._settings, self._db = settings, db

    def init(self) -> None:
        """Look at once."""
        self.trap_exit = True
        self._uploads = self._settings.data_dir / "uploads"
        self._said = self._uploads / "import-worker.log"
        self._worker: WorkerProcess | None = None
        self._job: dict[str, Any] = {}
        self._tries: dict[int, int] = {}
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
        """End the worker; whoever comes next starts the import again."""
        if self._worker is not None:
            self._worker.kill()

    def _step(self) -> None:
        try:
            if self._worker is not None:
                self._watch(self._worker)
            if self._worker is None:
                self._begin_next()
        except StorageUnavailable as error:
            log.warning("imports.waiting", why=error.what)

    def _watch(self, worker: WorkerProcess) -> None:
        ended = worker.ended()
        if ended is None:
            return
        import_id = int(self._job["id"])
        self._worker = None
        if ended.code != 0:
            self._tries[import_id] = self._tries.get(import_id, 0) + 1
            log.error("import.crashed", import_id=import_id, why=ended.said, tries=self._tries[import_id])
            if self._tries[import_id] >= _TRIES:
                imports.fail(self._db, import_id, error=f"The import broke off {_TRIES} times: {ended.said}"[:500])
                self._remove(self._job["file"])
        else:
            self._tries.pop(import_id, None)
            if all(one["id"] != import_id for one in imports.running(self._db)):
                log.info("import.finished", import_id=import_id)
                self._remove(self._job["file"])

    def _begin_next(self) -> None:
        jobs = imports.running(self._db)
        if not jobs:
            return
        self._job = jobs[0]
        self._worker = WorkerProcess(_WORKER, str(self._job["id"]), self._said)
        log.info("import.started", import_id=self._job["id"], campaign_id=self._job["campaign_id"])
        self.send_after(_POLL_MS, _Look())

    def _remove(self, name: str) -> None:
        (self._uploads / name).unlink(missing_ok=True)
