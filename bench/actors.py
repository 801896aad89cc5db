"""Speed of the supervision kernel, beside plain pykka and plain gevent queues in the same run.

`python -m bench.actors [--json FILE] [--runs N]`. Medians of N runs (3 by default).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from titanflow.supervision import patch_everything

patch_everything()

import gevent  # noqa: E402  # everything below comes after the patch
import pykka  # noqa: E402
from gevent.queue import Queue, SimpleQueue  # noqa: E402

from titanflow.supervision import (  # noqa: E402
    KILL,
    SHUTDOWN,
    Call,
    Cast,
    ChildSpec,
    GenServer,
    Pid,
    Reply,
    Supervisor,
    VirtualClock,
    call,
    cast,
    exit_process,
    start,
    stop,
    using_clock,
    which_children,
)

_MESSAGES = 200_000
_CALLS = 20_000
_ACTORS = 10_000
_RESTARTS = 2_000
_BURST = 1_000  # messages a producer sends before it lets the consumer run

_OTP = {
    "casts_per_second": 6_100_000,
    "calls_per_second": 733_000,
    "restarts_per_second": 163_000,
    "tree_of_10000_start_seconds": 0.05,
}


@dataclass(frozen=True, slots=True)
class _Message(Cast):
    pass


@dataclass(frozen=True, slots=True)
class _Request(Call[int]):
    pass


class _Counter(GenServer):
    def init(self) -> None:
        self.count = 0

    def handle_cast(self, message: Any) -> None:
        self.count += 1

    def handle_call(self, request: Any, sender: Any) -> Reply:
        return Reply(self.count)


class _PykkaCounter(pykka.ThreadingActor):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: Any) -> Any:
        self.count += 1
        return self.count


def run(json_file: Path | None = None, runs: int = 3) -> dict[str, Any]:
    """Measure, print a table, and write the medians to `json_file`."""
    measures: dict[str, Callable[[], dict[str, float]]] = {
        "messages": _messages,
        "calls": _calls,
        "spawns": _spawns,
        "restarts": _restarts,
        "memory": _memory,
        "tree": _tree,
    }
    results: dict[str, list[float]] = {}
    for _ in range(runs):
        for measure in measures.values():
            for key, value in measure().items():
                results.setdefault(key, []).append(value)
    medians: dict[str, Any] = {key: round(statistics.median(values), 4) for key, values in results.items()}
    medians["cast_to_queue_ratio"] = round(
        statistics.median(
            queue / ours
            for queue, ours in zip(results["gevent_queue_per_second"], results["casts_per_second"], strict=True)
        ),
        2,
    )
    medians["otp_for_comparison"] = _OTP
    medians["machine"] = _machine(runs)
    _print_table(medians)
    if json_file is not None:
        json_file.write_text(json.dumps(medians, indent=2) + "\n")
    return medians


def _messages() -> dict[str, float]:
    message = _Message()
    pid = start(_Counter(), timeout_s=10)

    def cast_all() -> None:
        for number in range(_MESSAGES):
            cast(pid, message)
            if number % _BURST == _BURST - 1:
                gevent.sleep(0)
        call(pid, _Request())

    ours = _timed(lambda: gevent.spawn(cast_all).join())
    stop(pid)
    ref = _PykkaCounter.start()

    def tell_all() -> None:
        for number in range(_MESSAGES):
            ref.tell(message)
            if number % _BURST == _BURST - 1:
                gevent.sleep(0)
        ref.ask(message)

    theirs = _timed(lambda: gevent.spawn(tell_all).join())
    ref.stop()
    return {
        "casts_per_second": _MESSAGES / ours,
        "gevent_queue_per_second": _MESSAGES / _timed(lambda: _through_queue(Queue(), message)),
        "gevent_simple_queue_per_second": _MESSAGES / _timed(lambda: _through_queue(SimpleQueue(), message)),
        "pykka_tells_per_second": _MESSAGES / theirs,
    }


def _through_queue(queue: Any, message: object) -> None:
    def put_all() -> None:
        for number in range(_MESSAGES):
            queue.put(message)
            if number % _BURST == _BURST - 1:
                gevent.sleep(0)

    def get_all() -> None:
        for _ in range(_MESSAGES):
            queue.get()

    gevent.joinall([gevent.spawn(put_all), gevent.spawn(get_all)])


def _calls() -> dict[str, float]:
    pid = start(_Counter())
    ours = _timed(lambda: gevent.spawn(lambda: [call(pid, _Request()) for _ in range(_CALLS)]).join())
    stop(pid)
    ref = _PykkaCounter.start()
    theirs = _timed(lambda: gevent.spawn(lambda: [ref.ask(1) for _ in range(_CALLS)]).join())
    ref.stop()
    return {"calls_per_second": _CALLS / ours, "pykka_asks_per_second": _CALLS / theirs}


def _spawns() -> dict[str, float]:
    pids: list[Pid] = []
    ours = _timed(lambda: pids.extend(start(_Counter()) for _ in range(_ACTORS)))
    _end(pids)
    refs: list[Any] = []
    theirs = _timed(lambda: refs.extend(_PykkaCounter.start() for _ in range(_ACTORS // 10)))
    for ref in refs:
        ref.stop()
    return {"spawns_per_second": _ACTORS / ours, "pykka_spawns_per_second": _ACTORS / 10 / theirs}


def _restarts() -> dict[str, float]:
    """From kill to the successor's init, one after the other; logs off, as a storm would be rate-limited."""
    import logging

    import structlog

    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with using_clock(VirtualClock()):  # no time passes: the window holds them all
        sup = start(Supervisor([ChildSpec("a", _Counter)], max_restarts=_RESTARTS + 1))

    def kill_all() -> None:
        for _ in range(_RESTARTS):
            child = which_children(sup)[0].pid
            assert isinstance(child, Pid)
            exit_process(child, KILL)
            while child.alive or not isinstance(which_children(sup)[0].pid, Pid):
                gevent.sleep(0)

    seconds = _timed(lambda: gevent.spawn(kill_all).join())
    stop(sup)
    structlog.configure(**before)
    return {"restarts_per_second": _RESTARTS / seconds}


