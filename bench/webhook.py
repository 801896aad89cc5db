"""Speed of taking webhooks in: signed POSTs for real messages, durable before 200, on one server process.

`python -m bench.webhook [--rate R] [--seconds S] [--batch N] [--runs 3] [--json FILE] [--no-naive]`.
Each run: single statuses at their planned moments (what a POST waits for a free connection is part of what it took),
single statuses as fast as answers come, N statuses a POST as fast as answers come; then the first two against a plain
Falcon handler that does one UPDATE and one commit a status (bench/naive_webhook.py). Every status is proven in the
rows, the counters and the roll-ups at the end. Generator, server and PostgreSQL share this machine.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import sent_messages
from bench.machine import machine
from bench.sent_messages import SentMessages
from bench.webhook_load import Load
from titanflow.cli.stage import Stage, free_port
from titanflow.errors import TitanFlowError, Unavailable
from titanflow.storage import counters
from titanflow.storage.database import Database, connect

_SECRET = "bench-webhook"  # noqa: S105  (of a server that lives for a minute)
_ROOT = Path(__file__).resolve().parents[1]


def run(given: argparse.Namespace) -> dict[str, Any]:
    """One run on a new database. Returns its figures."""
    stage = Stage(given.data_dir, environment={"META_APP_SECRET": _SECRET})
    try:
        stage.start()
        sent_messages.prepare(stage)
        _measure(stage, stage.port, _server_pids(stage), given.rate, 1, 900, proof=True)  # warm
        single = int(given.rate * given.seconds / 3)
        offered, ceiling, batched = (
            _measure(stage, stage.port, _server_pids(stage), rate, per_body, messages, proof=True)
            for rate, per_body, messages in (
                (given.rate, 1, single), (0, 1, single), (0, given.batch, given.batched_updates // 3)
            )
        )  # fmt: skip
        figures = {
            "posts_per_second": offered["posts_per_second"],
            "p50_ms": offered["p50_ms"],
            "p99_ms": offered["p99_ms"],
            "worst_ms": offered["worst_ms"],
            "cpu_us_per_update": offered["server_cpu_us_per_update"],
            "ceiling_posts_per_second": ceiling["posts_per_second"],
            "batched_updates_per_second": batched["updates_per_second"],
            "batched_cpu_us_per_update": batched["server_cpu_us_per_update"],
            "generator_cpu_us_per_post": offered["generator_cpu_us_per_post"],
            "offered": offered,
            "ceiling": ceiling,
            "batched": batched,
        }
        if given.naive:
            stage.stop_server()
            with _naive(stage) as (port, pids):
                _measure(stage, port, pids, 0, 1, 300, proof=False)
                naive = [_measure(stage, port, pids, rate, 1, single // 2, proof=False) for rate in (given.rate, 0)]
            figures |= {
                "naive_posts_per_second": naive[0]["posts_per_second"],
                "naive_p50_ms": naive[0]["p50_ms"],
                "naive_p99_ms": naive[0]["p99_ms"],
                "naive_ceiling_posts_per_second": naive[1]["posts_per_second"],
                "naive_cpu_us_per_update": naive[0]["server_cpu_us_per_update"],
                "naive": naive,
            }
        return figures
    finally:
        stage.stop()


def _measure(
    stage: Stage, port: int, pids: list[int], rate: float, per_body: int, messages: int, *, proof: bool
) -> dict[str, Any]:
    """Send three statuses for each of so many messages. Returns figures; raises unless every one is in the rows."""
    made = sent_messages.make(stage.database_url, messages)
    # As many connections as Meta would need for such a rate if an answer took 100 ms; enough to keep a ceiling busy.
    connections = 300 if rate else 64 if per_body == 1 else 16
    load = Load(
        port, _SECRET, made.first_log_id, made.wamid_prefix, messages, per_body=per_body, rate=rate,
        connections=connections,
    )  # fmt: skip
    generator = subprocess.Popen(
        [sys.executable, "-m", "bench.webhook_load"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert generator.stdin is not None
        assert generator.stdout is not None
        generator.stdin.write(json.dumps(asdict(load)) + "\n")
        generator.stdin.flush()
        if generator.stdout.readline() != "ready\n":
            raise Unavailable("The load generator did not start")
        before = _cpu_s(pids), _cpu_s(_postgres_pids(stage))
        generator.stdin.write("go\n")
        generator.stdin.close()
        sent = json.loads(generator.stdout.readline() or "null")
        after = _cpu_s(pids), _cpu_s(_postgres_pids(stage))
    finally:
        generator.terminate()
        generator.wait(timeout=30)
    if sent is None:
        raise Unavailable("The load generator broke down")
    _prove(stage, made, counted=proof)
    updates = messages * 3
    return {
        "posts_per_second": round(sent["posts"] / sent["span_s"], 1),
        "updates_per_second": round(updates / sent["span_s"]),
        **{name: round(sent[name], 1) for name in ("p50_ms", "p99_ms", "worst_ms", "generator_cpu_us_per_post")},
        "server_cpu_us_per_update": round((after[0] - before[0]) / updates * 1e6, 1),
        "postgres_cpu_us_per_update": round((after[1] - before[1]) / updates * 1e6, 1),
        "answers": sent["answers"],
        "delivered_again": sent["delivered_again"],
        "connections": connections,
    }


def _prove(stage: Stage, made: SentMessages, *, counted: bool) -> None:
    """Raise unless every status is in the rows; counted: and in counters and roll-ups."""
    with connect(stage.database_url) as connection:
        row = connection.execute(
            "SELECT count(*) FILTER (WHERE state = 'read' AND delivered_at IS NOT NULL AND read_at IS NOT NULL)"
            " FROM message_logs WHERE campaign_id = %s",
            [made.campaign_id],
        ).fetchone()
        rolled_up = connection.execute(
            "SELECT sum(sent)::int, sum(delivered)::int, sum(read)::int FROM stats_hourly WHERE campaign_id = %s",
            [made.campaign_id],
        ).fetchone()
    if row != (made.messages,):
        raise TitanFlowError(f"Of {made.messages} messages {row} are read")
    if not counted:
        return
    if rolled_up != (made.messages,) * 3:
        raise TitanFlowError(f"The roll-ups of {made.messages} messages say {rolled_up}")
    db = Database(stage.database_url, pool_size=1)
    try:
        drift = counters.heal(db, made.campaign_id)
    finally:
        db.close()
    if drift:
        raise TitanFlowError(f"The counters are wrong by {drift}")


@contextmanager
def _naive(stage: Stage) -> Iterator[tuple[int, list[int]]]:
    """The plain handler, on the same database. Yields its port and processes."""
    port = free_port()
    options = ["-c", str(_ROOT / "bench" / "naive_gunicorn.py"), "-b", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "bench.naive_webhook:create()"],
        cwd=_ROOT,
        env={**os.environ, "META_APP_SECRET": _SECRET, "DATABASE_URL": stage.database_url},
        stderr=(stage.data_dir / "naive.log").open("wb"),
        start_new_session=True,
    )
    try:
        yield port, _session(process.pid, at_least=2)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _server_pids(stage: Stage) -> list[int]:
    return _session(stage.server_pid, at_least=2)


def _session(leader: int, *, at_least: int) -> list[int]:
    """The processes of a session, as soon as there are so many."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = [pid for pid, fields in _processes() if int(fields[3]) == leader]
        if len(found) >= at_least:
            return found
        time.sleep(0.05)
    raise Unavailable("The server to be measured did not start")


