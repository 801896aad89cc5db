"""All commands, as click sees them. Each body is a few lines: parse, call, print."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from titanflow import __version__, embedded
from titanflow import settings as settings_module
from titanflow.cli import demo as demo_run
from titanflow.cli import error_table, server
from titanflow.cli.api_client import ApiClient
from titanflow.http.api.campaigns import export_lines
from titanflow.services import campaigns, tokens
from titanflow.settings import Settings
from titanflow.storage import campaigns as campaign_rows
from titanflow.storage import migrations, phone_numbers, reports, templates
from titanflow.storage import tokens as token_rows
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy

as_json = click.option("--json", "json_out", is_flag=True, help="Print JSON.")


def _settings() -> Settings:
    """The environment; DATABASE_URL and REDIS_URL of running embedded servers fill what is not set."""
    settings = settings_module.load()
    if settings.database is None or settings.redis is None:
        found = embedded.find(settings.data_dir)
        if found is not None:
            os.environ.setdefault("DATABASE_URL", found.database_url)
            os.environ.setdefault("REDIS_URL", found.redis_url)
            settings = settings_module.load()
    return settings


@contextmanager
def _database() -> Iterator[Database]:
    database = Database(_settings().require_database(), pool_size=2)
    try:
        yield database
    finally:
        database.close()


def _print(data: Any, json_out: bool) -> None:
    if json_out:
        click.echo(json.dumps(data, indent=2, default=str))
        return
    rows = data if isinstance(data, list) else [data]
    for row in rows:
        click.echo("  ".join(f"{key}={value}" for key, value in row.items()) if isinstance(row, dict) else row)


@click.group()
@click.version_option(__version__)
def root() -> None:
    """TitanFlow sends WhatsApp campaigns and follows every message to its end."""


@root.command()
@click.option("--contacts", default=5000, show_default=True, type=click.IntRange(1, 2_000_000))
@click.option("--numbers", default=2, show_default=True, type=click.IntRange(1, 50))
@click.option("--mps", default=300, show_default=True, type=click.IntRange(10, 50_000), help="Over all numbers.")
@click.option("--latency-ms", default=100.0, show_default=True, type=click.FloatRange(0, 20_000))
@click.option("--faults", default="clean", show_default=True, help="Fault profile of the sandbox.")
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
def serve(use_embedded: bool) -> None:
    """Run the server: gunicorn with gunicorn.conf.py."""
    sys.exit(server.run(use_embedded=use_embedded))


@root.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> None:
    """Run a local Meta (its own process). --help lists its options."""
    sys.exit(subprocess.call([sys.executable, "-m", "titanflow.sandbox", *arguments]))


@root.command()
@as_json
def migrate(json_out: bool) -> None:
    """Bring the database's schema up to date."""
    applied = migrations.migrate(_settings().require_database())
    _print({"applied": applied} if json_out else (applied or ["Nothing to do."]), json_out)


@root.group()
def token() -> None:
    """API tokens."""


@token.command("create")
@click.argument("name")
@click.option("--scope", required=True, type=click.Choice(tokens.SCOPES))
@as_json
def token_create(name: str, scope: str, json_out: bool) -> None:
    """Make a token; it is shown once."""
    with _database() as db:
        made = tokens.create(db, name, scope)
    _print({"name": name, "token": made} if json_out else made, json_out)


@token.command("list")
@as_json
def token_list(json_out: bool) -> None:
    """List tokens."""
    with _database() as db:
        _print(token_rows.list_all(db), json_out)


@root.command("number")
@as_json
def number_list(json_out: bool) -> None:
    """List phone numbers."""
    with _database() as db:
        _print(phone_numbers.page(db, after=0, limit=1000), json_out)


@root.command("template")
@as_json
def template_list(json_out: bool) -> None:
    """List templates."""
    with _database() as db:
        rows = templates.page(db, after=0, limit=1000)
    _print([{key: row[key] for key in ("id", "waba_id", "name", "language", "status")} for row in rows], json_out)


@root.group()
def campaign() -> None:
    """Campaigns."""


