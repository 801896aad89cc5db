"""`titanflow token`: who may use the API."""

from datetime import UTC, datetime, timedelta

import click

from titanflow.cli.environment import changing, database
from titanflow.cli.output import as_json, show
from titanflow.errors import NotFound
from titanflow.services import tokens as service
from titanflow.storage import tokens


@click.group()
def token() -> None:
    """API tokens."""


@token.command("create")
@click.argument("name")
@click.option("--scope", required=True, type=click.Choice(service.SCOPES), help="Each includes those before it.")
@click.option("--expires-in-days", type=click.IntRange(1, 3650), help="Else it is good until revoked.")
@as_json
def create(name: str, scope: str, expires_in_days: int | None, json_out: bool) -> None:
    """Make a token; it is shown once."""
    ends = datetime.now(UTC) + timedelta(days=expires_in_days) if expires_in_days else None
    with changing(f"token {name}") as db:
        made = service.create(db, name, scope, expires_at=ends)
    show({"name": name, "token": made, "expires_at": ends} if json_out else made, json_out)


@token.command("list")
@as_json
def list_all(json_out: bool) -> None:
    """List tokens, without anything that could be used."""
    with database() as db:
        show(tokens.list_all(db), json_out)


@token.command("revoke")
@click.argument("token_id", type=int)
@as_json
def revoke(token_id: int, json_out: bool) -> None:
    """End a token, by the id that `token list` shows. It takes effect within a second."""
    with changing(f"token {token_id}") as db:
        if not tokens.revoke(db, token_id):
            raise NotFound(f"There is no token {token_id}", fix="See `titanflow token list`.", code="token_not_found")
    show({"id": token_id, "state": "revoked"}, json_out)
