"""gunicorn's gevent worker, with a short way for webhooks and a bound on what a refused request may still send.

Webhooks are three of four requests of a sending server. A plain POST of them is read, handed to the door and answered
right here: WSGI's environment and answer, the app and its middleware cost as much again as all that a webhook needs.
Anything unusual about it (no length, too long, Expect, HTTP/1.0) goes the long way, to the app.

gunicorn discards an unread body before it takes the next request of a connection, all of it, and a client that sends
fast never lets it wait: 2 GB behind a 422 or a 401 held the hub for 30 s, until the master killed the worker. Here the
rest is discarded in small bites; a client that sends on and on has its connection closed, after its answer.
"""

import time
from email.utils import formatdate
from typing import Any

import falcon
import structlog
from gunicorn import util
from gunicorn.workers.ggevent import GeventWorker

from titanflow.http import problems, wsgi
from titanflow.http.security import address_of
from titanflow.http.webhooks.door import MAX_BODY_BYTES, PATHS, Door
from titanflow.supervision import sleep_ms

log = structlog.get_logger()

_BITE = 64 * 1024
_MOST_BYTES = 16 * 1024 * 1024  # worth reading for a client that looks at the answer only after its last byte
_PATIENCE_S = 5.0


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """One process, one node."""

    def init_process(self) -> None:
        """Begin to serve. gunicorn looks up some 40 settings a request, each by a failed attribute and a dict."""
        for name, setting in self.cfg.settings.items():
            if not hasattr(type(self.cfg), name):  # else gunicorn computes it
                object.__setattr__(self.cfg, name, setting.get())  # its own refuses
        super().init_process()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer, then make sure that nothing of the body is left. StopIteration closes the connection."""
        if wsgi.door is not None and req.path in PATHS and (size := _plain_size(req)) is not None:
            body = req.body.read(size)
            closes = req.should_close() or not self.alive or len(body) < size
            sock.sendall(_answer(wsgi.door, body, req.headers, addr, "close" if closes else "keep-alive"))
            if closes:
                raise StopIteration
            return
        try:
            super().handle_request(listener_name, req, sock, addr)
        finally:
            emptied = _empty(req.body, sock)
        if not emptied:
            raise StopIteration


def _plain_size(req: Any) -> int | None:
    """The length of a POST's body that can be read at once; None for anything unusual."""
    if req.method != "POST" or req.version != (1, 1) or req._expected_100_continue:
        return None
    size = None
    for name, value in req.headers:
        if name == "CONTENT-LENGTH" and value.isdecimal() and len(value) < 8:
            size = int(value)
        elif name in ("TRANSFER-ENCODING", "CONTENT-ENCODING"):
            return None
    return size if size is not None and size <= MAX_BODY_BYTES else None


def _answer(door: Door, body: bytes, headers: list[tuple[str, str]], addr: Any, connection: str) -> bytes:
    signature = next((value for name, value in headers if name == "X-HUB-SIGNATURE-256"), "")

    def address() -> str:
        forwarded = ", ".join(value for name, value in headers if name == "X-FORWARDED-FOR")
        return address_of(door.settings, addr[0] if isinstance(addr, tuple) else "", forwarded)

    try:
        door.take(body, signature, address)
    except Exception as error:  # an edge: a bug answers 500, as in the app
        problem = problems.problem_of(error)
        if problem.status == 500:
            log.error("request.crashed", method="POST", path="/api/webhooks", exc_info=error)
        status, extra, text = problem.status, problem.headers, problem.body
    else:
        status, extra, text = 200, {"Content-Type": "text/plain"}, b"ok"
    lines = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
    head = f"HTTP/1.1 {falcon.code_to_http_status(status)}\r\n{_date_line()}Connection: {connection}\r\n{lines}"
    return f"{head}X-Content-Type-Options: nosniff\r\nContent-Length: {len(text)}\r\n\r\n".encode("latin-1") + text


def _write_problem(sock: Any, status: int, reason: str, detail: str) -> None:
    """Answer a request that gunicorn can't read, or refuses: its own way would be a page of HTML."""
    problem = problems.of_library(status, reason, detail)
    head = f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
    util.write_nonblock(sock, f"{head}Content-Length: {len(problem.body)}\r\n\r\n".encode("latin-1") + problem.body)


util.write_error = _write_problem  # the one place that gunicorn's workers call


_date = (0, "")


def _date_line() -> str:
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, f"Date: {formatdate(now, usegmt=True)}\r\n")
    return _date[1]


def _empty(body: Any, sock: Any) -> bool:
    try:
        if not body.read(1):
            return True
        sock.settimeout(_PATIENCE_S)
        for _ in range(_MOST_BYTES // _BITE):
            if not body.read(_BITE):
                sock.settimeout(None)
                return True
            sleep_ms(1)  # not 0: timers must run too
    except Exception:  # noqa: BLE001  (an edge: a body cut short or garbled is gunicorn's own errors, or the socket's)
        return False
    return False
