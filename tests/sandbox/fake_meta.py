"""A sandbox process and a receiver of its webhooks, for tests over real HTTP."""

import hashlib
import hmac
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "an-app-secret"
DEADLINE_S = 30.0


@dataclass
class Answer:
    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> int | None:
        """The Graph error's code, if it is one."""
        return int(self.body["error"]["code"]) if isinstance(self.body, dict) and "error" in self.body else None

    @property
    def wamid(self) -> str:
        return str(self.body["messages"][0]["id"])


@dataclass
class Receiver:
    """Takes webhooks and keeps them. status: what it answers."""

    status: int = 200
    bodies: list[bytes] = field(default_factory=list)
    wrongly_signed: int = 0

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver.take(self.rfile.read(int(self.headers["Content-Length"])), self.headers["X-Hub-Signature-256"])
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, body: bytes, signature: str) -> None:
        right = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        with self._changed:
            if signature == right:
                self.bodies.append(body)
            else:
                self.wrongly_signed += 1
            self._changed.notify_all()

    def changes(self, name: str = "messages") -> list[dict[str, Any]]:
        """All values of a field so far."""
        return [
            change["value"]
            for body in list(self.bodies)
            for entry in json.loads(body)["entry"]
            for change in entry["changes"]
            if change["field"] == name
        ]

    def statuses(self, wamid: str = "") -> list[dict[str, Any]]:
        """All statuses so far, of one message or of all."""
        found = [one for value in self.changes() for one in value.get("statuses", [])]
        return [one for one in found if not wamid or one["id"] == wamid]

    def messages(self) -> list[dict[str, Any]]:
        """All inbound messages so far."""
        return [one for value in self.changes() for one in value.get("messages", [])]

    def wait(self, what: Any) -> Any:
        """Return what() as soon as it is true."""
        deadline = time.monotonic() + DEADLINE_S
        with self._changed:
            while not (found := what()):
                left_s = deadline - time.monotonic()
                assert left_s > 0, "the webhook did not come"
                self._changed.wait(left_s)
        return found

    def status_of(self, wamid: str, status: str) -> dict[str, Any]:
        """Wait for one status of a message."""
        found = self.wait(lambda: [one for one in self.statuses(wamid) if one["status"] == status])
        return dict(found[0])


@dataclass
class FakeMeta:
    """The process. Every call opens its own connection."""

    port: int
    receiver: Receiver
    process: "subprocess.Popen[bytes]"

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"Authorization": "Bearer token", "Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, given, method=method)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return _answer(answer.status, answer.read(), dict(answer.headers))
        except urllib.error.HTTPError as error:
            return _answer(error.code, error.read(), dict(error.headers))

    def control(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.call(method, f"/_sandbox/{path}", body)
        assert answer.status < 300, answer
        return answer.body

    def get(self, path: str) -> Answer:
        return self.call("GET", f"/v25.0/{path}")

    def post(self, path: str, body: Any = None) -> Answer:
        return self.call("POST", f"/v25.0/{path}", body)

    def send(self, to: str = "+491510000001", number: str = "101", **changes: Any) -> Answer:
        return self.post(f"{number}/messages", a_message(to, **changes))

    def rule(self, **rule: Any) -> int:
        return int(self.control("POST", "rules", rule)["id"])

    def hits(self, rule_id: int) -> int:
        rules = self.control("GET", "rules")["rules"]
        return next(int(one["hits"]) for one in rules if one["id"] == rule_id)

    def summary(self) -> Any:
        return self.control("GET", "summary")

    def ledger(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/_sandbox/ledger", timeout=DEADLINE_S) as answer:
            return [json.loads(line) for line in answer.read().splitlines()]


def _answer(status: int, raw: bytes, headers: dict[str, str]) -> Answer:
    try:
        body = json.loads(raw)
    except ValueError:
        body = raw
    return Answer(status, body, {name.lower(): value for name, value in headers.items()})


def a_message(to: str = "+491510000001", *, echo: str = "m:1:1", template: str = "spring_offer", **more: Any) -> Any:
    texts = [{"type": "text", "text": text} for text in more.pop("texts", ("Ann", "X1", "Rome"))]
    return {
        "messaging_product": "whatsapp",
        "to": to,
        "type": "template",
        "biz_opaque_callback_data": echo,
        "template": {
            "name": template,
            "language": {"code": "en_US"},
            "components": [{"type": "body", "parameters": texts}],
        },
        **more,
    }


def a_text(to: str = "+491510000001", *, echo: str = "i:1:1") -> Any:
    text = {"body": "Hello"}
    return {
        "messaging_product": "whatsapp",
        "to": to,
        "type": "text",
        "text": text,
        "biz_opaque_callback_data": echo,
    }


@contextmanager
def running_sandbox(*options: str) -> Iterator[FakeMeta]:
    """Start a sandbox; its people are quick and it answers at once."""
    receiver = Receiver()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = ["--webhook-url", receiver.url, "--app-secret", SECRET, "--latency-ms", "0", "--speed", "20"]
    command = [sys.executable, "-m", "titanflow.sandbox", "--port", str(port), *given, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"listening on ")
        yield FakeMeta(port, receiver, process)
    finally:
        process.terminate()
        process.wait(timeout=DEADLINE_S)
        receiver.server.shutdown()
