"""Speed of the sandbox itself: raw messages from one process, webhooks to another that answers 200 at once.

`python -m bench.sandbox [--messages N] [--rate R] [--connections C] [--latency-ms L] [--runs 3] [--json FILE]`.
R = 0 sends as fast as answers come. The judge must be faster than whom it judges: these figures say by how much.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, cast

import orjson
import uvloop

from bench.machine import machine
from titanflow.cli.stage import free_port

_NUMBERS = ("101", "102", "103", "104")
_HEAD = b"POST /v25.0/%b/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\nContent-Length: %d\r\n\r\n%b"


def request(n: int) -> bytes:
    """The n-th message."""
    texts = [{"type": "text", "text": text} for text in ("Maria", "X1", "Rome")]
    template = {"name": "spring_offer", "language": {"code": "en_US"}}
    message = {
        "messaging_product": "whatsapp",
        "to": f"+4915{n:09d}",
        "type": "template",
        "biz_opaque_callback_data": f"m:{n}:1",
        "template": {**template, "components": [{"type": "body", "parameters": texts}]},
    }
    body = orjson.dumps(message)
    return _HEAD % (_NUMBERS[n % len(_NUMBERS)].encode(), len(body), body)


class Load:
    """Sends messages over a fixed set of connections, one at a time on each."""

    def __init__(self, messages: int, rate: float) -> None:
        self.messages, self.rate = messages, rate
        self.sent = self.answered = 0
        self.statuses: Counter[bytes] = Counter()
        self.idle: list[_Client] = []
        self.done = asyncio.Event()

    async def run(self, port: int, connections: int) -> float:
        """Return the seconds from the first message to the last answer."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: _Client(self), "127.0.0.1", port)
        self.started = time.monotonic()
        while not self.done.is_set():
            self.pump()
            await asyncio.sleep(0.002)
        return time.monotonic() - self.started

    def pump(self) -> None:
        """Send what may leave now."""
        allowed = self.messages
        if self.rate:
            allowed = min(allowed, int((time.monotonic() - self.started) * self.rate))
        while self.idle and self.sent < allowed:
            self.idle.pop().transport.write(request(self.sent))
            self.sent += 1

    def took(self, client: "_Client", status: bytes) -> None:
        """One more answer."""
        self.statuses[status] += 1
        self.answered += 1
        self.idle.append(client)
        if self.answered == self.messages:
            self.done.set()
        self.pump()


class _Client(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self._load = load
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._load.idle.append(self)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if _whole(self._unread):
            status, self._unread = self._unread[9:12], b""
            self._load.took(self, status)


class _Sink(asyncio.Protocol):
    """Answers 200 to everything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._unread = cast(asyncio.Transport, transport), bytearray()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if _whole(self._unread):
            self._unread.clear()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def _whole(unread: bytes | bytearray) -> bool:
    end = unread.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = bytes(unread[:end]).lower().partition(b"content-length:")[2].split(b"\r\n")[0]
    return len(unread) >= end + 4 + int(length)


async def _sink(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Sink, "127.0.0.1", port)
    await server.serve_forever()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One run with processes of its own."""
    port, sink_port = free_port(), free_port()
    sink = subprocess.Popen([sys.executable, "-m", "bench.sandbox", "--sink", str(sink_port)])
    command = [sys.executable, "-m", "titanflow.sandbox", "--port", str(port), "--app-secret", "s", "--speed", "4"]
    command += ["--webhook-url", f"http://127.0.0.1:{sink_port}/hook", "--latency-ms", str(options.latency_ms)]
    sandbox = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert sandbox.stdout is not None
        sandbox.stdout.readline()  # it says that it listens
        for number in _NUMBERS:
            _control(port, "numbers", {"phone_number_id": number, "mps": 1_000_000})
        before = _cpu_s(sandbox.pid)
        load = Load(options.messages, options.rate)
        took_s = uvloop.run(load.run(port, options.connections))
        while _control(port, "idle?timeout=60")["pending"]:
            pass
        cpu_s = _cpu_s(sandbox.pid) - before
        summary = _control(port, "summary")
        assert load.statuses == {b"200": options.messages}, load.statuses
        assert summary["accepted"] == options.messages
        assert summary["accepted_twice"] == 0
        memory = Path(f"/proc/{sandbox.pid}/status").read_text().partition("VmRSS:")[2].split()[0]
        return {
            "messages_per_second": round(options.messages / took_s),
            "statuses_per_message": round(summary["webhooks"]["acknowledged"] / options.messages, 2),
            "cpu_us_per_message": round(cpu_s / options.messages * 1e6),
            "worst_lag_ms": summary["worst_lag_ms"],
            "memory_mib": int(memory) // 1024,
            "load_average": os.getloadavg()[0],
        }
    finally:
        for process in (sandbox, sink):
            process.terminate()
            process.wait(timeout=30)


def _control(port: int, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_sandbox/{path}", data, timeout=90) as answer:
        return json.loads(answer.read())


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(prog="titanflow bench sandbox", description=__doc__)
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--latency-ms", type=float, default=5.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, dest="json_file")
    parser.add_argument("--sink", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sink:
        uvloop.run(_sink(options.sink))
    runs = [run(options) for _ in range(options.runs)]
    figures = {name: statistics.median(one[name] for one in runs) for name in runs[0]}
    for name, value in figures.items():
        print(f"{name:24} {value}")
    if options.json_file is not None:
        load = {name: getattr(options, name) for name in ("messages", "rate", "connections", "latency_ms")}
        options.json_file.write_text(
            json.dumps({**figures, "load": load, "runs": runs, "machine": machine()}, indent=2)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