def _memory() -> dict[str, float]:
    """In a process of its own: in this one, freed memory would be used again and not be seen."""
    root = Path(__file__).parent.parent
    command = [sys.executable, "-m", "bench.actors", "--memory"]
    answer = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True, timeout=120)
    return {"bytes_per_actor": float(answer.stdout)}


def _bytes_per_actor() -> float:
    for _ in range(10):
        stop(start(_Counter()))
    gc.collect()
    before = _resident_bytes()
    pids = [start(_Counter()) for _ in range(_ACTORS)]
    gevent.sleep(0.01)
    return (_resident_bytes() - before) / len(pids)


def _tree() -> dict[str, float]:
    specs = [ChildSpec(number, _Counter) for number in range(_ACTORS)]
    pids: list[Pid] = []
    started = _timed(lambda: pids.append(start(Supervisor(specs))))
    stopped = _timed(lambda: stop(pids[0], SHUTDOWN))
    return {"tree_of_10000_start_seconds": started, "tree_of_10000_stop_seconds": stopped}


def _end(pids: list[Pid]) -> None:
    for pid in pids:
        exit_process(pid, SHUTDOWN)
    while any(pid.alive for pid in pids):
        gevent.sleep(0.001)
    gevent.sleep(0.01)
    pids.clear()
    gc.collect()


def _timed(action: Callable[[], object]) -> float:
    gc.collect()
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _machine(runs: int) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "runs": runs,
        **{name: metadata.version(name) for name in ("gevent", "greenlet", "pykka")},
    }


def _print_table(medians: dict[str, Any]) -> None:
    rows = [
        ("casts/s", "casts_per_second", "gevent Queue", "gevent_queue_per_second"),
        ("", "casts_per_second", "gevent SimpleQueue", "gevent_simple_queue_per_second"),
        ("", "casts_per_second", "pykka tell", "pykka_tells_per_second"),
        ("calls/s", "calls_per_second", "pykka ask", "pykka_asks_per_second"),
        ("spawns/s", "spawns_per_second", "pykka start", "pykka_spawns_per_second"),
        ("restarts/s", "restarts_per_second", "", ""),
        ("bytes an idle actor", "bytes_per_actor", "", ""),
        ("10,000 actors: start, s", "tree_of_10000_start_seconds", "", ""),
        ("10,000 actors: stop, s", "tree_of_10000_stop_seconds", "", ""),
    ]
    print(f"{'':26}{'kernel':>14}   {'beside it':20}{'':>14}{'real OTP':>14}")
    for title, key, other, other_key in rows:
        baseline = f"{medians[other_key]:>14,.2f}" if other_key else " " * 14
        otp = f"{_OTP[key]:>14,.2f}" if title and key in _OTP else ""
        print(f"{title:26}{medians[key]:>14,.2f}   {other:20}{baseline}{otp}")
    print(f"a cast costs {medians['cast_to_queue_ratio']} times a put and get of a gevent Queue")


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.actors", description=__doc__)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="print the bytes of an idle actor, and end")
    options = parser.parse_args(arguments)
    if options.memory:
        print(_bytes_per_actor())
        return 0
    run(options.json, options.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
