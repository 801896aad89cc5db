"""Reads request bodies and query parameters: bounded, strict, with an error for each field."""

from typing import Any, TypeVar

import falcon
import orjson
from gunicorn.http.errors import ParseException
from pydantic import BaseModel, ConfigDict, ValidationError

from titanflow.errors import InvalidInput

MAX_JSON_BYTES = 1024 * 1024
M = TypeVar("M", bound="Body")


class Body(BaseModel):
    """Base of all request bodies: no unknown members, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Upload:
    """The body of a request as it comes, chunked or not. One that breaks off is an error, not a short file."""

    def __init__(self, request: falcon.Request) -> None:
        self._stream = request.stream
        chunked = "chunked" in (request.get_header("Transfer-Encoding") or "").lower()
        self._left = None if chunked else (request.content_length or 0)

    def read(self, size: int | None = None, /) -> bytes:
        """Return at most `size` bytes, b"" at the end. Raises InvalidInput (400) if there should be more."""
        size = -1 if size is None else size
        if self._left is not None:
            size = min(size, self._left) if size >= 0 else self._left
        try:
            data: bytes = self._stream.read(size)
        except (ParseException, OSError):  # the client hung up, or its chunks are garbled
            data, self._left = b"", self._left or 1
        if not data and size and self._left:
            raise InvalidInput(
                "The upload broke off", why="its end never came", fix="Send it again.", code="upload_incomplete",
                status=400,
            )  # fmt: skip
        if self._left is not None:
            self._left -= len(data)
        return data


def read_raw(request: falcon.Request, limit: int, what: str) -> bytes:
    """Return the whole body, chunked or not. Raises InvalidInput `too_large` (413) beyond `limit` bytes."""
    declared = request.content_length or 0
    data = b"" if declared > limit else Upload(request).read(limit + 1)
    if len(data) > limit or declared > limit:
        raise InvalidInput(f"{what} is too large", why=f"at most {limit} bytes are taken", code="too_large", status=413)
    return data


def read_json(request: falcon.Request, model: type[M], *, limit: int = MAX_JSON_BYTES) -> M:
    """Return the JSON body as a model, the one that the operation declares; no body at all is {}.

    Raises InvalidInput: 400 for broken JSON, 415 for another type, 422 with a list of fields.
    """
    operation = getattr(request.context, "operation", None)
    assert operation is None or operation.body is model, f"{request.uri_template} declares no body={model.__name__}"
    kind = (request.content_type or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise InvalidInput(
            f"The body is {kind[:60]}, not JSON", fix="Send `Content-Type: application/json`.",
            code="unsupported_media_type", status=415,
        )  # fmt: skip
    raw = read_raw(request, limit, "The body")
    try:
        parsed = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError as error:
        raise InvalidInput("The body is not valid JSON", why=str(error), code="invalid_json", status=400) from None
    if isinstance(parsed, dict):
        request.context.fields = [str(name)[:50] for name in parsed]  # for the audit log
    return checked(model, parsed)


def checked(model: type[M], parsed: Any) -> M:
    """Return what JSON said as a model. Raises InvalidInput with a list of fields."""
    text = orjson.dumps(parsed)
    if b"\\u0000" in text and _has_nul(parsed):  # PostgreSQL keeps no such text
        raise InvalidInput("The body can't be used", why="a text has a NUL character")
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        errors = [
            {"field": ".".join(str(part) for part in one["loc"]), "message": one["msg"]}
            for one in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        summary = "; ".join(f"{one['field'] or 'body'}: {one['message']}" for one in errors[:3])
        raise InvalidInput("The body can't be used", why=summary, errors=errors) from None


def _has_nul(parsed: Any) -> bool:
    if isinstance(parsed, dict):
        return any("\x00" in name or _has_nul(value) for name, value in parsed.items())
    if isinstance(parsed, list):
        return any(_has_nul(one) for one in parsed)
    return isinstance(parsed, str) and "\x00" in parsed


def limit_of(request: falcon.Request, *, default: int = 50, most: int = 500) -> int:
    """Return ?limit=. Raises InvalidInput unless it is between 1 and `most`."""
    text = request.get_param("limit") or str(default)
    if not text.isdigit() or not 1 <= int(text) <= most:
        raise InvalidInput("limit can't be used", why=f"it must be a number from 1 to {most}")
    return int(text)


def cursor_of(request: falcon.Request) -> int:
    """Return ?cursor=, as this server gave it out: 0 at the start. Raises InvalidInput."""
    text: Any = request.get_param("cursor") or "0"
    if not text.isdigit() or len(text) > 18:
        raise InvalidInput("cursor can't be used", fix="Take it from next_cursor of the page before.")
    return int(text)
