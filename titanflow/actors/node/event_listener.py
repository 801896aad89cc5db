"""EventListener: the one subscriber of this process to Redis' channel of events.

One a process; child of Events (rest_for_one, permanent). No state but the subscription: a crash costs the events of a
moment, and the figures come again. OTP model: gen_server.
"""

from typing import Any

import orjson
import structlog

from titanflow.actors.node import event_hub
from titanflow.actors.node.event_hub import RedisIs, Told
from titanflow.errors import StorageUnavailable
from titanflow.storage import redis_keys
from titanflow.storage.fast_copy import FastCopy
from titanflow.supervision import GenServer, NoReply, Stop

log = structlog.get_logger()

_AGAIN_MS = 1_000
_WAIT_S = 0.5


class _Listen:
    """To self: wait for the next message for a while."""


class EventListener(GenServer):
    """Waits on the channel in short turns, so that it can be stopped."""

    def __init__(self, fast_copy: FastCopy) -> None:
        self._fast_copy = fast_copy

    def init(self) -> None:
        """Subscribe soon."""
        self._messages = self._fast_copy.listen(redis_keys.EVENTS, wait_s=_WAIT_S)
        self._there: bool | None = None
        self.send_after(0, _Listen())

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Wait for one message."""
        if not isinstance(message, _Listen):
            return super().handle_info(message)
        try:
            body = next(self._messages)
            self._redis_is(there=True)
            told = parse(body) if body is not None else None
            if told is not None:
                event_hub.tell(told)
            self.send_after(0, _Listen())
        except StorageUnavailable as error:
            if self._there is not False:
                log.warning("events.not_heard", why=error.what)
            self._redis_is(there=False)
            self._messages = self._fast_copy.listen(redis_keys.EVENTS, wait_s=_WAIT_S)
            self.send_after(_AGAIN_MS, _Listen())
        return None

    def _redis_is(self, *, there: bool) -> None:
        if there != self._there:
            self._there = there
            event_hub.tell(RedisIs(there))

    def terminate(self, reason: object) -> None:
        """Unsubscribe."""
        self._messages.close()


def parse(body: bytes) -> Told | None:
    """Return what a message tells; None for one that newer code has sent."""
    try:
        told: Any = orjson.loads(body)
        event = told.pop("type")
        if event in ("stats", "state"):
            return Told(event, orjson.dumps(told), campaign_id=int(told["campaign_id"]))
        if event == "alarm":
            return Told(event, orjson.dumps(told), target=f"{told['scope']}:{told['target']}")
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
        log.warning("event.not_understood", length=len(body))
    return None
