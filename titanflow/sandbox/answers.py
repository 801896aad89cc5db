"""An answer to a message: its bytes on the wire, whole or spoilt, and what happens to the connection afterwards."""

import gzip
from dataclasses import dataclass
from http import HTTPStatus

import orjson

from titanflow.sandbox.errors import Refusal

_HTML = b"<!DOCTYPE html><html><head><title>Error</title></head><body>Sorry, something went wrong.</body></html>"
_REASONS = {one.value: one.phrase for one in HTTPStatus}
_OK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=UTF-8\r\nx-fb-trace-id: AsandboxTrace\r\n"
    b'x-app-usage: {"call_count":1,"total_cputime":1,"total_time":1}\r\nContent-Length: %d\r\n\r\n%b'
)


@dataclass(slots=True)
class Answer:
    """kind: "" for an ordinary one, else a kind of doubt or oddity. row: in the ledger, if it was accepted."""

    body: bytes
    wait_s: float
    status: int = 200
    headers: dict[str, str] | None = None
    kind: str = ""
    row: int | None = None


def refused(error: Refusal, wait_s: float) -> Answer:
    """A Graph error as an answer."""
    return Answer(error.body(), wait_s, error.status, error.headers)


def on_the_wire(answer: Answer) -> tuple[bytes, str]:
    """Return the bytes to write, and what to do then: keep, close or abort the connection."""
    if not answer.kind:
        if answer.status == 200:
            return _OK % (len(answer.body), answer.body), "keep"
        return http(answer.status, answer.body, headers=answer.headers), "keep"
    what = answer.kind.rpartition("_")[0]
    body = answer.body
    if what.startswith("code_"):
        error = Refusal(int(what.removeprefix("code_")), "Something went wrong")
        return http(error.status, error.body()), "keep"
    if what in ("reset", "hang") or (what == "cut" and not body):
        return b"", "abort"
    if what == "close":
        return b"", "close"
    if what == "cut":
        return (_OK % (len(body), body))[: -(len(body) // 2)], "close"
    if what == "malformed":
        return http(200, b'{"messages": [{"id'), "keep"
    if what == "empty":
        return http(200, b""), "keep"
    if what == "no_messages":
        return http(200, b'{"messaging_product": "whatsapp"}'), "keep"
    if what.startswith("html"):
        return http(int(what.partition("_")[2] or 502), _HTML, content_type="text/html; charset=utf-8"), "keep"
    if what == "redirect":
        return http(302, _HTML, content_type="text/html", headers={"Location": "/login"}), "keep"
    if what == "slow" and not body:
        error = Refusal(131016)
        return http(error.status, error.body()), "keep"
    return _odd(what, body)


def _odd(what: str, body: bytes) -> tuple[bytes, str]:
    if what == "gzip":
        return http(200, gzip.compress(body), headers={"Content-Encoding": "gzip"}), "keep"
    if what == "text_type":
        return http(200, body, content_type="text/html"), "keep"
    if what == "extra_fields":
        more = {"new": {"nested": [1, None]}, "warning": "é"}
        return http(200, orjson.dumps({**orjson.loads(body), **more})), "keep"
    if what == "chunked":
        parts = [body[start : start + 40] for start in range(0, len(body), 40)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
            "keep",
        )
    return http(200, body), "close" if what == "close_after_answer" else "keep"


def http(
    status: int, body: bytes, *, content_type: str = "application/json", headers: dict[str, str] | None = None
) -> bytes:
    """A whole HTTP/1.1 answer."""
    head = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}", f"Content-Type: {content_type}"]
    head += [f"{name}: {value}" for name, value in (headers or {}).items()]
    head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