@campaign.command("list")
@as_json
def campaign_list(json_out: bool) -> None:
    """List campaigns, newest first."""
    with _database() as db:
        rows = campaign_rows.page(db, before=2**31 - 1, limit=1000)
    _print([{key: row[key] for key in ("id", "name", "state", "state_reason")} for row in rows], json_out)


@campaign.command("change")
@click.argument("campaign_id", type=int)
@click.argument("what", type=click.Choice(["start", "pause", "resume", "cancel"]))
@as_json
def campaign_change(campaign_id: int, what: str, json_out: bool) -> None:
    """Start, pause, resume or cancel a campaign. A running server follows within a second."""
    fast_copy = FastCopy(_settings().require_redis())
    run = {
        "start": campaigns.start,
        "pause": campaigns.pause,
        "resume": campaigns.resume,
        "cancel": campaigns.cancel,
    }[what]
    with _database() as db:
        _print(run(db, fast_copy, campaign_id, by="cli"), json_out)
    fast_copy.close()


@campaign.command("export")
@click.argument("campaign_id", type=int)
@click.option("--format", "form", type=click.Choice(["csv", "ndjson"]), default="csv", show_default=True)
def campaign_export(campaign_id: int, form: str) -> None:
    """Print a line a contact."""
    with _database() as db:
        campaigns.get(db, campaign_id)
        for piece in export_lines(reports.export(db, campaign_id), form):
            sys.stdout.buffer.write(piece)


@root.command()
@click.argument("campaign_id", type=int, required=False)
@as_json
def audit(campaign_id: int | None, json_out: bool) -> None:
    """Prove the books from the rows. Exit code 1 if any promise is broken."""
    with _database() as db:
        ids = [campaign_id] if campaign_id is not None else reports.campaign_ids(db)
        if campaign_id is not None:
            campaigns.get(db, campaign_id)
        found = [{"campaign_id": one, **reports.audit(db, one)} for one in ids]
    _print(found, json_out)
    broken = [one for one in found if not one["balanced"] or one["duplicates"] or one["counter_drift"]]
    sys.exit(1 if broken else 0)


@root.command()
@click.option("--errors", is_flag=True, help="Print what each of Meta's error codes means here.")
@click.option("--markdown", is_flag=True, help="With --errors: as docs/errors.md has it.")
@as_json
def doctor(errors: bool, markdown: bool, json_out: bool) -> None:
    """Check the set-up and say how to mend it."""
    if errors:
        if json_out:
            _print(error_table.rows(), json_out)
        else:
            click.echo(error_table.markdown() if markdown else error_table.text(), nl=not markdown)
        return
    settings = _settings()
    settings.require_server()
    waiting = migrations.pending(settings.require_database())
    fast_copy = FastCopy(settings.require_redis())
    fast_copy.ping()
    fast_copy.close()
    advice = f"Run `titanflow migrate`: {len(waiting)} migrations wait." if waiting else "All is well."
    _print({"pending_migrations": waiting, "advice": advice} if json_out else advice, json_out)


@root.command()
@click.argument("name", type=click.Choice(["actors"]))
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False))
def bench(name: str, json_file: Path | None) -> None:
    """Measure. `actors`: the supervision kernel beside plain pykka and plain gevent queues, in one run."""
    arguments = ["--json", str(json_file)] if json_file else []
    sys.exit(subprocess.call([sys.executable, "-m", f"bench.{name}", *arguments]))


@root.command()
@click.option("--address", default="http://127.0.0.1:8000", show_default=True)
@click.option("--token", envvar="TITANFLOW_TOKEN", required=True, help="Scope read; or TITANFLOW_TOKEN.")
@click.option("--watch", is_flag=True, help="Print it anew every second, until Ctrl-C.")
@as_json
def tree(address: str, token: str, watch: bool, json_out: bool) -> None:
    """Print the supervision tree of a running server."""
    client = ApiClient(address, token)
    while True:
        found = client.get("/api/v1/supervision")
        if watch:
            click.clear()
        if json_out:
            _print(found, True)
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
