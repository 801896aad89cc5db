"""BufferManager: the contacts of one campaign, read ahead of the senders and handed out in order.

One per campaign on each node that serves it; child of Campaign <id> (rest_for_one, permanent). Memory only:
losing it loses nobody, since whoever was handed out but not claimed is found by a sweep at the end of the list.
OTP model: gen_server.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from titanflow.errors import StorageUnavailable
from titanflow.storage import buffers, counters
from titanflow.storage.buffers import Contact
from titanflow.storage.database import Database
from titanflow.supervision import Call, From, GenServer, NoReply, Reply, Stop, call, via

log = structlog.get_logger()

_REFILL = 1_000
_LOW_WATER = 1_000
_DUE_EVERY_MS = 1_000
_WAITING_EVERY = 5  # looks
_IDLE_MS = 500
_LONGEST_IDLE_MS = 8_000
# Contacts that a sweep finds again are waiting in somebody's hands, for a place in a daily budget: look seldom.
_LONGEST_KNOWN_MS = 60_000
_SWEPT_AT_MOST = 20_000
_RETRY_MS = 1_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Contacts to claim. again: their message was refused for the time being and is due.

    waiting: if there are none, a sentence about those who are due later; "" if nobody is.
    """

    contacts: tuple[Contact, ...]
    again: bool
    waiting: str = ""


@dataclass(frozen=True, slots=True)
class TakeContacts(Call[Batch]):
    """Ask for at most so many contacts."""

    wanted: int


class _Refill:
    """To self: read more."""


class _LookForDue:
    """To self: read what may be tried again."""


def take(campaign_id: int, wanted: int, *, timeout_s: float = 10.0) -> Batch:
    """Return at most `wanted` contacts, none if there is nothing to send right now. Raises CallExit if it is down."""
    return call(via("buffer_manager", campaign_id), TakeContacts(wanted), timeout_s=timeout_s)


class BufferManager(GenServer):
    """Keeps between _LOW_WATER and _LOW_WATER + _REFILL contacts while there are any."""

    def __init__(self, db: Database, campaign_id: int) -> None:
        self._db, self._campaign_id = db, campaign_id

    def init(self) -> None:
        """Begin empty; the cursor is in PostgreSQL."""
        self._new: deque[Contact] = deque()
        self._due: deque[Contact] = deque()
        self._looks = 0
        self._waiting = ""
        self._sweep_after: int | None = None  # None: the list itself is still being read
        self._swept: set[int] = set()  # found lately
        self._idle_ms = _IDLE_MS
        self._refilling = False
        buffers.open_cursor(self._db, self._campaign_id)
        self._want_refill(0)
        self.send_after(_DUE_EVERY_MS, _LookForDue())

    def handle_call(self, request: Call[Any], sender: From) -> Reply | NoReply | Stop:
        """Hand out what is there; what may be tried again goes first."""
        match request:
            case TakeContacts(wanted):
                again = bool(self._due)
                queue = self._due if again else self._new
                contacts = tuple(queue.popleft() for _ in range(min(wanted, len(queue))))
                if len(self._new) < _LOW_WATER and self._sweep_after is None:
                    self._want_refill(0)
                return Reply(Batch(contacts, again, "" if contacts else self._waiting))
        return super().handle_call(request, sender)

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Read ahead, or look for what is due again."""
        match message:
            case _Refill():
                self._refilling = False
                self._or_later(self._refill, _Refill())
            case _LookForDue():
                self._or_later(self._look_for_due, _LookForDue())
            case _:
                return super().handle_info(message)
        return None

    def observed_state(self) -> dict[str, object]:
        """For `observe()`: sizes, never contacts."""
        return {
            "campaign_id": self._campaign_id,
            "new": len(self._new),
            "due": len(self._due),
            "phase": "reading" if self._sweep_after is None else "sweeping",
        }

    def _or_later(self, read: Callable[[], None], message: object) -> None:
        try:
            read()
        except StorageUnavailable as error:
            log.warning("buffer.waits_for_database", campaign_id=self._campaign_id, why=error.why)
            self.send_after(_RETRY_MS, message)

    def _want_refill(self, in_ms: int) -> None:
        if not self._refilling:
            self._refilling = True
            self.send_after(in_ms, _Refill())

    def _refill(self) -> None:
        if len(self._new) >= _LOW_WATER:
            if self._sweep_after is not None:  # while reading, the next `take` asks; while sweeping, only this does
                self._want_refill(_IDLE_MS)
            return
        contacts = buffers.refill(self._db, self._campaign_id, limit=_REFILL)
        if contacts:
            self._sweep_after, self._idle_ms = None, _IDLE_MS
            self._new.extend(contacts)
            return
        if self._new:
            # The end of the list. Sweeping waits until what is here has been handed out and claimed.
            self._sweep_after = 0
            self._want_refill(_IDLE_MS)
            return
        self._sweep()

    def _sweep(self) -> None:
        """Look for those whom a crash left between cursor and claim; rarely, and only while somebody is pending."""
        found: list[Contact] = []
        if counters.read(self._db, self._campaign_id).by_state["pending"] > 0:
            found = buffers.sweep(self._db, self._campaign_id, after=self._sweep_after or 0, limit=_REFILL)
        self._new.extend(found)
        news = {contact.id for contact in found} - self._swept
        if not found and not self._sweep_after:
            self._swept.clear()  # a whole round has found nobody
        elif news:
            log.info("contacts.swept", campaign_id=self._campaign_id, count=len(news))
            self._swept = self._swept | news if len(self._swept) < _SWEPT_AT_MOST else news
        longest_ms = _LONGEST_KNOWN_MS if self._swept else _LONGEST_IDLE_MS
        self._idle_ms = _IDLE_MS if news else min(self._idle_ms * 2, longest_ms)
        self._sweep_after = found[-1].id if found else 0
        self._want_refill(self._idle_ms)

    def _look_for_due(self) -> None:
        if not self._due:
            self._due.extend(buffers.due(self._db, self._campaign_id, limit=_REFILL))
            if self._due or self._new:
                self._waiting, self._looks = "", 0
            elif self._looks % _WAITING_EVERY == 0:
                self._waiting = buffers.waiting(self._db, self._campaign_id)
            self._looks += 1
        self.send_after(_DUE_EVERY_MS, _LookForDue())
