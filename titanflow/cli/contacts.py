"""`titanflow contact`: one person, over all campaigns."""

import click

from titanflow.cli.environment import changing, settings, who
from titanflow.cli.output import as_json, show
from titanflow.domain.vault import Vault
from titanflow.services import erasure


@click.group()
def contact() -> None:
    """People."""


@contact.command("erase")
@click.argument("phone")
@click.option("--yes", is_flag=True, help="Don't ask.")
@as_json
def erase(phone: str, yes: bool, json_out: bool) -> None:
    """Erase a person: all traces go, figures stay, nothing is ever sent to the phone again. Not to be undone.

    Also from the webhooks kept as they came in this host's DATA_DIR; those of other hosts go by their age. Exit code 75
    while a message is on its way: repeat it.
    """
    if not yes:
        click.confirm("Erase all that is known of this person? It can't be undone.", abort=True)
    configured = settings()
    vault = Vault(configured.require_secret_keys())
    with changing("a person") as db:
        found = erasure.erase(db, vault, phone, by=who())
        found["kept_webhooks"] = erasure.erase_webhook_files(configured.data_dir / "webhooks", phone)
    show(found, json_out)
