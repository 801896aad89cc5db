"""MediaDownloader: fetches what people send from Meta, off the webhook's path, before Meta forgets it (after 7 days).

One a process; child of Background (one_for_one, permanent). What is to be fetched are rows, and one node takes each: a
crash forgets nothing. Each fetch is a task, few at once, with one piece in memory. OTP model: gen_server with
Task.Supervisor.async_nolink.
"""

import time
from dataclasses import dataclass

import structlog

from titanflow.domain.vault import Vault
from titanflow.errors import StorageUnavailable, TitanFlowError
from titanflow.meta.management import MetaRefused
from titanflow.meta.media_download import WontFetch, fetch
from titanflow.storage import inbound_media
from titanflow.storage.database import Database
from titanflow.storage.inbound_media import Job
from titanflow.supervision import (
    KILL,
    CallExit,
    Cast,
    Down,
    GenServer,
    NoReply,
    StartError,
    Stop,
    Task,
    TaskReply,
    async_nolink,
    cast,
    exit_process,
    via,
)

log = structlog.get_logger()

_AT_ONCE = 3
_LOOK_MS = 2_000
_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Look(Cast):
    """There may be something to fetch."""


class _LookAgain:
    """To self."""


@dataclass(frozen=True, slots=True)
class _TooLate:
    """To self: this fetch has had its time."""

    message_id: int
    task: Task[None]


def look() -> None:
    """Say that there may be something to fetch. Lost if the downloader is down: it looks by itself soon."""
    cast(via("media_downloader"), Look())


class MediaDownloader(GenServer):
    """Fetches at most _AT_ONCE files at a time."""

    def __init__(self, db: Database, vault: Vault, graph_url: str, api_version: str) -> None:
        self._db, self._vault, self._graph_url, self._api_version = db, vault, graph_url, api_version

    def init(self) -> None:
        """Look soon."""
        self._running: dict[int, Task[None]] = {}
        self.send_after(_LOOK_MS, _LookAgain())

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Begin what is due."""
        match message:
            case Look():
                self._begin()
                return None
        return super().handle_cast(message)

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Look again; a fetch has ended, or takes too long."""
        match message:
            case _LookAgain():
                self.send_after(_LOOK_MS, _LookAgain())
                self._begin()
            case TaskReply(ref, _) | Down(ref):
                before = len(self._running)
                self._running = {key: task for key, task in self._running.items() if task.ref is not ref}
                if len(self._running) < before:
                    self._begin()
            case _TooLate(message_id, task):
                if self._running.get(message_id) is task:  # its row is due again in a minute
                    exit_process(task.pid, KILL)
                    del self._running[message_id]
                    log.warning("media.not_fetched", message_id=message_id, why="too slow")
            case _:
                return super().handle_info(message)
        return None

    def observed_state(self) -> dict[str, object]:
        """For `observe()`."""
        return {"fetching": sorted(self._running)}

    def _begin(self) -> None:
        room = _AT_ONCE - len(self._running)
        if room <= 0:
            return
        try:
            jobs = inbound_media.take(self._db, limit=room)
        except StorageUnavailable as error:
            log.warning("media.not_looked_for", why=error.why)
            return
        for job in jobs:
            try:
                task = async_nolink(via("tasks"), self._fetch, job)
            except (StartError, CallExit):  # it is due again when its time is over
                return
            self._running[job.message_id] = task
            self.send_after(_TIMEOUT_S * 1000, _TooLate(job.message_id, task))

    def _fetch(self, job: Job) -> None:
        """In the task: fetch, and write down what came of it."""
        started_s = time.monotonic()
        size = 0
        try:
            token = self._vault.decrypt(bytes(job.access_token))
            for position, piece in enumerate(
                fetch(
                    self._graph_url,
                    self._api_version,
                    token,
                    phone_number_id=job.phone_number_id,
                    meta_media_id=job.meta_media_id,
                )
            ):
                if not inbound_media.keep(self._db, job, position, piece):
                    return
                size += len(piece)
            inbound_media.finish(self._db, job, size_bytes=size)
            duration_ms = round((time.monotonic() - started_s) * 1000)
            log.info("media.fetched", message_id=job.message_id, size_bytes=size, duration_ms=duration_ms)
        except StorageUnavailable as error:  # the row's time runs out, then somebody begins again
            log.warning("media.not_fetched", message_id=job.message_id, why=error.why)
        except TitanFlowError as error:
            for_good = isinstance(error, WontFetch) or (isinstance(error, MetaRefused) and error.gone)
            log.warning("media.not_fetched", message_id=job.message_id, attempt=job.attempt, why=error.why)
            inbound_media.fail(self._db, job, error=error.one_line(), for_good=for_good)
