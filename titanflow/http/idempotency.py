"""Idempotency-Key: a POST that is sent again is carried out once, and answered as the first time.

Kept are answers of success. One that was refused changed nothing, so its key is free again: the same request, mended
or not, may be sent with it. docs/decisions/0020-live-and-safe-http.md has the rest.
"""

import hashlib
import io
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import falcon
import structlog

from titanflow.actors.node.node import node_id
from titanflow.errors import ConfigurationError, Conflict, InvalidInput, StorageUnavailable
from titanflow.http.bodies import MAX_JSON_BYTES
from titanflow.http.context import Context
from titanflow.storage import idempotency
from titanflow.supervision import sleep_ms

log = structlog.get_logger()

HEADER = "Idempotency-Key"
PROBLEMS = ("idempotency_key_reused", "in_progress")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_BITE = 64 * 1024


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Hashed:
    """A body that is hashed while it is read."""

    def __init__(self, stream: _Readable, digest: "hashlib._Hash") -> None:
        self._stream, self.digest = stream, digest

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        return data

    def to_its_end(self) -> bytes:
        """Read what is left, in bites that let others have their turn. Returns the hash."""
        while self.read(_BITE):
            sleep_ms(1)
        return self.digest.digest()


@dataclass(slots=True)
class _Begun:
    """A request that this process carries out. body: what is still to be hashed, None if that is done."""

    owner: str
    key: str
    since: datetime
    request: bytes | None
    body: _Hashed | None


class Idempotency:
    """Runs after Authentication. POSTs without the header cost nothing."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def process_resource(self, request: falcon.Request, response: falcon.Response, _: Any, __: Any) -> None:
        """Begin, or answer as the first time. Raises Conflict: another request has the key, or is under way with it."""
        key = request.get_header(HEADER)
        who = getattr(request.context, "who", None)
        if request.method != "POST" or key is None or who is None:
            return
        if not _KEY.fullmatch(key):
            raise InvalidInput("Idempotency-Key can't be used", why="it must be 1 to 255 visible ASCII characters")
        session = getattr(request.context, "session", None)
        owner = who.partition(" (")[0] if session is None else f"session {session.digest.hex()}"
        digest, body = _fingerprint(request)
        known = idempotency.begin(self._context.db, owner=owner, key=key, request=digest, node_id=node_id())
        if known.is_ours:
            request.context.idempotency_key = key
            request.context.idempotency = _Begun(owner, key, known.created_at, digest, body)
            return
        if known.status is None:
            raise Conflict(
                "A request with this Idempotency-Key is being carried out", fix="Try again in a moment.",
                code="in_progress", retry_after_s=1,
            )  # fmt: skip
        if digest is None and body is not None:
            digest = body.to_its_end()
        if known.request is not None and digest != known.request:
            raise Conflict(
                "The Idempotency-Key was used for another request",
                fix="Use a new key for each request, and the same one only to send a request again.",
                code="idempotency_key_reused",
            )
        self._answer_again(response, known)

    def process_response(self, request: falcon.Request, response: falcon.Response, _: Any, __: bool) -> None:
        """Keep the answer, or give the key back."""
        begun: _Begun | None = getattr(request.context, "idempotency", None)
        if begun is None:
            return
        db = self._context.db
        try:
            if not 200 <= response.status_code < 400:
                idempotency.give_back(db, owner=begun.owner, key=begun.key, since=begun.since)
                return
            if begun.body is not None:
                begun.request = begun.body.to_its_end()
            body = response.render_body() or b""
            idempotency.finish(
                db,
                owner=begun.owner,
                key=begun.key,
                since=begun.since,
                request=begun.request,
                status=response.status_code,
                location=response.get_header("Location"),
                media_type=response.content_type,
                body=self._context.vault.encrypt(body.decode()),
            )
        except StorageUnavailable as error:  # what was done is done: the answer must say so
            log.warning("idempotency.answer_not_kept", why=error.why)

    def _answer_again(self, response: falcon.Response, known: idempotency.Known) -> None:
        try:
            response.data = self._context.vault.decrypt(known.body or b"").encode()
        except ConfigurationError:
            raise Conflict(
                "The first answer to this Idempotency-Key can't be read any more", why="SECRET_KEY has changed",
                fix="See if the request took effect; use a new key.", code="idempotency_key_reused",
            ) from None  # fmt: skip
        response.status = known.status or 200
        response.content_type = known.media_type
        if known.location:
            response.set_header("Location", known.location)
        response.set_header("Idempotency-Replayed", "true")
        response.complete = True


def _fingerprint(request: falcon.Request) -> tuple[bytes | None, _Hashed | None]:
    """Return the request's hash, or the stream that will tell it.

    A form's body doesn't count: most clients choose a new boundary each time.
    """
    digest = hashlib.sha256(f"{request.method} {request.path}?{request.query_string}\n".encode())
    if (request.content_type or "").startswith("multipart/"):
        return digest.digest(), None
    if request.content_length is not None and request.content_length <= MAX_JSON_BYTES:
        raw = request.bounded_stream.read()
        request.stream = io.BytesIO(raw)
        request._bounded_stream = None  # made anew from the stream, whoever asks for it
        digest.update(raw)
        return digest.digest(), None
    if request.content_length is None and "chunked" not in (request.get_header("Transfer-Encoding") or "").lower():
        return digest.digest(), None
    hashed = _Hashed(request.stream, digest)
    request.stream = hashed  # type: ignore[assignment]  # only `read` is used of it
    request._bounded_stream = None
    return None, hashed
