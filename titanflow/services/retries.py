"""Retry a campaign's failures by code, as new attempts of the same contacts."""

from collections.abc import Collection
from typing import Any

import structlog

from titanflow.domain import retries as rules
from titanflow.meta.error_policy import RULES
from titanflow.services import campaigns
from titanflow.storage import reports, retries
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy

log = structlog.get_logger()

_RIGHT = "completed, running or paused"


def retry(db: Database, fast_copy: FastCopy, campaign_id: int, codes: Collection[str], *, by: str) -> dict[str, Any]:
    """Let failures be tried again: those with the codes named, or all whose code is known and makes it worth while.

    Repeating it finds only what has failed again meanwhile. Raises NotFound; Conflict if the campaign can't send.
    """
    campaign = campaigns.get(db, campaign_id)
    if campaign["state"] not in ("completed", "running", "paused") or campaign["closed_at"] is not None:
        raise campaigns.wrong_state(campaign, "retried", _RIGHT)
    if campaign["state"] == "completed":
        campaigns.check_complete(db, campaign_id)
    plan = rules.plan(reports.failures(db, campaign_id), codes, {str(code) for code in RULES})
    done = retries.retry(db, campaign_id, plan.waits_s, by=by)
    if done is None:
        raise campaigns.wrong_state(campaigns.get(db, campaign_id), "retried", _RIGHT)
    count, last_due_at = done
    campaign = campaigns.let_window_decide(db, campaign_id)
    if count:
        log.info("campaign.retried", campaign_id=campaign_id, count=count, codes=sorted(plan.waits_s), by=by)
        campaigns.tell(fast_copy)
    left = reports.failures(db, campaign_id)
    return {
        "id": campaign_id,
        "state": campaign["state"],
        "retrying": count,
        "last_due_at": last_due_at,
        "not_retried": {code: {"count": left[code], "why": why} for code, why in plan.why_not.items() if code in left},
    }
