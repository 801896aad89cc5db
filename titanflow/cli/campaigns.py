"""`titanflow campaign`: from a draft to the last line of its export."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import click

from titanflow.cli import rehearsal
from titanflow.cli.api_client import ApiClient
from titanflow.cli.environment import changing, database, fast_copy, on_server, who
from titanflow.cli.output import as_json, columns, show
from titanflow.errors import InvalidInput, TitanFlowError
from titanflow.http.api.campaign_bodies import DEFAULTS, CampaignFields
from titanflow.http.bodies import checked
from titanflow.services import campaigns as service
from titanflow.storage import campaigns, exports, reports

_MOST = 1_000_000
_POLL_S = 0.2


@click.group()
def campaign() -> None:
    """Campaigns."""


@campaign.command("create")
@click.argument("name", required=False)
@click.option("--template", "template_ids", type=int, multiple=True, help="First, then fallbacks, in order.")
@click.option("--number", "phone_number_ids", multiple=True, help="Meta's phone_number_id; several share the work.")
@click.option("--column", "from_column", multiple=True, metavar="PARAMETER=COLUMN", help="body.1=first_name")
@click.option("--default", "defaults", multiple=True, metavar="PARAMETER=TEXT", help="For an empty cell: body.1=there")
@click.option("--value", "constants", multiple=True, metavar="PARAMETER=TEXT", help="The same for all: body.2=10%")
@click.option("--max-mps", type=int, help="At most so many messages a second.")
@click.option("--default-country", help="For phone numbers without a country code: DE")
@click.option("--schedule-at", help="ISO 8601, with the zone: 2026-12-01T09:00:00+01:00")
@click.option("--body", type=click.File("rb"), help="JSON with any of the API's fields; options win over it.")
@as_json
def create(
    name: str | None,
    from_column: tuple[str, ...],
    defaults: tuple[str, ...],
    constants: tuple[str, ...],
    body: BinaryIO | None,
    json_out: bool,
    **options: Any,
) -> None:
    """Make a draft. A parameter of its template is filled from a column of the CSV, or with the same text for all."""
    given = {"name": name, **options, "variables": _bindings(from_column, defaults, constants)}
    fields = {**_json_of(body), **{key: value for key, value in given.items() if value}}
    values = checked(CampaignFields, fields).values()
    template_ids, numbers = values.pop("template_ids", []), values.pop("phone_number_ids", [])
    with changing(f"campaign {values.get('name', '')}") as db:
        made = service.create(db, {**DEFAULTS, **values}, template_ids=template_ids, number_ids=numbers)
    show(made, json_out)


@campaign.command("list")
@as_json
def list_all(json_out: bool) -> None:
    """List campaigns, newest first."""
    with database() as db:
        rows = campaigns.page(db, before=2**31 - 1, limit=_MOST)
    show(columns(rows, "id", "name", "state", "state_reason"), json_out)


@campaign.command("show")
@click.argument("campaign_id", type=int)
@as_json
def show_one(campaign_id: int, json_out: bool) -> None:
    """Show a campaign and how many contacts are in which state."""
    with database() as db:
        found = service.get(db, campaign_id)
        stats = reports.stats(db, campaign_id)
    show({**found, "total": stats["total"], "counts": stats["counts"]}, json_out)


@campaign.command("import")
@click.argument("campaign_id", type=int)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--default-country", help="For phone numbers without a country code: DE")
@as_json
@on_server
def import_contacts(
    server: ApiClient, campaign_id: int, file: Path, default_country: str | None, json_out: bool
) -> None:
    """Upload a CSV, gzip or not, to a running server; wait until it is imported. Exit code 1 if nothing came in."""
    path = f"/api/v1/campaigns/{campaign_id}"
    query = f"?default_country={default_country}" if default_country else ""
    imported = server.upload(f"{path}/contacts{query}", file)
    while imported["state"] == "running":
        time.sleep(_POLL_S)
        imported = server.get(f"{path}/imports/{imported['id']}")
    show(imported, json_out)
    if imported["state"] != "done":
        raise TitanFlowError(f"The import is {imported['state']}", why=str(imported["error"] or ""))


def _change(verb: str, run: Callable[..., dict[str, Any]], what: str) -> None:
    @campaign.command(verb, help=f"{what} A running server follows within a second. Harmless to repeat.")
    @click.argument("campaign_id", type=int)
    @as_json
    def change(campaign_id: int, json_out: bool) -> None:
        with changing(f"campaign {campaign_id}") as db, fast_copy() as told:
            show(run(db, told, campaign_id, by=who()), json_out)


_change("start", service.start, "Start sending, or schedule it if its time is still to come.")
_change("pause", service.pause, "Stop sending until it is resumed.")
_change("resume", service.resume, "Let a paused campaign go on.")
_change("cancel", service.cancel, "Cancel all who still wait, for good.")


@campaign.command("stats")
@click.argument("campaign_id", type=int)
@as_json
@on_server
def stats(server: ApiClient, campaign_id: int, json_out: bool) -> None:
    """Show how it stands, from a running server: counts, the rate right now, and what limits it."""
    show(server.get(f"/api/v1/campaigns/{campaign_id}/stats"), json_out)


@campaign.command("rehearse")
@click.argument("campaign_id", type=int)
@as_json
def rehearse(campaign_id: int, json_out: bool) -> None:
    """Foretell a start: how long, at what cost, who is left out, who fails, what limits it. Sends nothing.

    Runs on this machine and needs no server. Exit code 1 if the rehearsal did not come to its end.
    """
    with changing(f"campaign {campaign_id}") as db:
        found = rehearsal.run(db, campaign_id)
    if json_out:
        show(found, True)
    else:
        rehearsal.show(found)
    if found["state"] != "done":
        raise TitanFlowError(f"The rehearsal is {found['state']}", why=str(found["error"] or ""))


@campaign.command("export")
@click.argument("campaign_id", type=int)
@click.option("--format", "form", type=click.Choice(["csv", "ndjson"]), default="csv", show_default=True)
@click.option("--json", "json_out", is_flag=True, help="The same as --format ndjson.")
def export(campaign_id: int, form: str, json_out: bool) -> None:
    """Print a line a contact."""
    with database() as db:
        service.with_messages(db, campaign_id)
        for piece in exports.export(db, campaign_id, "ndjson" if json_out or form == "ndjson" else "csv"):
            sys.stdout.buffer.write(piece)


def _bindings(from_column: tuple[str, ...], defaults: tuple[str, ...], constants: tuple[str, ...]) -> dict[str, Any]:
    bindings: dict[str, dict[str, str]] = {}
    for key, pairs in (("column", from_column), ("default", defaults), ("value", constants)):
        for pair in pairs:
            parameter, is_pair, text = pair.partition("=")
            if not is_pair:
                raise InvalidInput(f"--{key} {pair} can't be used", fix=f"Write it as --{key} body.1=...")
            bindings.setdefault(parameter, {})[key] = text
    return bindings


def _json_of(file: BinaryIO | None) -> dict[str, Any]:
    try:
        parsed = json.load(file) if file else {}
    except ValueError as error:
        raise InvalidInput("--body is not valid JSON", why=str(error)) from None
    if not isinstance(parsed, dict):
        raise InvalidInput("--body must be a JSON object")
    return parsed
