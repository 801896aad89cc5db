"""`titanflow campaign rehearse`: runs a rehearsal here, without a server, and prints what it foretells."""

import subprocess
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from titanflow.cli.environment import who
from titanflow.services import rehearsals as service
from titanflow.storage import rehearsals
from titanflow.storage.database import Database

_WORKER = "titanflow.services.rehearsal_worker"
_POLL_S = 0.2


def run(db: Database, campaign_id: int) -> dict[str, Any]:
    """Rehearse and return the finished rehearsal; if one of this campaign runs already, wait for that one."""
    made, is_new = service.begin(db, campaign_id, by=who(), here=True)
    if not is_new:
        while made["state"] == "running":
            time.sleep(_POLL_S)
            rehearsals.bury(db)
            made = service.get(db, campaign_id, made["id"])
        return made
    try:
        code = subprocess.call([sys.executable, "-m", _WORKER, str(made["id"])])
    except KeyboardInterrupt:
        rehearsals.end(db, made["id"], state="cancelled", error="Cancelled")
        raise
    rehearsals.end(db, made["id"], state="failed", error=f"Its process ended with code {code}")  # unless it is done
    return service.get(db, campaign_id, made["id"])


def show(rehearsal: dict[str, Any]) -> None:
    """Print its result for people: the limits first, they are what one acts on."""
    console = Console(highlight=False, soft_wrap=True)
    result = rehearsal["result"]
    if result is None:
        return
    audience, duration, costs = result["audience"], result["duration"], result["costs"]
    console.print(
        f"{audience['to_send']:,} of {audience['total']:,} would be sent to, {audience['excluded']:,} are excluded,"
        f" {audience['would_fail']:,} would fail."
    )
    console.print(f"Duration: {duration['says']}, from {duration['starts_at']}.")
    console.print(_cost_line(costs))
    for one in result["limits"]:
        console.print(f"- {one['sentence']}")
    _table(console, "Excluded", result["exclusions"])
    _table(console, "Rejected lines of the import", result["rejected_lines"])
    _table(console, "Would fail", {one["sentence"]: one["count"] for one in result["failures"]})
    if duration["days_in_all"] > 1:
        _table(console, "Day by day", {one["date"]: one["messages"] for one in duration["days"]})
    _table(console, "Messages by country", {one["country"]: one["messages"] for one in costs["by_country"]})


def _cost_line(costs: dict[str, Any]) -> str:
    source = "example rates, not today's price list" if costs["table"] == "example" else costs["table"]
    problem = f" {costs['problem']}." if costs["problem"] else ""
    if costs["currency"] is None:
        return f"Cost: unknown.{problem}"
    return f"Cost: {costs['currency']} {costs['low']:,.2f} to {costs['high']:,.2f} ({source}).{problem}"


def _table(console: Console, title: str, counts: dict[str, int]) -> None:
    if not counts:
        return
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    console.print(table)
