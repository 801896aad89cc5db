"""`titanflow demo`: the whole job on this machine, from nothing, through the HTTP API alone."""

import json
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from titanflow.cli import books
from titanflow.cli.example_contacts import generate
from titanflow.cli.stage import Stage
from titanflow.errors import TitanFlowError, Unavailable

_TEMPLATE = "spring_offer"
_WABA = "900000001"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    contacts: int
    numbers: int
    mps: int
    latency_ms: float
    faults: str
    kill: bool
    exit: bool
    json_file: Path | None
    port: int
    data_dir: Path


def run(options: Options) -> int:
    """Run the demo. Returns the exit code: 0 only if every promise held."""
    console = Console(highlight=False)
    began = time.monotonic()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # by way of `finally`: nothing stays behind
    stage = Stage(options.data_dir, profile=options.faults, latency_ms=options.latency_ms, port=options.port)
    try:
        console.print("Starting PostgreSQL, Redis, a fake Meta and the server ...")
        stage.start()
        console.print(f"Up after {time.monotonic() - began:.1f} s: {stage.address}  (PIN {stage.pin})")
        campaign_id, max_mps = prepare(stage, options, console)
        stage.api.post(f"/api/v1/campaigns/{campaign_id}/start")
        sent_in_s = _watch(stage, options, campaign_id, console)
        console.print("Waiting for the last webhooks ...")
        settle(stage)
        result = books.compare(stage.api, stage.meta, campaign_id, max_mps=max_mps)
        _print_books(console, result, options)
        _write_json(stage, options, result, time.monotonic() - began, sent_in_s)
        if not options.exit:
            _stay(stage, console, campaign_id)
        return 0 if result.held else 1
    finally:
        stage.stop()


