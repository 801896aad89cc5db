"""The load of `bench webhook`: statuses of sent messages in signed POSTs over kept-alive connections, as Meta does.

A process of its own; reads one JSON object (Load) on standard input, says "ready" once every byte is prepared, begins
at a line, and prints its figures as JSON. Bodies are built and signed before the first one leaves, so that the
generator takes little of the cores that it shares with whom it measures; what it took is part of its figures.
"""

import asyncio
import hashlib
import hmac
import json
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any, cast

import uvloop

_LAGS = {"sent": 0, "delivered": 300, "read": 900}  # so many messages later that word of a message comes
_HEAD = (
    "POST /api/webhooks/whatsapp HTTP/1.1\r\nHost: bench\r\nUser-Agent: facebookexternalua\r\nAccept: */*\r\n"
    "Content-Type: application/json\r\nX-Hub-Signature-256: sha256=%s\r\nContent-Length: %d\r\n\r\n"
)
_TICK_S = 0.001


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent. rate: POSTs a second, each at its planned moment; 0: as fast as answers come.

    The n-th message has log id first_log_id + n and wamid `wamid_prefix` + n; each gets sent, delivered and read.
    """

    port: int
    secret: str
    first_log_id: int
    wamid_prefix: str
    messages: int
    per_body: int = 1
    rate: float = 0.0
    connections: int = 64


def status(load: Load, n: int, kind: str, at: int) -> dict[str, Any]:
    """One status as Meta's v23 has it."""
    found: dict[str, Any] = {
        "id": f"{load.wamid_prefix}{n}",
        "status": kind,
        "timestamp": str(at),
        "recipient_id": f"4915{n:09d}",
        "biz_opaque_callback_data": f"m:{load.first_log_id + n}:1",
    }
    if kind != "read":
        found["pricing"] = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "marketing"}
    if kind == "sent":
        origin = {"type": "marketing"}
        found["conversation"] = {"id": f"{n:032x}", "expiration_timestamp": str(at + 86400), "origin": origin}
    return found


def post(secret: str, statuses: list[dict[str, Any]]) -> bytes:
    """A whole request, signed."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550000001", "phone_number_id": "1001"},
        "contacts": [{"profile": {"name": "J\u00f6rg"}, "wa_id": statuses[0]["recipient_id"]}],
        "statuses": statuses,
    }
    changes = [{"value": value, "field": "messages"}]
    text = json.dumps({"object": "whatsapp_business_account", "entry": [{"id": "9001", "changes": changes}]})
    body = text.replace("/", "\\/").encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return (_HEAD % (signature, len(body))).encode() + body


def posts(load: Load) -> list[bytes]:
    """All requests, in the order in which they leave: news of many messages side by side, each message's in order."""
    at = int(time.time())
    updates = [
        status(load, n - lag, kind, at)
        for n in range(load.messages + max(_LAGS.values()))
        for kind, lag in _LAGS.items()
        if 0 <= n - lag < load.messages
    ]
    return [post(load.secret, updates[n : n + load.per_body]) for n in range(0, len(updates), load.per_body)]


class Generator:
    """Sends each request at its planned moment, or when a connection is free; delivers again what got no answer."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._posts = posts(load)
        self._idle: deque[_Client] = deque()
        self._open = self._next = self._answered = self._again_count = 0
        self._again: deque[int] = deque()
        self._took_ms = [0.0] * len(self._posts)
        self._answers: Counter[str] = Counter()
        self._done = asyncio.Event()

    async def run(self) -> dict[str, Any]:
        """Return the figures."""
        loop = asyncio.get_running_loop()
        for _ in range(self._load.connections):
            await self._connect()
        await loop.run_in_executor(None, _wait_for_start)
        cpu_s, self._began = time.process_time(), time.monotonic()
        while not self._done.is_set():
            while self._open < self._load.connections:
                await self._connect()
            self.pump()
            await asyncio.sleep(_TICK_S)
        span_s = time.monotonic() - self._began
        cpu_s = time.process_time() - cpu_s
        took = sorted(self._took_ms)
        return {
            "posts": len(took),
            "span_s": span_s,
            "p50_ms": took[len(took) // 2],
            "p99_ms": took[int(len(took) * 0.99)],
            "worst_ms": took[-1],
            "answers": dict(self._answers),
            "delivered_again": self._again_count,
            "generator_cpu_us_per_post": cpu_s / len(took) * 1e6,
        }

    async def _connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: _Client(self), "127.0.0.1", self._load.port)
        self._open += 1

    def pump(self) -> None:
        """Send what may leave now."""
        allowed = len(self._posts)
        if self._load.rate:
            allowed = min(allowed, int((time.monotonic() - self._began) * self._load.rate) + 1)
        while self._idle and (self._again or self._next < allowed):
            client = self._idle.popleft()
            if self._again:
                n = self._again.popleft()
            else:
                n, self._next = self._next, self._next + 1
                # Late because nobody was free to take it: that wait is part of what it took.
                planned = n / self._load.rate if self._load.rate else time.monotonic() - self._began
                self._took_ms[n] = -planned * 1e3
            client.send(n, self._posts[n])

    def free(self, client: "_Client") -> None:
        """A connection can take the next request."""
        self._idle.append(client)

    def answered(self, client: "_Client", n: int, answer: bytes) -> None:
        """Only 200 is an answer; anything else is delivered again."""
        self._answers[answer.decode("ascii", "replace")] += 1
        if answer == b"200":
            self._took_ms[n] += (time.monotonic() - self._began) * 1e3
            self._answered += 1
            if self._answered == len(self._posts):
                self._done.set()
        else:
            self._again.append(n)
            self._again_count += 1
        self._idle.append(client)
        self.pump()

    def lost(self, client: "_Client", n: int | None) -> None:
        """A connection is gone, perhaps with a request that got no answer."""
        self._open -= 1
        if n is not None:
            self._again.append(n)
            self._again_count += 1
        elif client in self._idle:
            self._idle.remove(client)


class _Client(asyncio.Protocol):
    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._n: int | None = None
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._generator.free(self)

    def send(self, n: int, request: bytes) -> None:
        self._n = n
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        end = self._unread.find(b"\r\n\r\n")
        if end < 0:
            return
        length = self._unread[:end].lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(self._unread) < end + 4 + int(length or b"0"):
            return
        answer, self._unread = self._unread[9:12], b""
        n, self._n = self._n, None
        if n is not None:
            self._generator.answered(self, n, answer)

    def connection_lost(self, _: Exception | None) -> None:
        self._generator.lost(self, self._n)


def _wait_for_start() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    print(json.dumps(uvloop.run(Generator(Load(**json.loads(sys.stdin.readline()))).run())), flush=True)
