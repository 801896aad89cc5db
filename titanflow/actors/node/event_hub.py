"""EventHub: passes on what Redis tells of campaigns and alarms to all who listen in this process.

One a process; child of Events (rest_for_one, permanent), before the EventListener that feeds it. Memory only: when it
ends, its listeners' streams end and they come again. A listener has a bounded queue: of a campaign's figures it keeps
only the latest; one that leaves too much of the rest unread is dropped. OTP model: gen_event.
"""

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import structlog

from titanflow.domain import server_sent
from titanflow.supervision import (
    Call,
    Cast,
    Event,
    From,
    GenServer,
    NoReply,
    Pid,
    Reply,
    Stop,
    call,
    cast,
    is_alive,
    self_pid,
    via,
)

log = structlog.get_logger()

MOST_LISTENERS = 2_000
_MOST_QUEUED = 64


class Subscription:
    """What one listener still has to be told. Filled by the hub, emptied by the listener's own greenlet.

    campaign_id None: everything. targets: whose alarms concern it (storage/campaign_changes.targets_of); None: all.
    """

    __slots__ = ("_figures", "_frames", "_woken", "campaign_id", "ended", "hub", "targets")

    def __init__(self, campaign_id: int | None, targets: frozenset[str] | None) -> None:
        self.campaign_id, self.targets = campaign_id, targets
        self.ended: str | None = None
        self.hub: Pid | None = None
        self._frames: deque[bytes] = deque()
        self._figures: dict[int, bytes] = {}
        self._woken = Event()

    def offer(self, told: "Told", frame: bytes) -> None:
        """Queue a frame if it concerns this listener. `ended` is set if it has left too much unread."""
        if told.target is not None:
            if self.targets is not None and told.target not in self.targets:
                return
        elif self.campaign_id is not None and told.campaign_id != self.campaign_id:
            return
        if told.event == "stats" and told.campaign_id is not None:
            self._figures[told.campaign_id] = frame
        elif len(self._frames) >= _MOST_QUEUED:
            self.end("slow")
        else:
            self._frames.append(frame)
        self._woken.set()

    def end(self, reason: str) -> None:
        """Let the stream end, after what is queued."""
        self.ended = self.ended or reason
        self._woken.set()

    def next(self, timeout_s: float) -> list[bytes]:
        """Wait for something to tell. [] after timeout_s, or if it has ended."""
        self._woken.wait(timeout_s)
        self._woken.clear()
        frames = [*self._frames, *self._figures.values()]
        self._frames.clear()
        self._figures.clear()
        if self.ended is None and (self.hub is None or not is_alive(self.hub)):
            self.ended = "restarted"
        return frames


@dataclass(frozen=True, slots=True)
class Told(Cast):
    """Something that Redis told. campaign_id: whom it is about; an alarm has a target instead, `scope:target`."""

    event: str
    data: bytes
    campaign_id: int | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class RedisIs(Cast):
    """Redis is there, or away."""

    there: bool


@dataclass(frozen=True, slots=True)
class _Subscribe(Call[str | None]):
    """The reply: why not."""

    subscription: Subscription


@dataclass(frozen=True, slots=True)
class _Unsubscribe(Cast):
    subscription: Subscription


def subscribe(campaign_id: int | None, targets: frozenset[str] | None) -> tuple[Subscription, str | None]:
    """Listen. Returns the subscription, and why it is none: `too_many`, `redis_away`. Raises CallExit."""
    subscription = Subscription(campaign_id, targets)
    return subscription, call(via("event_hub"), _Subscribe(subscription), timeout_s=2.0)


def unsubscribe(subscription: Subscription) -> None:
    """Listen no more."""
    cast(via("event_hub"), _Unsubscribe(subscription))


def tell(message: Told | RedisIs) -> None:
    """Pass on what Redis told. Lost if the hub is down."""
    cast(via("event_hub"), message)


class EventHub(GenServer):
    """Knows who listens."""

    def init(self) -> None:
        """Nobody listens yet, and Redis has not been heard."""
        self.trap_exit = True  # so that streams end in words, and at once
        self._listeners: dict[int, Subscription] = {}
        self._redis_is_there = False
        self._told = 0

    def handle_call(self, request: Call[Any], sender: From) -> Reply | NoReply | Stop:
        """Take a listener in."""
        match request:
            case _Subscribe(subscription):
                if len(self._listeners) >= MOST_LISTENERS:
                    return Reply("too_many")
                if not self._redis_is_there:
                    return Reply("redis_away")
                subscription.hub = self_pid()
                self._listeners[id(subscription)] = subscription
                return Reply(None)
        return super().handle_call(request, sender)

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Pass on; let go."""
        match message:
            case Told():
                self._pass_on(message)
            case _Unsubscribe(subscription):
                self._listeners.pop(id(subscription), None)
            case RedisIs(there):
                self._redis_is_there = there
                if not there:
                    self._end_all("redis_away")
            case _:
                return super().handle_cast(message)
        return None

    def _pass_on(self, told: Told) -> None:
        if not self._listeners:
            return
        self._told += 1
        frame = server_sent.frame(told.event, told.data, server_sent.id_at(time.time_ns() // 1_000_000, self._told))
        slow = []
        for key, listener in self._listeners.items():
            listener.offer(told, frame)
            if listener.ended is not None:
                slow.append(key)
        for key in slow:
            del self._listeners[key]
        if slow:
            log.warning("listeners.dropped", count=len(slow), why="they left too much unread")

    def _end_all(self, reason: str) -> None:
        for listener in self._listeners.values():
            listener.end(reason)
        self._listeners.clear()

    def terminate(self, reason: object) -> None:
        """End all streams."""
        self._end_all("stopping")

    def observed_state(self) -> dict[str, object]:
        """For `observe()`."""
        return {"listeners": len(self._listeners), "told": self._told, "redis_is_there": self._redis_is_there}