def prepare(stage: Stage, options: Options, console: Console) -> tuple[int, dict[str, int]]:
    """Bring a campaign to `ready` through the API. Returns its id and each number's allowance."""
    api = stage.api
    per_number = max(10, min(1000, options.mps // options.numbers))
    max_mps: dict[str, int] = {}
    for n in range(options.numbers):
        number_id = f"10000000{n:04d}"
        stage.meta.post("/_sandbox/numbers", {"phone_number_id": number_id, "waba_id": _WABA, "mps": per_number})
        number = {"phone_number_id": number_id, "waba_id": _WABA, "name": f"Demo {n + 1}", "max_mps": per_number}
        api.post("/api/v1/phone-numbers", {**number, "access_token": "demo-token"})
        max_mps[number_id] = per_number
    synced = api.post("/api/v1/templates/sync")
    if synced["synced"] == 0:
        raise Unavailable("No template could be synced", why=str(synced["wabas"]))
    templates = api.get("/api/v1/templates?limit=100")["items"]
    template = next(one for one in templates if one["name"] == _TEMPLATE)
    campaign = api.post(
        "/api/v1/campaigns",
        {
            "name": "Spring offer",
            "template_ids": [template["id"]],
            "phone_number_ids": list(max_mps),
            "variables": {
                "body.1": {"column": "first_name", "default": "there"},
                "body.2": {"column": "code"},
                "body.3": {"column": "city", "default": "our shop"},
            },
        },
    )
    file = options.data_dir / "contacts.csv"
    generate(file, options.contacts)
    imported = api.upload(f"/api/v1/campaigns/{campaign['id']}/contacts", file)
    deadline = time.monotonic() + 60 + options.contacts / 2_000
    while imported["state"] == "running":
        _within(deadline, "the import")
        time.sleep(0.1)
        imported = api.get(f"/api/v1/campaigns/{campaign['id']}/imports/{imported['id']}")
    if imported["state"] != "done":
        raise TitanFlowError("The import failed", why=str(imported["error"]))
    console.print(
        f"Imported {options.contacts:,} rows: {imported['accepted']:,} accepted, {imported['duplicates']:,} duplicates,"
        f" {imported['rejected']:,} rejected {imported['by_reason']}"
    )
    return int(campaign["id"]), max_mps


def _watch(stage: Stage, options: Options, campaign_id: int, console: Console) -> float:
    """Follow the campaign to its end; kill the server half-way if asked. Returns how long sending took, in seconds."""
    began = time.monotonic()
    deadline = began + 240 + 6 * options.contacts / max(10, options.mps)
    to_kill = options.kill
    told = 0.0
    stats: dict[str, Any] = stage.api.get(f"/api/v1/campaigns/{campaign_id}/stats")
    live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
    if live:
        live.start()
    try:
        while stats["state"] == "running":
            _within(deadline, f"the campaign; it stands at {stats['counts']}, limited by {stats['limited_by']}")
            time.sleep(0.25)
            try:
                stats = stage.api.get(f"/api/v1/campaigns/{campaign_id}/stats")
            except Unavailable:
                continue
            done = stats["total"] - stats["counts"]["pending"] - stats["counts"]["excluded"]
            if to_kill and done > (stats["total"] - stats["counts"]["excluded"]) / 2:
                to_kill = False
                console.print(f"kill -9 at {done:,} ... and start again")
                stage.kill_server()
                stage.start_server()
            if live:
                live.update(_progress(stats))
            elif time.monotonic() - told > 2:
                told = time.monotonic()
                console.print(_line(stats))
    finally:
        if live:
            live.stop()
    console.print(_line(stats))
    if stats["state"] != "completed":
        raise TitanFlowError(f"The campaign is {stats['state']}", why=str(stats["state_reason"]))
    return time.monotonic() - began


def settle(stage: Stage) -> None:
    """Wait until Meta's last webhook was acknowledged and parked statuses were applied."""
    deadline = time.monotonic() + 120
    while stage.meta.get("/_sandbox/idle?timeout=20")["pending"]:
        _within(deadline, "the sandbox's webhooks")
    # The echo resolves what was in doubt; parked statuses are applied within two seconds.
    time.sleep(2.5)


def _line(stats: dict[str, Any]) -> str:
    counts = stats["counts"]
    shown = " ".join(f"{state} {count:,}" for state, count in counts.items() if count)
    eta = f", {stats['eta_seconds'][0]}-{stats['eta_seconds'][1]} s left" if stats.get("eta_seconds") else ""
    limit = f", limited by {stats['limited_by']} ({stats['limited_detail']})" if stats.get("limited_by") else ""
    return f"{stats['state']}: {stats['rate_now']:.0f}/s{limit}{eta} | {shown}"


def _progress(stats: dict[str, Any]) -> Table:
    table = Table(title=_line(stats).split("|", 1)[0])
    for state in stats["counts"]:
        table.add_column(state, justify="right")
    table.add_row(*[f"{count:,}" for count in stats["counts"].values()])
    return table


def _print_books(console: Console, result: books.Books, options: Options) -> None:
    table = Table(title="The books, and what the fake Meta says")
    table.add_column("TitanFlow")
    table.add_column("", justify="right")
    table.add_column("Sandbox's ledger")
    table.add_column("", justify="right")
    left = [("contacts", result.audit["total"]), *result.audit["counts"].items()]
    names = ("accepted", "accepted_twice", "never_attempted", "never_sent_in_doubt", "acknowledged_lost", "max_rate_1s")
    right = [(name, result.sandbox[name]) for name in names]
    right += [(f"fault {name}", count) for name, count in sorted(result.sandbox["faults"].items())]
    right += [(f"refused {code}", count) for code, count in sorted(result.sandbox["refused"].items())]
    for n in range(max(len(left), len(right))):
        a, b = left[n] if n < len(left) else ("", ""), right[n] if n < len(right) else ("", "")
        table.add_row(str(a[0]), f"{a[1]:,}" if a[0] else "", str(b[0]), f"{b[1]:,}" if b[0] else "")
    console.print(table)
    for promise, held in result.promises.items():
        console.print(f"  {'[green]kept  [/green]' if held else '[red]BROKEN[/red]'} {promise}")


def _write_json(stage: Stage, options: Options, result: books.Books, seconds: float, sent_in_s: float) -> None:
    if options.json_file is None:
        return
    accepted = result.sandbox["accepted"]
    span_s = result.sandbox["span_s"]
    report = {
        "contacts": result.audit["total"],
        "counts": result.audit["counts"],
        "balanced": result.audit["balanced"],
        "duplicates": result.audit["duplicates"],
        "counter_drift": result.audit["counter_drift"],
        "in_doubt": result.audit["counts"]["in_doubt"],
        "messages_per_second": round(accepted / span_s, 1) if span_s else None,
        "cpu_us_per_message": round(stage.cpu_s() / accepted * 1e6) if accepted else None,
        "seconds": round(seconds, 1),
        "seconds_sending": round(sent_in_s, 1),
        "faults": options.faults,
        "kill": options.kill,
        "promises": result.promises,
        "sandbox": result.sandbox,
    }
    options.json_file.write_text(json.dumps(report, indent=2) + "\n")


def _stay(stage: Stage, console: Console, campaign_id: int) -> None:
    console.print(f"\nLive status page: {stage.address}/  with PIN {stage.pin}")
    console.print("Try next:")
    console.print(
        f'  curl -H "Authorization: Bearer {stage.token}" {stage.address}/api/v1/campaigns/{campaign_id}/stats'
    )
    console.print('  make demo ARGS="--kill --faults mixed"')
    console.print("Ctrl-C ends it.")
    try:
        while True:
            time.sleep(1)
            for name in stage.servers.mend():
                console.print(f"Restarted {name}.")
    except KeyboardInterrupt:
        console.print("Stopping.")


def _within(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise Unavailable(f"It took too long to wait for {what}")
