"""`titanflow campaign retry` and `titanflow campaign doubts`: what to do about what failed and what is uncertain."""

import click

from titanflow.cli.environment import changing, database, fast_copy, who
from titanflow.cli.output import as_json, columns, show
from titanflow.domain.retries import UNKNOWN
from titanflow.errors import InvalidInput
from titanflow.services import doubts, retries
from titanflow.storage.doubts import Verdict

_MOST = 500


@click.command("retry")
@click.argument("campaign_id", type=int)
@click.option(
    "--code", "codes", multiple=True, help="Only failures with this code; 'unknown': without one. Repeatable."
)
@as_json
def retry(campaign_id: int, codes: tuple[str, ...], json_out: bool) -> None:
    """Let failed messages be tried again, as new attempts. Says who is left out, and why. Harmless to repeat."""
    wrong = [code for code in codes if code != UNKNOWN and not code.lstrip("-").isdigit()]
    if wrong:
        raise InvalidInput(f"'{wrong[0]}' is no code", fix="Give numbers as in docs/errors.md, or 'unknown'.")
    with changing(f"campaign {campaign_id}") as db, fast_copy() as told:
        show(retries.retry(db, told, campaign_id, set(codes), by=who()), json_out)


@click.command("doubts")
@click.argument("campaign_id", type=int)
@click.option("--as", "verdict", type=click.Choice(["failed", "sent", "resend"]), help="Your word about them.")
@click.option(
    "--log-id", "log_ids", type=click.IntRange(1, 2**63 - 1), multiple=True, help="About this one. Repeatable."
)
@click.option("--older-than-hours", type=click.IntRange(0, 8760), help="About all that are older.")
@as_json
def show_doubts(
    campaign_id: int, verdict: Verdict | None, log_ids: tuple[int, ...], older_than_hours: int | None, json_out: bool
) -> None:
    """List messages that may have been sent or not, with the evidence; with --as, say what they are taken for.

    failed: it never arrived, a retry may send it. sent: it arrived. resend: send it again now; whoever did get it gets
    it twice.
    """
    if verdict is None:
        with database() as db:
            page = doubts.page(db, campaign_id, after=0, limit=_MOST)
        shown = ("log_id", "phone", "attempt", "since", "evidence", "expect")
        show(page if json_out else columns(page["items"], *shown), json_out)
        return
    if bool(log_ids) == (older_than_hours is not None):
        raise InvalidInput("Which ones?", fix="Give either --log-id or --older-than-hours.")
    with changing(f"campaign {campaign_id}") as db, fast_copy() as told:
        answer = doubts.resolve(
            db, told, campaign_id, verdict, log_ids=log_ids, older_than_hours=older_than_hours, by=who()
        )
        show(answer, json_out)
