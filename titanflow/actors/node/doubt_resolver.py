"""DoubtResolver: nothing stays claimed for ever, no status stays parked once its message is known.

It also carries out the policy of campaigns that let doubts be sent again after so many hours.

One a process; child of Background (one_for_one, permanent). No state but a place among what is parked. Two nodes that
do it at once do no harm: rows are locked in id order. OTP model: gen_server.
"""

import structlog

from titanflow.actors.node import reported_failures
from titanflow.actors.node.node import node_id
from titanflow.errors import StorageUnavailable
from titanflow.storage import claims, doubts, outbox, statuses
from titanflow.storage.database import Database
from titanflow.supervision import GenServer, NoReply, Stop

log = structlog.get_logger()

_EVERY_MS = 2_000


class _Sweep:
    """To self."""


class DoubtResolver(GenServer):
    """Sweeps every two seconds."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def init(self) -> None:
        """Sweep soon."""
        self._node_id = node_id()
        self._parked_after = 0
        self.send_after(_EVERY_MS, _Sweep())

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Sweep."""
        if not isinstance(message, _Sweep):
            return super().handle_info(message)
        self.send_after(_EVERY_MS, _Sweep())
        try:
            self._sweep()
        except StorageUnavailable as error:
            log.warning("doubts.not_swept", why=error.why)
        return None

    def _sweep(self) -> None:
        doubted = claims.doubt(self._db, node_id=self._node_id) + outbox.doubt(self._db)
        if doubted:
            log.warning("claims.doubted", count=doubted, why="older than any request can be")
        resent = doubts.resend_by_policy(self._db, node_id=self._node_id)
        if resent:
            log.warning("doubts.resent", count=resent, why="their campaign's policy says so")
        with self._db.transaction() as transaction:
            reported, self._parked_after = statuses.unpark(transaction, node_id=self._node_id, after=self._parked_after)
        with self._db.transaction() as transaction:
            outbox.unpark(transaction)
        reported_failures.follow_up(reported)
