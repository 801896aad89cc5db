"""Fetching what people send: bounded, compared with what Meta told, and from Meta's hosts alone."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from titanflow.errors import Unavailable
from titanflow.meta import media_download
from titanflow.meta.management import MetaRefused
from titanflow.meta.media_download import WontFetch, fetch

Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def _server(answers: Callable[[str], Answer]) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Yield a server's origin, and the path and token of each request."""
    asked: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            status, headers, body = answers(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def _fetched(told: dict[str, Any], file: Answer) -> bytes:
    """What a fetch brings if Meta tells this of a file, with {origin} in the url, and serves that."""
    origins: list[str] = []

    def answers(path: str) -> Answer:
        if path.startswith("/v25.0/77?phone_number_id=1001"):
            if told.get("error"):
                return 400, {}, json.dumps(told).encode()
            shown = {**told, "url": str(told["url"]).replace("{origin}", origins[0])}
            return 200, {}, json.dumps(shown).encode()
        return file

    with _server(answers) as (origin, asked):
        origins.append(origin)
        got = b"".join(fetch(origin, "v25.0", "a-token", phone_number_id="1001", meta_media_id="77"))
        assert {token for _, token in asked} == {"Bearer a-token"}
    return got


_BYTES = bytes(range(256)) * 10_000
_TOLD = {"url": "{origin}/file?x=1", "file_size": len(_BYTES), "sha256": hashlib.sha256(_BYTES).hexdigest()}


def test_a_file_comes_in_pieces_with_the_token() -> None:
    assert _fetched(_TOLD, (200, {}, _BYTES)) == _BYTES


@pytest.mark.parametrize(
    ("told", "file", "error"),
    [
        ({**_TOLD, "file_size": 3}, (200, {}, _BYTES), Unavailable),
        ({**_TOLD, "sha256": "0" * 64}, (200, {}, _BYTES), Unavailable),
        (_TOLD, (200, {"Content-Length": str(len(_BYTES) + 9)}, _BYTES), Unavailable),
        (_TOLD, (404, {}, b""), Unavailable),
        (_TOLD, (302, {"Location": "/again"}, b""), WontFetch),
        (_TOLD, (302, {"Location": "https://example.com/x"}, b""), WontFetch),
        ({"url": "https://example.com/x"}, (200, {}, b""), WontFetch),
        ({"url": ""}, (200, {}, b""), WontFetch),
        ({"error": {"code": 100, "error_subcode": 33}}, (200, {}, b""), MetaRefused),
    ],
)
@pytest.mark.timeout(30)
def test_what_is_wrong_is_said(told: dict[str, Any], file: Answer, error: type[Exception]) -> None:
    with pytest.raises(error):
        _fetched(told, file)


def test_a_redirect_takes_the_token_nowhere_else() -> None:
    with _server(lambda _: (200, {}, b"secret")) as (elsewhere, asked):
        with pytest.raises(WontFetch):
            _fetched(_TOLD, (302, {"Location": f"{elsewhere}/x"}, b""))
        assert asked == []


def test_a_file_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_download, "LARGEST_BYTES", 100_000)
    with pytest.raises(WontFetch):
        _fetched({"url": "{origin}/file"}, (200, {}, _BYTES))
