"""The WSGI callable that gunicorn loads. It answers 503 until the tree of this worker runs."""

from collections.abc import Callable, Iterable
from typing import Any

from titanflow.http.webhooks.door import Door

_NOT_YET = b'{"code":"starting","title":"The server is starting","status":503}'
_app: Callable[[Any, Any], Iterable[bytes]] | None = None
door: Door | None = None  # where webhooks come in, once the tree runs


def app(environ: Any, start_response: Any) -> Iterable[bytes]:
    """Pass the request on."""
    if _app is None:
        start_response("503 Service Unavailable", [("Content-Type", "application/problem+json"), ("Retry-After", "1")])
        return [_NOT_YET]
    if environ["REQUEST_METHOD"] != "HEAD":
        return _app(environ, start_response)
    body = _app({**environ, "REQUEST_METHOD": "GET"}, start_response)  # whatever has a GET has a HEAD
    close = getattr(body, "close", None)
    if close is not None:
        close()
    return []


def serve(made: Callable[[Any, Any], Iterable[bytes]], webhooks: Door) -> None:
    """Answer requests with this app, and webhooks at this door, from now on."""
    global _app, door
    _app, door = made, webhooks
