"""`titanflow number`: the phone numbers that send."""

from dataclasses import asdict
from typing import Any

import click

from titanflow.cli.api_client import ApiClient
from titanflow.cli.environment import changing, database, fast_copy, on_server, settings
from titanflow.cli.output import as_json, columns, show
from titanflow.domain.vault import Vault
from titanflow.errors import ConfigurationError, Conflict, NotFound
from titanflow.http.api.phone_numbers import NewNumber, NumberChange
from titanflow.http.bodies import checked
from titanflow.services import keys
from titanflow.storage import phone_numbers

_MOST = 1_000_000


@click.group()
def number() -> None:
    """Phone numbers. Their id is Meta's phone_number_id."""


@number.command("add")
@click.argument("phone_number_id")
@click.option("--waba-id", required=True, help="The WhatsApp Business Account that the number belongs to.")
@click.option("--access-token", envvar="META_ACCESS_TOKEN", prompt=True, hide_input=True, help="Or META_ACCESS_TOKEN.")
@click.option("--name", default="")
@click.option("--display-phone-number", default="")
@click.option("--max-mps", default=80, show_default=True, help="Messages a second, 10 to 1000.")
@as_json
def add(json_out: bool, **fields: Any) -> None:
    """Add a number. Its access token is kept encrypted and never shown again."""
    vault = Vault(settings().require_secret_keys())
    body = checked(NewNumber, fields).model_dump()
    with changing(f"number {body['phone_number_id']}") as db:
        made = phone_numbers.insert(db, {**body, "access_token": vault.encrypt(body["access_token"])})
    if made is None:
        raise Conflict(f"Number {body['phone_number_id']} is there already", code="number_exists")
    show(made, json_out)


@number.command("list")
@as_json
def list_all(json_out: bool) -> None:
    """List numbers."""
    with database() as db:
        rows = phone_numbers.page(db, after=0, limit=_MOST)
    short = ("phone_number_id", "waba_id", "name", "max_mps", "quality", "tier", "state", "state_reason")
    show(columns(rows, *short), json_out)


@number.command("show")
@click.argument("phone_number_id")
@as_json
def show_one(phone_number_id: str, json_out: bool) -> None:
    """Show one number."""
    with database() as db:
        show(_found(phone_numbers.get(db, phone_number_id), phone_number_id), json_out)


@number.command("change")
@click.argument("phone_number_id")
@click.option("--name")
@click.option("--display-phone-number")
@click.option("--max-mps", type=int, help="Messages a second, 10 to 1000.")
@click.option("--access-token", envvar="META_NEW_ACCESS_TOKEN", help="Or META_NEW_ACCESS_TOKEN, unseen by others.")
@as_json
def change(phone_number_id: str, json_out: bool, **fields: Any) -> None:
    """Change what is given; a running server follows within a second, while it sends."""
    body = checked(NumberChange, fields).model_dump()
    if body["access_token"] is not None:
        body["access_token"] = Vault(settings().require_secret_keys()).encrypt(body["access_token"])
    with changing(f"number {phone_number_id}") as db:
        changed = _found(phone_numbers.update(db, phone_number_id, body), phone_number_id)
    _tell()
    show(changed, json_out)


@number.command("pause")
@click.argument("phone_number_id")
@as_json
def pause(phone_number_id: str, json_out: bool) -> None:
    """Stop sending on a number until it is resumed."""
    _set_state(phone_number_id, "paused", "Paused by an operator", json_out)


@number.command("resume")
@click.argument("phone_number_id")
@as_json
def resume(phone_number_id: str, json_out: bool) -> None:
    """Let a paused or blocked number send again."""
    _set_state(phone_number_id, "active", None, json_out)


@number.command("rekey")
@as_json
def rekey(json_out: bool) -> None:
    """Encrypt all access tokens with the first key of SECRET_KEY; then the others can be taken out.

    Interrupts nothing. Exit code 78 if a token can't be read with any of the keys.
    """
    vault = Vault(settings().require_secret_keys())
    with changing("all numbers") as db:
        left = keys.rekey(db, vault)
    if json_out:
        show(asdict(left), True)
    if left.unreadable:
        raise ConfigurationError(
            f"The access tokens of {', '.join(left.unreadable)} can't be decrypted",
            why="none of the keys in SECRET_KEY fits",
            fix="Add the earlier key to SECRET_KEY, after a comma, or enter them anew: `titanflow number change`.",
        )
    if not json_out:
        show(f"All {left.numbers} access tokens need the first key of SECRET_KEY alone.", False)


@number.command("sync")
@click.argument("phone_number_id")
@as_json
@on_server
def sync(server: ApiClient, phone_number_id: str, json_out: bool) -> None:
    """Read quality and tier from Meta, through a running server."""
    show(server.post(f"/api/v1/phone-numbers/{phone_number_id}/sync"), json_out)


def _set_state(phone_number_id: str, state: str, reason: str | None, json_out: bool) -> None:
    with changing(f"number {phone_number_id}") as db:
        changed = _found(phone_numbers.set_state(db, phone_number_id, state=state, reason=reason), phone_number_id)
    _tell()
    show(changed, json_out)


def _tell() -> None:
    with fast_copy() as told:
        told.nudge()


def _found(row: dict[str, Any] | None, phone_number_id: str) -> dict[str, Any]:
    if row is None:
        raise NotFound(f"There is no number {phone_number_id}", fix="See `titanflow number list`.")
    return row
