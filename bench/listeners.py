"""What idle listeners to server-sent events cost one server process: memory, CPU, and how fast all of them are told.

`python -m bench.listeners [--listeners N] [--seconds S] [--runs 3] [--json FILE]`. Each run, on a new server: S seconds
without listeners, N streams of one campaign opened, S seconds with them (heartbeats are in it), then one change of the
campaign's state, told to all. The bench and the server share this machine; its own CPU is not counted.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.machine import machine
from titanflow.cli.stage import Stage

_DEADLINE_S = 120.0


class _Listener:
    """A stream. heard_at: when the change came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.heard_at: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def listen(self) -> None:
        """Read to the end."""
        text = b""
        while data := await self.reader.read(65536):
            text = (text + data)[-4096:]
            if b'"state":"cancelled"' in text and not self.heard_at.done():
                self.heard_at.set_result(time.monotonic())


async def _open(port: int, path: str, token: str, ready: asyncio.Semaphore) -> _Listener:
    async with ready:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readuntil(b"event: stats\n")  # how it stands is there
        return _Listener(reader, writer)


async def _measure(stage: Stage, campaign_id: int, options: argparse.Namespace) -> dict[str, float]:
    path = f"/api/v1/campaigns/{campaign_id}"
    idle_cpu = await _cpu_of(stage, options.seconds)
    before = max(stage.memory_bytes())
    began, cpu_began = time.monotonic(), stage.cpu_s()
    gate = asyncio.Semaphore(20)
    opening = [_open(stage.port, f"{path}/events", stage.token, gate) for _ in range(options.listeners)]
    listeners = await asyncio.gather(*opening)
    open_s, open_cpu_s = time.monotonic() - began, stage.cpu_s() - cpu_began
    reading = [asyncio.create_task(one.listen()) for one in listeners]
    listening_cpu = await _cpu_of(stage, options.seconds)
    after = max(stage.memory_bytes())
    asked = time.monotonic()
    await asyncio.to_thread(stage.api.post, f"{path}/cancel")
    heard = sorted(await asyncio.wait_for(asyncio.gather(*(one.heard_at for one in listeners)), _DEADLINE_S))
    for one, task in zip(listeners, reading, strict=True):
        task.cancel()
        one.writer.close()
    return {
        "opened_per_second": round(options.listeners / open_s),
        "open_cpu_ms_each": round(open_cpu_s / options.listeners * 1e3, 2),
        "memory_kib_each": round((after - before) / options.listeners / 1024, 1),
        "idle_cpu_percent": round(idle_cpu * 100, 2),
        "listening_cpu_percent": round(listening_cpu * 100, 2),
        "first_told_ms": round((heard[0] - asked) * 1e3),
        "all_told_after_first_ms": round((heard[-1] - heard[0]) * 1e3, 1),
        "load_average": os.getloadavg()[0],
    }


async def _cpu_of(stage: Stage, seconds: float) -> float:
    began = stage.cpu_s()
    await asyncio.sleep(seconds)
    return (stage.cpu_s() - began) / seconds


def run(options: argparse.Namespace) -> dict[str, float]:
    """One run on a new server. Returns its figures."""
    folder = Path(tempfile.mkdtemp(prefix="tf-"))
    folder.chmod(0o755)
    stage = Stage(folder / "data")
    try:
        stage.start()
        campaign_id = int(stage.api.post("/api/v1/campaigns", {"name": "listened to"})["id"])
        return asyncio.run(_measure(stage, campaign_id, options))
    finally:
        stage.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(prog="titanflow bench listeners", description=__doc__)
    parser.add_argument("--listeners", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, dest="json_file")
    options = parser.parse_args()
    runs = [run(options) for _ in range(options.runs)]
    figures = {name: statistics.median(one[name] for one in runs) for name in runs[0]}
    for name, value in figures.items():
        print(f"{name:24} {value}")
    if options.json_file is not None:
        load: dict[str, Any] = {"listeners": options.listeners, "seconds": options.seconds}
        report = {**figures, "load": load, "runs": runs, "machine": machine()}
        options.json_file.write_text(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
