"""Send windows that open or close: used by the Reconciler each round, and by whoever starts or resumes a campaign.

Not an actor: what is due stands in PostgreSQL, each move is a compare-and-set, so any node may do it, twice or late.
"""

from collections.abc import Sequence

import structlog

from titanflow.domain import send_windows as rules
from titanflow.storage import send_windows
from titanflow.storage.database import Database
from titanflow.storage.send_windows import WindowTurn

log = structlog.get_logger()


def turn(db: Database, turns: Sequence[WindowTurn]) -> bool:
    """Pause what is outside its window, let go on what is inside again. Returns if any campaign was moved."""
    moved = False
    for seen in turns:
        if seen.due_in_s > 0:
            continue
        verdict = rules.decide(seen.send_window, seen.at)
        if not send_windows.turn(db, seen, verdict):
            continue
        moved = True
        if verdict.running and seen.state == "paused":
            log.info("campaign.resumed", campaign_id=seen.id, by="send_window")
        elif not verdict.running:
            log.info("campaign.paused", campaign_id=seen.id, by="send_window", reason=verdict.reason)
    return moved
