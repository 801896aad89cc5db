"""Errors as RFC 9457 problem details: one table from our classes to statuses."""

from dataclasses import dataclass
from typing import Any

import falcon
import orjson
import structlog

from titanflow.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    Gone,
    InvalidInput,
    NotFound,
    TitanFlowError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from titanflow.supervision import CallExit

log = structlog.get_logger()

STATUSES: tuple[tuple[type[TitanFlowError], int], ...] = (
    (InvalidInput, 422),
    (NotFound, 404),
    (Gone, 410),
    (Conflict, 409),
    (Unauthorized, 401),
    (Forbidden, 403),
    (TooManyRequests, 429),
    (Unavailable, 503),
    (ConfigurationError, 503),
)

# What Falcon and gunicorn refuse by themselves; any other of theirs is bad_request.
LIBRARIES = {
    403: "forbidden", 404: "not_found", 405: "method_not_allowed", 413: "too_large", 414: "uri_too_long",
    415: "unsupported_media_type", 422: "invalid_input", 431: "headers_too_large", 500: "internal",
}  # fmt: skip
_RETRY_AFTER_S = {429: "10", 503: "1"}


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer. headers: Content-Type among them."""

    status: int
    code: str
    headers: dict[str, str]
    body: bytes


def problem_of(error: Exception) -> Problem:
    """Return what an error answers; 500 for one that is no answer of ours, which the caller logs."""
    match error:
        case TitanFlowError():
            status = int(error.fields.pop("status", 0) or 0)  # type: ignore[call-overload]  # ours: an int or absent
            status = status or next((one for kind, one in STATUSES if isinstance(error, kind)), 500)
            detail = " ".join(part for part in (error.why, error.fix) if part)
            return _problem(status, error.code, error.what, detail, **error.fields)
        case CallExit():
            return _problem(
                503, "unavailable", "A part of the server is away", f"Reason: {error.reason}. Try again."
            )  # fmt: skip
    return _problem(500, "internal", "The server made a mistake", "It has been logged.")


def of_library(status: int, title: str, detail: str) -> Problem:
    """Return what a refusal of Falcon's or gunicorn's own answers."""
    return _problem(status, LIBRARIES.get(status, "bad_request"), title, detail)


def _problem(status: int, code: str, title: str, detail: str, **more: object) -> Problem:
    headers = {"Content-Type": "application/problem+json"}
    if wait_s := more.get("retry_after_s") or _RETRY_AFTER_S.get(status):
        headers["Retry-After"] = str(wait_s)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    fields = {"type": f"/problems/{code}", "title": title, "status": status, "detail": detail, "code": code, **more}
    return Problem(status, code, headers, orjson.dumps(fields, default=str))


def _answer(response: falcon.Response, problem: Problem) -> None:
    response.status = problem.status
    response.data = problem.body
    response.context.code = problem.code
    response.set_headers(problem.headers)


def _ours(_: falcon.Request, response: falcon.Response, error: Exception, __: Any) -> None:
    _answer(response, problem_of(error))


def _falcons(_: falcon.Request, response: falcon.Response, error: falcon.HTTPError, __: Any) -> None:
    for name, value in dict(error.headers or {}).items():
        response.set_header(name, value)
    title = (error.title or "Error").removeprefix(f"{error.status_code} ")
    _answer(response, of_library(error.status_code, title, error.description or ""))


def _bug(request: falcon.Request, response: falcon.Response, error: Exception, __: Any) -> None:
    log.error("request.crashed", method=request.method, path=request.path, exc_info=error)
    _answer(response, problem_of(error))


def install(app: falcon.App[Any, Any]) -> None:
    """Make every error of the app a problem document."""
    app.add_error_handler(Exception, _bug)
    app.add_error_handler(falcon.HTTPError, _falcons)
    app.add_error_handler(TitanFlowError, _ours)
    app.add_error_handler(CallExit, _ours)
