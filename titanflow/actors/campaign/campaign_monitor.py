"""CampaignMonitor: notices that a campaign is done, and proves it before saying so.

One per campaign on each node that serves it; child of Campaign <id> (rest_for_one, permanent). No state.
The counters say when it may be done; one statement over the rows decides. OTP model: gen_server.
"""

from collections.abc import Callable

import structlog

from titanflow.domain.completion import sentence
from titanflow.errors import StorageUnavailable
from titanflow.storage import completion, counters
from titanflow.storage.counters import Counts
from titanflow.storage.database import Database
from titanflow.supervision import GenServer, NoReply, Stop

log = structlog.get_logger()

_LOOK_EVERY_MS = 500
_PROOF_FAILED_MS = 5_000
_WAITS_MS = 5_000


class _Look:
    """To self."""


class CampaignMonitor(GenServer):
    """Looks at the counters twice a second. on_completed: called once the campaign is completed."""

    def __init__(self, db: Database, campaign_id: int, on_completed: Callable[[], None]) -> None:
        self._db, self._campaign_id, self._on_completed = db, campaign_id, on_completed

    def init(self) -> None:
        """Look soon."""
        self.send_after(_LOOK_EVERY_MS, _Look())

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Complete the campaign if nobody is left to send to."""
        if not isinstance(message, _Look):
            return super().handle_info(message)
        in_ms = _LOOK_EVERY_MS
        try:
            counts = counters.read(self._db, self._campaign_id)
            if counts.unfinished == 0:
                in_ms = self._complete(counts)
        except StorageUnavailable as error:
            log.warning("campaign.not_watched", campaign_id=self._campaign_id, why=error.what)
        self.send_after(in_ms, _Look())
        return None

    def _complete(self, counts: Counts) -> int:
        if counts.by_state["in_doubt"] and completion.waits_for_doubts(self._db, self._campaign_id):
            return _WAITS_MS
        reason = sentence(counts.by_state)
        if completion.complete(self._db, self._campaign_id, reason=reason):
            log.info("campaign.completed", campaign_id=self._campaign_id, reason=reason)
            self._on_completed()
            return _LOOK_EVERY_MS
        # It was paused or cancelled meanwhile; or the counters are wrong, which only a bug can bring about.
        drift = counters.heal(self._db, self._campaign_id)
        if drift:
            log.error("counters.drifted", campaign_id=self._campaign_id, drift=drift)
        return _PROOF_FAILED_MS
