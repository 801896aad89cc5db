"""Use cases around a rehearsal: ask for one, look at it, cancel it. What it does: services/rehearsal_worker.py."""

from typing import Any

import structlog

from titanflow.actors.node import rehearser
from titanflow.errors import Conflict, NotFound
from titanflow.services import campaigns
from titanflow.storage import campaigns as campaign_rows
from titanflow.storage import rehearsals, reports
from titanflow.storage.database import Database

log = structlog.get_logger()

_NEEDED = (
    ("has_template", "no_template", "a template"),
    ("has_number", "no_number", "a phone number"),
    ("has_contacts", "no_contacts", "contacts that may be sent to"),
)


def begin(db: Database, campaign_id: int, *, by: str, here: bool = False) -> tuple[dict[str, Any], bool]:
    """Ask for a rehearsal; a node runs it, or the caller itself (`here`).

    Returns it, and whether it is new: while one of this campaign runs, that one is returned.
    Raises Conflict if there is nothing to rehearse, NotFound.
    """
    campaign = campaigns.get(db, campaign_id)
    if campaign["state"] == "importing" or reports.import_running(db, campaign_id):
        raise Conflict("The contacts are still being imported", fix="Rehearse when it is done.", code="import_running")
    if campaign["state"] in ("completed", "cancelled", "failed"):
        raise Conflict(
            f"Campaign {campaign_id} is {campaign['state']} and sends nothing any more",
            fix="It would have to be draft, ready, scheduled, running or paused.",
            code="wrong_state",
            state=campaign["state"],
        )
    facts = campaign_rows.missing_for_start(db, campaign_id)
    missing = [(code, thing) for fact, code, thing in _NEEDED if not facts[fact]]
    if missing:
        raise Conflict(
            f"The campaign lacks {', '.join(thing for _, thing in missing)}",
            fix="Add what is missing, then rehearse it.",
            code=missing[0][0],
            missing=[code for code, _ in missing],
        )
    rehearsals.bury(db)
    while True:
        made = rehearsals.create(db, campaign_id, by=by, started=here)
        if made is not None:
            log.info("rehearsal.requested", rehearsal_id=made, campaign_id=campaign_id, by=by)
            if not here:
                rehearser.nudge()
            return get(db, campaign_id, made), True
        running = rehearsals.running(db, campaign_id)
        if running is not None:  # else it has ended this very moment
            return running, False


def get(db: Database, campaign_id: int, rehearsal_id: int) -> dict[str, Any]:
    """Return a rehearsal. Raises NotFound."""
    found = rehearsals.get(db, campaign_id, rehearsal_id)
    if found is None:
        raise NotFound(f"Campaign {campaign_id} has no rehearsal {rehearsal_id}", code="rehearsal_not_found")
    return found


def cancel(db: Database, campaign_id: int, rehearsal_id: int) -> dict[str, Any]:
    """End a rehearsal without a result; its process notices within a second or two. Harmless to repeat."""
    get(db, campaign_id, rehearsal_id)
    rehearsals.end(db, rehearsal_id, state="cancelled", error="Cancelled")
    return get(db, campaign_id, rehearsal_id)
