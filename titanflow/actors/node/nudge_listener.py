"""NudgeListener: passes on what other nodes have changed, so that it takes effect here at once.

One a process; child of Background (one_for_one, permanent). A convenience: without Redis the Reconciler sees the
change within a second. OTP model: gen_server.
"""

import structlog

from titanflow.actors.node.reconciler import nudge
from titanflow.errors import StorageUnavailable
from titanflow.storage import redis_keys
from titanflow.storage.fast_copy import FastCopy
from titanflow.supervision import GenServer, NoReply, Stop

log = structlog.get_logger()

_AGAIN_MS = 1_000
_WAIT_S = 0.5


class _Listen:
    """To self: wait for the next message for a while."""


class NudgeListener(GenServer):
    """Waits on the channel in short turns, so that it can be stopped."""

    def __init__(self, fast_copy: FastCopy) -> None:
        self._fast_copy = fast_copy

    def init(self) -> None:
        """Subscribe soon."""
        self._messages = self._fast_copy.listen(redis_keys.NUDGES, wait_s=_WAIT_S)
        self._away = False
        self.send_after(0, _Listen())

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Wait for one message."""
        if not isinstance(message, _Listen):
            return super().handle_info(message)
        try:
            if next(self._messages) is not None:
                nudge()
            self._away = False
            self.send_after(0, _Listen())
        except StorageUnavailable as error:
            if not self._away:
                log.warning("nudges.not_heard", why=error.what)
            self._away = True
            self._messages = self._fast_copy.listen(redis_keys.NUDGES, wait_s=_WAIT_S)
            self.send_after(_AGAIN_MS, _Listen())
        return None

    def terminate(self, reason: object) -> None:
        """Unsubscribe."""
        self._messages.close()
