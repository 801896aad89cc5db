"""Speed of sending: whole campaigns through real PostgreSQL, Redis, the server and the sandbox, all on this machine.

`python -m bench.send [--numbers N] [--mps R] [--seconds S] [--latency-ms L] [--faults PROFILE] [--runs 3] [--split]`.
R is each number's. Medians of the runs; a run of its own for where the CPU time goes (--split).
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.machine import machine
from titanflow.cli import books, demo
from titanflow.cli.stage import Stage
from titanflow.errors import TitanFlowError, Unavailable

_SPLIT_CONFIG = Path(__file__).with_name("split_gunicorn.py")
_WARM_S = 3.0  # the ramp and the first connections, left out of "allowance used"


@dataclass(frozen=True)
class Load:
    """What is sent."""

    numbers: int
    mps: int
    contacts: int
    latency_ms: float
    faults: str
    speed: float
    data_dir: Path


def run(load: Load, *, split_file: Path | None = None) -> dict[str, Any]:
    """Send one campaign to its end. Returns its figures."""
    stage = Stage(
        load.data_dir,
        profile=load.faults,
        latency_ms=load.latency_ms,
        speed=load.speed,
        config=_SPLIT_CONFIG if split_file else None,
        environment={"TITANFLOW_BENCH_SPLIT": str(split_file)} if split_file else {},
    )
    options = demo.Options(
        load.contacts, load.numbers, load.mps * load.numbers, load.latency_ms, load.faults, False, True, None, 0,
        load.data_dir,
    )  # fmt: skip
    try:
        stage.start()
        campaign_id, max_mps = demo.prepare(stage, options, Console(quiet=True))
        cpu_before = stage.cpu_s()
        stage.api.post(f"/api/v1/campaigns/{campaign_id}/start")
        watched = _watch(stage, campaign_id, 120 + 6 * load.contacts / (load.mps * load.numbers))
        demo.settle(stage)
        cpu_s = stage.cpu_s() - cpu_before
        result = books.compare(stage.api, stage.meta, campaign_id, max_mps=max_mps)
        return _figures(stage, load, watched, cpu_s, result)
    finally:
        stage.stop()


def _watch(stage: Stage, campaign_id: int, within_s: float) -> dict[str, Any]:
    """Follow the campaign; returns the worst p99 of the hub's lag, memory, and the arrivals between warm and end."""
    deadline = time.monotonic() + within_s
    began = time.monotonic()
    lags: list[float] = []
    memory: list[float] = []
    steady: list[tuple[float, int, int]] = []  # when, accepted, statuses acknowledged
    stats: dict[str, Any] = {"state": "running"}
    while stats["state"] == "running":
        if time.monotonic() > deadline:
            raise Unavailable(f"The campaign took longer than {within_s:.0f} s; it stands at {stats.get('counts')}")
        time.sleep(1.0)
        stats = stage.api.get(f"/api/v1/campaigns/{campaign_id}/stats")
        summary = stage.meta.get("/_sandbox/summary")
        waiting = stats["counts"]["pending"]
        if time.monotonic() - began > _WARM_S and waiting > 0:
            steady.append((time.monotonic(), summary["posts"], summary["webhooks"].get("acknowledged", 0)))
        memory.append(_server_memory_mib(stage))
        lag = _hub_lag_p99_ms(stage)
        if time.monotonic() - began > _WARM_S:
            lags.append(lag)
    if stats["state"] != "completed":
        raise TitanFlowError(f"The campaign is {stats['state']}", why=str(stats["state_reason"]))
    first, last = steady[0], steady[-1]
    span_s = last[0] - first[0]
    return {
        "posts_per_second": (last[1] - first[1]) / span_s if span_s else 0.0,
        "statuses_per_second": (last[2] - first[2]) / span_s if span_s else 0.0,
        "hub_lag_p99_ms": statistics.median(lags),
        "memory_mib": [round(memory[0]), round(statistics.median(memory)), round(memory[-1]), round(max(memory))],
    }


def _figures(stage: Stage, load: Load, watched: dict[str, Any], cpu_s: float, result: books.Books) -> dict[str, Any]:
    accepted, span_s = result.sandbox["accepted"], result.sandbox["span_s"]
    return {
        "messages_per_second": round(accepted / span_s, 1),
        "steady_per_second": round(watched["posts_per_second"], 1),
        "allowance_used": round(watched["posts_per_second"] / (load.mps * load.numbers), 4),
        "statuses_per_second": round(watched["statuses_per_second"], 1),
        "cpu_us_per_message": round(cpu_s / accepted * 1e6),
        "hub_lag_p99_ms": round(watched["hub_lag_p99_ms"], 1),
        "max_rate_1s": result.sandbox["max_rate_1s"],
        "sandbox_worst_lag_ms": result.sandbox["worst_lag_ms"],
        "in_doubt": result.audit["counts"]["in_doubt"],
        "duplicates": result.audit["duplicates"] + result.sandbox["accepted_twice"],
        "accepted": accepted,
        "memory_mib_first_median_last_most": watched["memory_mib"],
        "broken_promises": [name for name, held in result.promises.items() if not held],
    }


def _hub_lag_p99_ms(stage: Stage) -> float:
    for line in stage.api.lines("/metrics"):
        if line.startswith(b'titanflow_hub_lag_ms{quantile="0.99"}'):
            return float(line.split()[-1])
    raise Unavailable("The server tells no hub lag")


def _server_memory_mib(stage: Stage) -> float:
    """The largest resident process of the server: the worker."""
    return max(stage.memory_bytes(), default=0) / 2**20


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="titanflow bench send", description=__doc__)
    parser.add_argument("--numbers", type=int, default=1)
    parser.add_argument("--mps", type=int, default=1000, help="of each number")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--contacts", type=int, default=0, help="in place of --seconds")
    parser.add_argument("--latency-ms", type=float, default=100.0)
    parser.add_argument("--faults", default="every-status")
    parser.add_argument("--speed", type=float, default=4.0, help="how much faster than people those of the sandbox are")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--split", action="store_true", help="one more run that says where the CPU time goes")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--data-dir", type=Path, default=Path(".data/bench"))
    given = parser.parse_args(arguments)
    # Of the example's rows some seven per cent are unusable or duplicates.
    contacts = given.contacts or int(given.mps * given.numbers * given.seconds * 1.075)
    load = Load(given.numbers, given.mps, contacts, given.latency_ms, given.faults, given.speed, given.data_dir)
    runs = []
    for n in range(given.runs):
        runs.append(run(load))
        print(f"run {n + 1}: {runs[-1]}", flush=True)
    medians = {
        key: statistics.median(one[key] for one in runs)
        for key, value in runs[0].items()
        if isinstance(value, int | float)
    }
    report: dict[str, Any] = {**medians, "load": vars(given) | {"data_dir": "", "json": ""}, "runs": runs, **machine()}
    if given.split:
        split_file = given.data_dir / "split.json"
        run(load, split_file=split_file.resolve())
        spent = json.loads(split_file.read_text())
        total = sum(spent.values())
        report["cpu_us_split"] = {
            part: round(ns / total * medians["cpu_us_per_message"]) for part, ns in sorted(spent.items())
        }
    for key, value in report.items():
        if key not in ("runs", "load"):
            print(f"{key:26} {value}")
    if given.json:
        given.json.write_text(json.dumps(report, indent=2, default=str) + "\n")
    return 1 if any(one["broken_promises"] for one in runs) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
