"""MediaUploader: brings files to Meta for a number, off the path of messages.

One a process; child of Background (one_for_one, permanent). Memory only: who needs a file asks again, and which process
uploads is decided by a row, so two never do the same. Each upload is a task, few at once, since a file may have 100 MB;
of it one piece is in memory. OTP model: gen_server with Task.Supervisor.async_nolink.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from titanflow.domain.vault import Vault
from titanflow.errors import StorageUnavailable, TitanFlowError
from titanflow.meta.management import Management, MetaRefused
from titanflow.storage import media, media_uploads
from titanflow.storage.database import Database
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
_TIMEOUT_S = 300
_PROLONG_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Want(Cast):
    """A number needs a file."""

    media_id: int
    number_id: int


@dataclass(frozen=True, slots=True)
class _TooLate:
    """To self: this upload has had its time."""

    want: Want
    task: Task[None]


def want(media_id: int, number_id: int) -> None:
    """Ask for a file to be brought to Meta. Lost if the uploader is down or busy: ask again while it isn't there."""
    cast(via("media_uploader"), Want(media_id, number_id))


class MediaUploader(GenServer):
    """Uploads at most _AT_ONCE files at a time."""

    mailbox_limit = 1_000

    def __init__(self, db: Database, vault: Vault, graph_url: str, api_version: str) -> None:
        self._db, self._vault, self._graph_url, self._api_version = db, vault, graph_url, api_version

    def init(self) -> None:
        """Begin idle."""
        self._running: dict[Want, Task[None]] = {}

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Begin an upload, unless it is under way or there are enough."""
        match message:
            case Want():
                if message not in self._running and len(self._running) < _AT_ONCE:
                    self._begin(message)
                return None
        return super().handle_cast(message)

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """An upload has ended, or takes too long."""
        match message:
            case TaskReply(ref, _) | Down(ref):
                self._running = {want: task for want, task in self._running.items() if task.ref is not ref}
            case _TooLate(want, task):
                if self._running.get(want) is task:
                    exit_process(task.pid, KILL)
                    del self._running[want]
                    log.warning("media.not_uploaded", media_id=want.media_id, number_id=want.number_id, why="too slow")
            case _:
                return super().handle_info(message)
        return None

    def observed_state(self) -> dict[str, object]:
        """For `observe()`."""
        return {"uploading": [f"media {one.media_id} for number {one.number_id}" for one in self._running]}

    def _begin(self, want: Want) -> None:
        try:
            task = async_nolink(via("tasks"), self._upload, want.media_id, want.number_id)
        except (StartError, CallExit):  # whoever needs it asks again
            return
        self._running[want] = task
        self.send_after(_TIMEOUT_S * 1000, _TooLate(want, task))

    def _upload(self, media_id: int, number_id: int) -> None:
        """In the task: upload, and write down what came of it."""
        try:
            job = media_uploads.begin(self._db, media_id, number_id)
            if job is None:
                return
            started_s = time.monotonic()
            meta = Management(self._graph_url, self._api_version, self._vault.decrypt(bytes(job.access_token)))
            try:
                found = meta.upload(
                    job.phone_number_id,
                    self._pieces(media_id, number_id),
                    size=job.size_bytes,
                    mime_type=job.mime_type,
                    filename=job.filename or f"media-{media_id}",
                )
            finally:
                meta.close()
            media_uploads.finish(self._db, media_id, number_id, meta_media_id=found)
            duration_ms = round((time.monotonic() - started_s) * 1000)
            log.info("media.uploaded", media_id=media_id, number_id=number_id, duration_ms=duration_ms)
        except StorageUnavailable as error:  # the row's time runs out, then somebody begins again
            log.warning("media.not_uploaded", media_id=media_id, number_id=number_id, why=error.why)
        except TitanFlowError as error:
            log.warning("media.not_uploaded", media_id=media_id, number_id=number_id, why=error.why)
            refused = isinstance(error, MetaRefused)
            media_uploads.fail(self._db, media_id, number_id, error=error.one_line(), refused=refused)

    def _pieces(self, media_id: int, number_id: int) -> Iterator[bytes]:
        said_s = time.monotonic()
        for piece in media.pieces(self._db, media_id):
            if time.monotonic() - said_s > _PROLONG_EVERY_S:
                said_s = time.monotonic()
                media_uploads.prolong(self._db, media_id, number_id)
            yield piece
