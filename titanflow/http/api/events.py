"""/events and /campaigns/{id}/events: server-sent events."""

import time
from collections.abc import Generator
from typing import Any

import falcon
import orjson

from titanflow.actors.node import event_hub
from titanflow.actors.node.event_hub import Subscription
from titanflow.domain import server_sent
from titanflow.errors import StorageUnavailable, Unavailable
from titanflow.http.context import Context
from titanflow.http.contract import Content, operation
from titanflow.services.listening import Listening

HEARTBEAT_S = 15.0
_LONGEST_S = 600.0  # then it ends and the client comes again, with a token that must still be good
_SEND_TIMEOUT_S = 30.0  # a client that takes nothing for so long has gone
_RETRY_MS = 2_000
_RETRY_WITHOUT_REDIS_MS = 5_000

STREAM = Content(("text/event-stream",), "Events `stats`, `state`, `alarm`, and `end` with a reason; see docs/api.md")
_HEADERS = {"Last-Event-ID": "The id of the last event that was heard: what changed since is told again"}
_PROBLEMS = ("too_many_listeners",)


class _Events:
    def __init__(self, context: Context) -> None:
        self._listening = Listening(context.db, context.fast_copy)

    def _stream(self, request: falcon.Request, response: falcon.Response, campaign_id: int | None) -> None:
        targets = None if campaign_id is None else self._listening.targets(campaign_id)
        frames = self._frames(campaign_id, targets, request.get_header("Last-Event-ID"))
        next(frames)  # it listens, or the error that says why not; from now on close() has it listen no more
        socket: Any = request.env.get("gunicorn.socket")
        if socket is not None:
            socket.settimeout(_SEND_TIMEOUT_S)
        response.content_type = "text/event-stream"
        response.set_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Connection": "close"})
        response.stream = frames

    def _frames(
        self, campaign_id: int | None, targets: frozenset[str] | None, last_event_id: str | None
    ) -> Generator[bytes, None, None]:
        subscription, why_not = event_hub.subscribe(campaign_id, targets)
        try:
            if why_not == "too_many":
                raise Unavailable("Too many listen already", fix="Try again.", code="too_many_listeners")
            first = self._listening.first(campaign_id, targets, last_event_id)
            yield b""
            if why_not is not None:
                yield b"".join([_retry(_RETRY_WITHOUT_REDIS_MS), *first, _end(why_not)])
                return
            yield b"".join([_retry(_RETRY_MS), *first])
            yield from self._following(subscription, campaign_id)
        finally:
            event_hub.unsubscribe(subscription)

    def _following(self, subscription: Subscription, campaign_id: int | None) -> Generator[bytes, None, None]:
        ends_at = time.monotonic() + _LONGEST_S
        shown = b""
        while subscription.ended is None:
            frames = subscription.next(HEARTBEAT_S)
            if frames:
                yield b"".join(frames)
            elif subscription.ended is None and time.monotonic() > ends_at:
                subscription.end("renew")
            elif subscription.ended is None:
                figures = self._figures(campaign_id)
                yield server_sent.frame("stats", figures) if figures not in (shown, b"") else b": alive\n\n"
                shown = figures
        retry_ms = _RETRY_WITHOUT_REDIS_MS if subscription.ended == "redis_away" else _RETRY_MS
        yield b"".join([*subscription.next(0), _retry(retry_ms), _end(subscription.ended)])

    def _figures(self, campaign_id: int | None) -> bytes:
        """Of one campaign, whose engine may not run any more while Meta still reports."""
        try:
            return b"" if campaign_id is None else self._listening.figures(campaign_id)
        except StorageUnavailable:
            return b""


class CampaignEvents(_Events):
    """How a campaign stands, as it changes."""

    scopes = {"GET": "read"}

    @operation(STREAM, headers=_HEADERS, problems=("campaign_not_found", *_PROBLEMS))
    def on_get(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Stream its figures, its changes of state, and the alarms that concern it. 503 too_many_listeners."""
        self._stream(request, response, campaign_id)


class AllEvents(_Events):
    """How all campaigns stand, as they change."""

    scopes = {"GET": "read"}

    @operation(STREAM, headers=_HEADERS, problems=_PROBLEMS)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Stream the figures of running campaigns, all changes of state, all alarms. 503 too_many_listeners."""
        self._stream(request, response, None)


def _retry(ms: int) -> bytes:
    """When to come again; not all at the same moment."""
    return f"retry: {ms + time.time_ns() // 1000 % 2_000}\n\n".encode()


def _end(reason: str | None) -> bytes:
    return server_sent.frame("end", orjson.dumps({"reason": reason}))


ROUTES: list[tuple[str, type]] = [("/campaigns/{campaign_id:int}/events", CampaignEvents), ("/events", AllEvents)]
