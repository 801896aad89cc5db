"""AlarmKeeper: publishes alarms and campaigns' states that changed, and clears alarms whose cause is gone.

One a process; child of Background (one_for_one, permanent). No state: each change is announced by one node, whichever
takes it first. A crash costs at most one announcement; the rows stay. OTP model: gen_server.
"""

import structlog

from titanflow.errors import StorageUnavailable
from titanflow.storage import alarms, campaign_changes
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.supervision import GenServer, NoReply, Stop

log = structlog.get_logger()

_EVERY_MS = 1_000


class _Look:
    """To self."""


class AlarmKeeper(GenServer):
    """Looks once a second: three statements over what is open or new."""

    def __init__(self, db: Database, fast_copy: FastCopy) -> None:
        self._db, self._fast_copy = db, fast_copy

    def init(self) -> None:
        """Look soon."""
        self.send_after(_EVERY_MS, _Look())

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Clear, then publish."""
        if not isinstance(message, _Look):
            return super().handle_info(message)
        self.send_after(_EVERY_MS, _Look())
        try:
            alarms.clear_gone(self._db)
            changed = alarms.take_unannounced(self._db)
            if changed:
                self._fast_copy.publish_alarms(changed)
            states = campaign_changes.take_unannounced(self._db)
            if states:
                self._fast_copy.publish_states(states)
        except StorageUnavailable as error:
            log.warning("alarms.not_published", why=error.what)
            return None
        for one in changed:
            log.info(
                "alarm.cleared" if one["cleared_at"] else "alarm.raised",
                alarm_id=one["id"],
                kind=one["kind"],
                target=one["target"],
                count=one["count"],
            )
        return None
