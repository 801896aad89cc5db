"""ReplySender: lets a number's replies of the inbox leave, before its campaigns' messages and within its rate.

One per phone number; last child of Number <id>'s replies (rest_for_one, permanent), so it stops first. It does nothing
until it is told that there is something: by whoever wrote a reply here, by the Recorder, by the Reconciler each second
while something is due. Permit first, claim second. No state worth keeping: what is to be sent are rows.
OTP model: gen_server.
"""

from collections import deque
from dataclasses import dataclass

import structlog

from titanflow.actors.number import media_uploader, rate_limiter
from titanflow.actors.number.reply_worker import DeliverReply
from titanflow.actors.number.worker import Ready
from titanflow.errors import StorageUnavailable
from titanflow.storage import outbox
from titanflow.storage.database import Database
from titanflow.supervision import Cast, GenServer, NoReply, Pid, Stop, Via, cast, via, which_children

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Look(Cast):
    """There may be something to send."""


class _LookAgain:
    """To self: the number could not send, or there was more than workers."""


def nudge(number_id: int) -> None:
    """Say that a number may have replies to send. Lost if it is not served here: its own node looks within a second."""
    cast(via("reply_sender", number_id), Look())


class ReplySender(GenServer):
    """Permits -> claim -> workers."""

    def __init__(self, db: Database, number_id: int, workers: Via) -> None:
        self._db, self._number_id, self._workers = db, number_id, workers

    def init(self) -> None:
        """Begin with all workers free, and look."""
        self.trap_exit = True  # a stop waits for the claim under way: what it took goes to the workers, which drain
        self._free: deque[Pid] = deque(
            child.pid for child in which_children(self._workers) if isinstance(child.pid, Pid)
        )
        self._busy: set[Pid] = set()
        self._looking = False
        self._look_in(0)

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Look soon: many nudges at once make one look."""
        match message:
            case Look():
                self._look_in(1)
                return None
            case Ready(worker):
                if worker in self._busy:
                    self._busy.discard(worker)
                    self._free.append(worker)
                else:
                    self._meet(worker)
                self._look_in(1)
                return None
        return super().handle_cast(message)

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Look."""
        if not isinstance(message, _LookAgain):
            return super().handle_info(message)
        self._looking = False
        try:
            self._look()
        except StorageUnavailable as error:  # the Reconciler says it again
            log.warning("replies.not_claimed", number_id=self._number_id, why=error.why)
        return None

    def observed_state(self) -> dict[str, object]:
        """For `observe()`."""
        return {"number_id": self._number_id, "in_flight": len(self._busy), "free_workers": len(self._free)}

    def _look(self) -> None:
        if not self._free:
            return  # whoever is ready next makes it look
        grant = rate_limiter.take_reply_permits(self._number_id, len(self._free), in_flight=len(self._busy))
        if grant.count == 0:
            self._look_in(grant.wait_ms)
            return
        taken = outbox.claim(self._db, sender=grant.sender, limit=grant.count, portfolio_id=grant.portfolio_id)
        for media_id in taken.missing_media:
            media_uploader.want(media_id, self._number_id)
        for claim in taken.claims:
            worker = self._free.popleft()
            self._busy.add(worker)
            cast(worker, DeliverReply(claim, grant.gate))
        if taken.more:
            self._look_in(grant.wait_ms)

    def _meet(self, worker: Pid) -> None:
        """Take in a worker that has started, maybe in place of one that died with its reply."""
        self._free = deque(pid for pid in self._free if pid.alive and pid is not worker)
        self._free.append(worker)
        self._busy = {pid for pid in self._busy if pid.alive}

    def _look_in(self, in_ms: int) -> None:
        if not self._looking:
            self._looking = True
            self.send_after(in_ms, _LookAgain())
