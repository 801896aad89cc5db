"""`titanflow webhook`: what could not be read, and reading it again."""

from dataclasses import asdict
from pathlib import Path

import click

from titanflow.cli.environment import changing, database
from titanflow.cli.output import as_json, columns, show
from titanflow.services import webhook_replay
from titanflow.storage import quarantine, webhook_files


@click.group()
def webhook() -> None:
    """Meta's webhooks."""


@webhook.command("quarantine")
@click.option("--field", help="Only those of this field, such as messages.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@as_json
def kept_aside(field: str | None, limit: int, json_out: bool) -> None:
    """List updates that could not be read, the newest first; --json has them whole."""
    with database() as db:
        rows = quarantine.page(db, field=field, limit=limit)
    if json_out:
        show(rows, json_out)
    else:
        show(columns(rows, "id", "received_at", "field", "reason") or "Nothing is kept aside.", json_out)


@webhook.command("replay")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@as_json
def replay(files: tuple[Path, ...], json_out: bool) -> None:
    """Read again what was kept aside, or webhooks from FILES (DATA_DIR/webhooks, or one body a line; gzip or not).

    It is safe to repeat: each update counts once.
    """
    if not files:
        with changing("webhook_quarantine") as db:
            show({**asdict(webhook_replay.replay_quarantine(db)), "still_kept": quarantine.count(db)}, json_out)
        return
    told = []
    for path in files:
        with changing(f"file {path.name}") as db:
            told.append({"file": path.name, **asdict(webhook_replay.replay(db, webhook_files.read(path)))})
    show(told, json_out)
