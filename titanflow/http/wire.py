"""How answers travel: not at all if the client has them already (ETag), smaller if it takes gzip."""

import hashlib
import re
import zlib
from typing import Any

import falcon

_WORTH_IT_BYTES = 1024
# Figures name nobody, so a client may keep them as long as it asks whether they still hold. All else is `no-store`.
_FIGURES = re.compile(r"/api/v1/(stats/\S+|campaigns/\d+/stats)")
_TEXT = ("application/json", "application/problem+json", "text/html", "text/css", "text/javascript", "text/plain")


class Wire:
    """Runs after the resource, before the headers of security are set. Streams go as they are."""

    def process_response(self, request: falcon.Request, response: falcon.Response, _: Any, __: bool) -> None:
        """Answer 304 if the client's copy is right; else compress what is worth it."""
        if response.stream is not None or request.method not in ("GET", "HEAD", "POST", "PUT", "PATCH"):
            return
        media_type = (response.content_type or "application/json").partition(";")[0]
        if media_type not in _TEXT:
            return
        body = response.render_body()
        if not body:
            return
        if request.method == "GET" and response.status_code == 200 and request.path.startswith("/api/"):
            tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
            response.set_header("ETag", f"W/{tag}")  # weak: the same whether it travels as gzip or not
            if _FIGURES.fullmatch(request.path):
                response.set_header("Cache-Control", "private, no-cache")
            if _has(request, tag):
                response.status = 304
                response.text = response.data = response.media = None
                response.delete_header("Content-Type")
                return
        if len(body) >= _WORTH_IT_BYTES:
            response.append_header("Vary", "Accept-Encoding")
            if takes_gzip(request):
                packer = zlib.compressobj(level=1, wbits=31)
                response.text, response.data = None, packer.compress(body) + packer.flush()
                response.set_header("Content-Encoding", "gzip")


def takes_gzip(request: falcon.Request) -> bool:
    """True if the client says that it takes gzip: RFC 9110, 12.5.3."""
    wanted: dict[str, float] = {}
    for part in (request.get_header("Accept-Encoding") or "").lower().split(","):
        name, _, parameters = part.strip().partition(";")
        key, _, value = parameters.strip().partition("=")
        try:
            wanted[name.strip()] = float(value) if key.strip() == "q" else 1.0
        except ValueError:
            wanted[name.strip()] = 0.0
    return wanted.get("gzip", wanted.get("*", 0.0)) > 0


def _has(request: falcon.Request, tag: str) -> bool:
    given = request.get_header("If-None-Match") or ""
    return given.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in given.split(","))
