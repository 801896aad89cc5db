"""Janitor: forgets what has been kept long enough, in small batches.

One a process; child of Background (one_for_one, permanent). No state but the place in its round: a crash begins the
round again. Several nodes may do it at once: whoever comes second finds nothing left. OTP model: gen_server.

To have one more thing forgotten, add a Step to `steps`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from titanflow.errors import StorageUnavailable
from titanflow.storage import inbound_media, quarantine, retention, statuses, webhook_files
from titanflow.storage.database import Database
from titanflow.supervision import GenServer, NoReply, Stop

log = structlog.get_logger()

_EVERY_MS = 60_000
_QUARANTINE_DAYS = 15  # if webhooks are not kept otherwise
_BREATH_MS = 50  # between two batches, so that a long list never holds anybody up


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is forgotten. forget: removes at most `batch` of it in one short go, returns how many."""

    name: str
    forget: Callable[[], int]
    batch: int


def steps(db: Database, *, webhook_folder: Path, webhook_days: int) -> list[Step]:
    """Return all that is forgotten by and by, in order. webhook_folder: this host's (storage/webhook_files)."""
    return [
        Step(
            "webhooks as they came",
            lambda: webhook_files.forget(webhook_folder, older_than_days=webhook_days, limit=50),
            50,
        ),
        Step(
            "unreadable webhooks",
            lambda: quarantine.forget(db, older_than_days=webhook_days or _QUARANTINE_DAYS, limit=1_000),
            1_000,
        ),
        Step("parked statuses", lambda: statuses.forget_parked(db, older_than_days=7, limit=5_000), 5_000),
        Step("ended campaigns, closed", lambda: retention.close(db, limit=100), 100),
        Step("messages of closed campaigns", lambda: retention.purge(db), 1),
        Step("conversations", lambda: retention.forget_conversations(db, limit=50), 50),
        Step("files that people sent", lambda: _expire_media(db), 20),
    ]


def _expire_media(db: Database) -> int:
    return inbound_media.expire(db, older_than_days=retention.read(db).media_days, limit=20)


class _Round:
    """To self: begin."""


class _Go:
    """To self: one batch more."""


class Janitor(GenServer):
    """Makes a round each minute; a step that found a full batch goes on before the next one."""

    def __init__(self, all_steps: Sequence[Step]) -> None:
        self._steps = list(all_steps)

    def init(self) -> None:
        """Begin soon."""
        self._left: list[Step] = []
        self._forgotten = 0
        self.send_after(_EVERY_MS, _Round())

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Begin a round, or do one batch of it."""
        match message:
            case _Round():
                self._left, self._forgotten = list(self._steps), 0
                self._go()
            case _Go():
                self._go()
            case _:
                return super().handle_info(message)
        return None

    def observed_state(self) -> dict[str, object]:
        """For `observe()`."""
        return {"step": self._left[0].name if self._left else "waiting"}

    def _go(self) -> None:
        if not self._left:
            self.send_after(_EVERY_MS, _Round())
            return
        step = self._left[0]
        try:
            count = step.forget()
        except (StorageUnavailable, OSError) as error:
            log.warning("janitor.step_failed", step=step.name, why=str(error))
            count = 0
        self._forgotten += count
        if count < step.batch:
            if self._forgotten:
                log.info("janitor.forgot", step=step.name, count=self._forgotten)
            self._left, self._forgotten = self._left[1:], 0
        self.send_after(_BREATH_MS, _Go())