def _postgres_pids(stage: Stage) -> list[int]:
    postmaster = int((stage.data_dir / "pg" / "postmaster.pid").read_text().split()[0])
    return [postmaster] + [pid for pid, fields in _processes() if int(fields[1]) == postmaster]


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Yield each process with /proc/PID/stat from the state on."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield int(process.name), (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue


def _cpu_s(pids: list[int]) -> float:
    known = {pid: int(fields[11]) + int(fields[12]) for pid, fields in _processes()}
    return sum(known.get(pid, 0) for pid in pids) / os.sysconf("SC_CLK_TCK")


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="titanflow bench webhook", description=__doc__)
    parser.add_argument("--rate", type=float, default=3_100.0, help="single-status POSTs a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--batch", type=int, default=100, help="statuses a POST")
    parser.add_argument("--batched-updates", type=int, default=300_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-naive", dest="naive", action="store_false")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--data-dir", type=Path, default=Path(".data/bench-webhook"))
    given = parser.parse_args(arguments)
    runs = []
    for n in range(given.runs):
        runs.append(run(given))
        print(
            f"run {n + 1}:",
            {name: one for name, one in runs[-1].items() if not isinstance(one, dict | list)},
            flush=True,
        )
    medians = {
        name: statistics.median(one[name] for one in runs)
        for name, value in runs[0].items()
        if isinstance(value, int | float)
    }
    for name, value in medians.items():
        print(f"{name:32} {value}")
    if given.json:
        load = {name: getattr(given, name) for name in ("rate", "seconds", "batch", "batched_updates")}
        given.json.write_text(json.dumps({**medians, "load": load, "runs": runs, **machine()}, indent=2) + "\n")
    shutil.rmtree(given.data_dir, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
