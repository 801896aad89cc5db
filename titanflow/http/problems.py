"""Errors as RFC 9457 problem details: one table from our classes to statuses."""

from typing import Any

import falcon
import orjson
import structlog

from titanflow.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    TitanFlowError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from titanflow.supervision import CallExit
from titanflow.telemetry.logs import mask

log = structlog.get_logger()

STATUSES: tuple[tuple[type[TitanFlowError], int], ...] = (
    (InvalidInput, 422),
    (NotFound, 404),
    (Conflict, 409),
    (Unauthorized, 401),
    (Forbidden, 403),
    (TooManyRequests, 429),
    (Unavailable, 503),
)

_RETRY_AFTER_S = {429: "10", 503: "1"}


def _answer(response: falcon.Response, status: int, code: str, title: str, detail: str, **more: object) -> None:
    response.status = status
    response.content_type = "application/problem+json"
    response.context.code = code
    response.data = orjson.dumps(
        {"type": f"/problems/{code}", "title": title, "status": status, "detail": detail, "code": code, **more},
        default=str,
    )
    if status in _RETRY_AFTER_S:
        response.set_header("Retry-After", _RETRY_AFTER_S[status])
    if status == 401:
        response.set_header("WWW-Authenticate", "Bearer")


def _ours(_: falcon.Request, response: falcon.Response, error: TitanFlowError, __: Any) -> None:
    status = int(error.fields.pop("status", 0) or 0)  # type: ignore[call-overload]  # ours: an int or absent
    status = status or next((one for kind, one in STATUSES if isinstance(error, kind)), 500)
    detail = " ".join(part for part in (error.why, error.fix) if part)
    _answer(response, status, error.code, error.what, detail, **error.fields)


def _falcons(_: falcon.Request, response: falcon.Response, error: falcon.HTTPError, __: Any) -> None:
    for name, value in dict(error.headers or {}).items():
        response.set_header(name, value)
    code = (error.title or "error").lower().split(" ", 1)[-1].replace(" ", "_").replace("'", "")
    _answer(response, error.status_code, code, error.title or "Error", error.description or "")


def _actor_is_away(_: falcon.Request, response: falcon.Response, error: CallExit, __: Any) -> None:
    _answer(response, 503, "unavailable", "A part of the server is away", f"Reason: {error.reason}. Try again.")


def _bug(request: falcon.Request, response: falcon.Response, error: Exception, __: Any) -> None:
    log.error("request.crashed", method=request.method, path=mask(request.path), exc_info=error)
    _answer(response, 500, "internal", "The server made a mistake", "It has been logged.")


def install(app: falcon.App[Any, Any]) -> None:
    """Make every error of the app a problem document."""
    app.add_error_handler(Exception, _bug)
    app.add_error_handler(falcon.HTTPError, _falcons)
    app.add_error_handler(TitanFlowError, _ours)
    app.add_error_handler(CallExit, _actor_is_away)
