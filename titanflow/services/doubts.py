"""Messages in doubt: what is known of each, and the operator's explicit word about them."""

from collections.abc import Sequence
from typing import Any

import structlog

from titanflow.domain import doubts as words
from titanflow.meta.error_policy import RESOLVED_AS_FAILED
from titanflow.services import campaigns
from titanflow.storage import counters, doubts
from titanflow.storage.database import Database
from titanflow.storage.doubts import Verdict
from titanflow.storage.fast_copy import FastCopy

log = structlog.get_logger()


def page(db: Database, campaign_id: int, *, after: int, limit: int) -> dict[str, Any]:
    """Return a page of a campaign's doubts, by log id, with evidence and what to expect. Raises NotFound, Gone."""
    campaign = campaigns.with_messages(db, campaign_id)
    policy = campaign["doubt_policy"]
    hours = policy["resend_after_hours"] if isinstance(policy, dict) else None
    rows = doubts.page(db, campaign_id, after=after, limit=limit)
    return {
        "items": [_shown(row, hours) for row in rows],
        "next_cursor": str(rows[-1]["log_id"]) if len(rows) == limit else None,
        "total": counters.read(db, campaign_id).by_state["in_doubt"],
        "doubt_policy": policy,
    }


def _shown(row: dict[str, Any], resend_after_hours: int | None) -> dict[str, Any]:
    seen = words.evidence(
        row["error_detail"],
        attempt=row["attempt"],
        claimed_at=row["claimed_at"],
        incarnation=row["incarnation"],
        sender_is_gone=row["sender_is_gone"],
    )
    shown = ("log_id", "contact_id", "phone", "attempt", "phone_number_id", "template", "since", "error_code")
    return {
        **{key: row[key] for key in shown},
        "age_seconds": round(row["age_seconds"], 1),
        "evidence": seen,
        "expect": words.expectation(row["since"], now=row["now"], resend_after_hours=resend_after_hours),
    }


def resolve(
    db: Database,
    fast_copy: FastCopy,
    campaign_id: int,
    verdict: Verdict,
    *,
    log_ids: Sequence[int],
    older_than_hours: int | None,
    by: str,
) -> dict[str, Any]:
    """Carry out an operator's word; audit_log keeps who gave it. What is not in doubt any more is left alone.

    Raises NotFound; Conflict if they are to be sent again and the campaign can't send.
    """
    campaign = campaigns.get(db, campaign_id)
    count = doubts.resolve(
        db,
        campaign_id,
        verdict=verdict,
        log_ids=log_ids,
        older_than_hours=older_than_hours,
        who=by,
        code=RESOLVED_AS_FAILED.code,
        detail=f"{RESOLVED_AS_FAILED.sentence} ({by})",
    )
    if count is None:
        verb = "told to send again" if verdict == "resend" else f"resolved as {verdict}"
        raise campaigns.wrong_state(campaigns.get(db, campaign_id), verb, "completed, running or paused")
    if count:
        log.info("doubts.resolved", campaign_id=campaign_id, verdict=verdict, count=count, by=by)
    campaign = campaigns.let_window_decide(db, campaign_id)
    if count and verdict == "resend":
        campaigns.tell(fast_copy)
    left = counters.read(db, campaign_id).by_state["in_doubt"]
    return {"id": campaign_id, "state": campaign["state"], "resolved": count, "in_doubt": left}
