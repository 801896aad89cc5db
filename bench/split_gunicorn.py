"""gunicorn's configuration of the project, with every greenlet's CPU time counted: for `bench send --split`.

Writes JSON {part: nanoseconds} to the file in TITANFLOW_BENCH_SPLIT each second. Counting costs some microseconds a
switch, so the shares are right and the total is not: that one comes from runs without it.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
exec(compile((_ROOT / "gunicorn.conf.py").read_text(), "gunicorn.conf.py", "exec"))  # noqa: S102

_PARTS = {
    "Worker": "client",
    "Dispatcher": "claim and settle",
    "Recorder": "claim and settle",
    "BufferManager": "claim and settle",
    "WebhookIngestor": "webhooks",
}
_start_project = globals()["post_worker_init"]


def post_worker_init(worker: Any) -> None:
    """Start the project, then count."""
    _start_project(worker)
    import greenlet
    from gevent.hub import Hub

    from titanflow.supervision import sleep_ms, spawn_plain

    spent: dict[str, int] = {}
    kinds: dict[type, str] = {Hub: "event loop"}
    clock = time.thread_time_ns
    last = clock()

    def part_of(one: Any) -> str:
        process = getattr(one, "process", None)
        if process is not None:
            return _PARTS.get(process.pid.kind, "other actors")
        return kinds.get(type(one), "webhooks")  # what is left serves HTTP: bodies, signatures, parsing

    def switched(event: str, switch: tuple[Any, Any]) -> None:
        nonlocal last
        now = clock()
        part = part_of(switch[0])
        spent[part] = spent.get(part, 0) + now - last
        last = now

    greenlet.settrace(switched)
    target = Path(os.environ["TITANFLOW_BENCH_SPLIT"])

    def write() -> None:
        while worker.alive:
            sleep_ms(1000)
            target.write_text(json.dumps(spent))

    spawn_plain(write)
