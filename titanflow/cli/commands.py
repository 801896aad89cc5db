"""The root of all commands, and those that stand alone. Each body is a few lines: parse, call, print."""

import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from titanflow import __version__
from titanflow import settings as settings_module
from titanflow.cli import demo as demo_run
from titanflow.cli import error_table
from titanflow.cli import server as server_run
from titanflow.cli.aftermath import retry, show_doubts
from titanflow.cli.api_client import ApiClient
from titanflow.cli.campaigns import campaign
from titanflow.cli.contacts import contact
from titanflow.cli.environment import database, fast_copy, on_server, settings
from titanflow.cli.numbers import number
from titanflow.cli.output import as_json, show
from titanflow.cli.templates import template
from titanflow.cli.tokens import token
from titanflow.cli.webhooks import webhook
from titanflow.domain.vault import Vault
from titanflow.sandbox.profiles import PROFILES
from titanflow.services import campaigns, keys
from titanflow.storage import migrations, reports


@click.group()
@click.version_option(__version__)
def root() -> None:
    """TitanFlow sends WhatsApp campaigns and follows every message to its end."""


for command in (retry, show_doubts):
    campaign.add_command(command)
for group in (token, number, template, campaign, contact, webhook):
    root.add_command(group)


@root.command()
@click.option("--contacts", default=5000, show_default=True, type=click.IntRange(1, 2_000_000))
@click.option("--numbers", default=2, show_default=True, type=click.IntRange(1, 50))
@click.option("--mps", default=300, show_default=True, type=click.IntRange(10, 50_000), help="Over all numbers.")
@click.option("--latency-ms", default=100.0, show_default=True, type=click.FloatRange(0, 20_000))
@click.option(
    "--faults", default="clean", show_default=True, type=click.Choice(sorted(PROFILES)), help="How Meta misbehaves."
)
@click.option("--kill", is_flag=True, help="kill -9 the server half-way and start it again.")
@click.option("--exit", "exit_", is_flag=True, help="End when done; exit code 0 only if every promise held.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--port", default=0, type=click.IntRange(0, 65535))
def demo(
    contacts: int, numbers: int, mps: int, latency_ms: float, faults: str, kill: bool, exit_: bool,
    json_file: Path | None, port: int,
) -> None:  # fmt: skip
    """Run the whole job on this machine, from nothing."""
    data_dir = settings_module.load().data_dir / "demo"
    options = demo_run.Options(contacts, numbers, mps, latency_ms, faults, kill, exit_, json_file, port, data_dir)
    sys.exit(demo_run.run(options))


@root.command()
@click.option("--embedded", "use_embedded", is_flag=True, help="Start PostgreSQL and Redis too.")
@click.option("--json", "json_out", is_flag=True, help="Log as JSON, a line an event: LOG_FORMAT=json.")
def serve(use_embedded: bool, json_out: bool) -> None:
    """Run the server: gunicorn with gunicorn.conf.py."""
    sys.exit(server_run.run(use_embedded=use_embedded, log_as_json=json_out))


@root.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> None:
    """Run a local Meta (its own process). --help lists its options."""
    os.execv(sys.executable, [sys.executable, "-m", "titanflow.sandbox", *arguments])  # noqa: S606  (signals reach it)


@root.command()
@as_json
def migrate(json_out: bool) -> None:
    """Bring the database's schema up to date."""
    applied = migrations.migrate(settings().require_database())
    show({"applied": applied} if json_out else (applied or ["Nothing to do."]), json_out)


@root.command()
@click.argument("campaign_id", type=int, required=False)
@as_json
def audit(campaign_id: int | None, json_out: bool) -> None:
    """Prove the books from the rows. Exit code 1 if any promise is broken."""
    with database() as db:
        ids = [campaign_id] if campaign_id is not None else reports.campaign_ids(db)
        if campaign_id is not None:
            campaigns.get(db, campaign_id)
        found = [{"campaign_id": one, **reports.audit(db, one)} for one in ids]
    show(found, json_out)
    faults = ("duplicates", "counter_drift", "budget_drift")
    broken = [one for one in found if not one["balanced"] or any(one[fault] for fault in faults)]
    sys.exit(1 if broken else 0)


@root.command()
@click.option("--errors", is_flag=True, help="Print what each of Meta's error codes means here.")
@click.option("--markdown", is_flag=True, help="With --errors: as docs/errors.md has it.")
@as_json
def doctor(errors: bool, markdown: bool, json_out: bool) -> None:
    """Check the set-up and say how to mend it."""
    if errors:
        if json_out:
            show(error_table.rows(), json_out)
        else:
            click.echo(error_table.markdown() if markdown else error_table.text(), nl=not markdown)
        return
    settings().require_server()
    waiting = migrations.pending(settings().require_database())
    with fast_copy() as redis:
        redis.ping()
    advice = f"Run `titanflow migrate`: {len(waiting)} migrations wait." if waiting else "All is well."
    found = None
    if not waiting:
        with database() as db:
            found = keys.look(db, Vault(settings().require_secret_keys()))
        if found.unreadable:
            advice = (
                f"No key in SECRET_KEY fits the access tokens of {', '.join(found.unreadable)}: add the earlier key,"
                " after a comma, or enter them anew with `titanflow number change`."
            )
        elif found.older:
            advice = f"{len(found.older)} access tokens still need an earlier SECRET_KEY: `titanflow number rekey`."
    if json_out:
        show({"pending_migrations": waiting, "keys": asdict(found) if found else None, "advice": advice}, True)
    else:
        show(advice, False)


@root.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("name", type=click.Choice(["actors", "listeners", "sandbox", "send", "stats", "webhook"]))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(name: str, arguments: tuple[str, ...]) -> None:
    """Measure, on this machine alone. NAME --help lists its options; each takes --json FILE."""
    sys.exit(subprocess.call([sys.executable, "-m", f"bench.{name}", *arguments]))


@root.command()
@click.option("--watch", is_flag=True, help="Print it anew every second, until Ctrl-C.")
@as_json
@on_server
def tree(server: ApiClient, watch: bool, json_out: bool) -> None:
    """Print the supervision tree of a running server."""
    while True:
        found = server.get("/api/v1/supervision")
        if watch:
            click.clear()
        if json_out:
            show(found, True)
        else:
            _print_tree(found, 0)
        if not watch:
            return
        time.sleep(1)


def _print_tree(node: dict[str, Any], depth: int) -> None:
    """One line a process."""
    window = node.get("restarts")
    restarts = f", restarts {window['in_window']} of {window['max_restarts']}" if window else ""
    name = node["name"] or node["child_id"] or node["pid"]
    figures = f"mailbox {node['mailbox']}, handled {node['handled']}{restarts}"
    click.echo(f"{'  ' * depth}{name} [{node['kind']}] {figures}")
    for child in node.get("children", []):
        _print_tree(child, depth + 1)
