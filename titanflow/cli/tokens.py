"""`titanflow token`: who may use the API."""

import click

from titanflow.cli.environment import database
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
@as_json
def create(name: str, scope: str, json_out: bool) -> None:
    """Make a token; it is shown once."""
    with database() as db:
        made = service.create(db, name, scope)
    show({"name": name, "token": made} if json_out else made, json_out)


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
    """End a token, by the id that `token list` shows. It takes effect within five seconds."""
    with database() as db:
        if not tokens.revoke(db, token_id):
            raise NotFound(f"There is no token {token_id}", fix="See `titanflow token list`.", code="token_not_found")
    show({"id": token_id, "state": "revoked"}, json_out)
