"""`titanflow template`: the message templates that Meta has approved, or not."""

import sys

import click

from titanflow.cli.api_client import ApiClient
from titanflow.cli.environment import database, on_server
from titanflow.cli.output import as_json, columns, show
from titanflow.errors import NotFound
from titanflow.services import templates as service
from titanflow.storage import templates

_MOST = 1_000_000


@click.group()
def template() -> None:
    """Message templates."""


@template.command("list")
@as_json
def list_all(json_out: bool) -> None:
    """List templates."""
    with database() as db:
        rows = templates.page(db, after=0, limit=_MOST)
    show(columns(rows, "id", "waba_id", "name", "language", "status", "category", "quality"), json_out)


@template.command("show")
@click.argument("template_id", type=int)
@as_json
def show_one(template_id: int, json_out: bool) -> None:
    """Show one template, with its text and the parameters that a campaign must bind."""
    with database() as db:
        row = templates.get(db, template_id)
    if row is None:
        raise NotFound(f"There is no template {template_id}", fix="See `titanflow template list`.")
    show(service.shown(row), json_out)


@template.command("sync")
@as_json
@on_server
def sync(server: ApiClient, json_out: bool) -> None:
    """Read all templates from Meta, through a running server. Exit code 1 if an account could not be read."""
    synced = server.post("/api/v1/templates/sync")
    show(synced if json_out else synced["wabas"] or ["There is no number yet, so no account to ask."], json_out)
    sys.exit(1 if any(account["error"] for account in synced["wabas"]) else 0)
