"""Use cases around a campaign's life: make it, start it, pause it, resume it, cancel it."""

from typing import Any

import structlog

from titanflow.actors.campaign import counter_syncer
from titanflow.actors.node import send_windows
from titanflow.actors.node.reconciler import nudge
from titanflow.domain.live import CampaignLive, of_campaign
from titanflow.errors import Conflict, Gone, InvalidInput, NotFound, StorageUnavailable
from titanflow.storage import campaigns, media, reports, retention, templates
from titanflow.storage.database import Database
from titanflow.storage.desired import window_turns
from titanflow.storage.fast_copy import FastCopy

log = structlog.get_logger()

_MISSING = (
    ("has_template", "no_template", "a template"),
    ("has_number", "no_number", "a phone number"),
    ("has_contacts", "no_contacts", "contacts that may be sent to"),
)


def get(db: Database, campaign_id: int) -> dict[str, Any]:
    """Return a campaign. Raises NotFound."""
    campaign = campaigns.get(db, campaign_id)
    if campaign is None:
        raise NotFound(f"There is no campaign {campaign_id}", code="campaign_not_found")
    return campaign


def with_messages(db: Database, campaign_id: int) -> dict[str, Any]:
    """Return a campaign whose contacts and messages are there. Raises NotFound, Gone if it is closed."""
    campaign = get(db, campaign_id)
    if campaign["closed_at"] is not None:
        raise Gone(
            f"Campaign {campaign_id} is closed",
            why="it ended so long ago that its contacts and messages are not kept any more",
            fix="Its figures are: ask for its stats.",
            closed_at=campaign["closed_at"],
        )
    return campaign


def create(db: Database, values: dict[str, Any], *, template_ids: list[int], number_ids: list[str]) -> dict[str, Any]:
    """Make a draft. Raises InvalidInput if a template or number doesn't exist."""
    _check_media(db, values)
    campaign_id = campaigns.insert(db, values, template_ids=_known_templates(db, template_ids), number_ids=number_ids)
    campaign = get(db, campaign_id)
    unknown = sorted(set(number_ids) - set(campaign["phone_number_ids"]))
    if unknown:
        retention.delete(db, campaign_id)
        raise InvalidInput(f"There is no phone number {unknown[0]}", fix="Add it first.", code="unknown_number")
    log.info("campaign.created", campaign_id=campaign_id)
    return campaign


def update(db: Database, fast_copy: FastCopy, campaign_id: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Change a campaign that does not run. Raises Conflict while it runs or after its end.

    A schedule or a send window that changes takes effect at once.
    """
    campaign = get(db, campaign_id)
    template_ids, number_ids = changes.pop("template_ids", None), changes.pop("phone_number_ids", None)
    if template_ids is not None:
        _known_templates(db, template_ids)
    _check_media(db, changes)
    if not campaigns.update(db, campaign_id, {**campaign, **changes}, template_ids=template_ids, number_ids=number_ids):
        raise wrong_state(campaign, "changed", "draft, ready, scheduled or paused")
    campaign = let_window_decide(db, campaign_id)
    tell(fast_copy)
    return campaign


def start(db: Database, fast_copy: FastCopy, campaign_id: int, *, by: str) -> dict[str, Any]:
    """Start a campaign, or schedule it if its time is still to come. Harmless if it has been started already.

    Outside its send window it becomes `paused` by it, and goes on by itself when the window opens.
    Raises Conflict that says what is missing, or what state would be right.
    """
    campaign = get(db, campaign_id)
    if _is_started(campaign):
        return _state(campaign)
    if campaign["state"] == "importing" or reports.import_running(db, campaign_id):
        raise Conflict("The contacts are still being imported", fix="Start when it is done.", code="import_running")
    if campaign["state"] not in ("draft", "ready", "paused"):
        raise wrong_state(campaign, "started", "ready")
    check_complete(db, campaign_id)
    return _run(db, fast_copy, campaign, allowed=["draft", "ready", "paused"], by=by, verb="started")


def pause(db: Database, fast_copy: FastCopy, campaign_id: int, *, by: str) -> dict[str, Any]:
    """Pause a running or scheduled campaign: no claim follows, and no send window lets it go on."""
    campaign = get(db, campaign_id)
    if campaign["state"] == "paused" and not _waits_for_window(campaign):
        return _state(campaign)
    allowed, reason = ["running", "scheduled"], f"Paused by {by}"
    if not campaigns.change_state(
        db, campaign_id, to="paused", allowed=allowed, by=by, reason=reason, from_window=True
    ):
        campaign = get(db, campaign_id)
        if campaign["state"] == "paused":  # somebody else was faster
            return _state(campaign)
        raise wrong_state(campaign, "paused", " or ".join(allowed))
    log.info("campaign.paused", campaign_id=campaign_id, by=by, reason=reason)
    tell(fast_copy)
    return _state(get(db, campaign_id))


def resume(db: Database, fast_copy: FastCopy, campaign_id: int, *, by: str) -> dict[str, Any]:
    """Let a paused campaign go on; outside its send window: when that opens, as with a start."""
    campaign = get(db, campaign_id)
    if campaign["state"] == "running" or _waits_for_window(campaign):
        return _state(campaign)
    if campaign["state"] == "paused":
        check_complete(db, campaign_id)
    return _run(db, fast_copy, campaign, allowed=["paused"], by=by, verb="resumed")


def cancel(db: Database, fast_copy: FastCopy, campaign_id: int, *, by: str) -> dict[str, Any]:
    """Cancel a campaign and all who still wait, for good."""
    campaign = get(db, campaign_id)
    if campaign["state"] != "cancelled":
        reason = f"Cancelled by {by}"
        if not campaigns.cancel(db, campaign_id, by=by, reason=reason):
            raise wrong_state(get(db, campaign_id), "cancelled", "draft, ready, scheduled, running or paused")
        log.info("campaign.cancelled", campaign_id=campaign_id, by=by, reason=reason)
        tell(fast_copy)
    return _state(get(db, campaign_id))


def live(fast_copy: FastCopy, campaign_id: int) -> CampaignLive | None:
    """Return what happens right now, over all nodes: as this node's own actors know it, else as the others told."""
    own = counter_syncer.live(campaign_id)
    if own is not None:
        return own
    try:
        told = fast_copy.live(campaign_id)
    except StorageUnavailable:
        return None
    numbers = [number for one in told.values() for number in one]
    return of_campaign(campaign_id, numbers) if numbers else None


def delete(db: Database, campaign_id: int) -> None:
    """Delete a campaign that can't send any more, with everything that belongs to it."""
    campaign = get(db, campaign_id)
    if not retention.delete(db, campaign_id):
        raise wrong_state(campaign, "deleted", "draft, ready, completed, cancelled or failed")


def _known_templates(db: Database, template_ids: list[int]) -> list[int]:
    for template_id in template_ids:
        if templates.get(db, template_id) is None:
            raise InvalidInput(f"There is no template {template_id}", fix="Sync first.", code="unknown_template")
    return template_ids


def _check_media(db: Database, values: dict[str, Any]) -> None:
    media_id = (values.get("media") or {}).get("media_id")
    if media_id is not None and media.get(db, media_id) is None:
        raise InvalidInput(f"There is no media {media_id}", fix="Upload it first.", code="unknown_media")


def check_complete(db: Database, campaign_id: int) -> None:
    """Raise Conflict that lists all that a campaign lacks to send."""
    facts = campaigns.missing_for_start(db, campaign_id)
    missing = [(code, thing) for fact, code, thing in _MISSING if not facts[fact]]
    if missing:
        things = ", ".join(thing for _, thing in missing)
        raise Conflict(
            f"The campaign lacks {things}", code=missing[0][0], missing=[code for code, _ in missing],
            fix="Add what is missing, then start it.",
        )  # fmt: skip
    if not facts["approved"]:
        raise Conflict("None of the campaign's templates is approved", code="template_not_approved")
    if not facts["same_account"]:
        raise Conflict(
            "A template belongs to another account than a number",
            fix="Choose templates and numbers of one account.",
            code="template_of_other_account",
        )


def _run(
    db: Database, fast_copy: FastCopy, campaign: dict[str, Any], *, allowed: list[str], by: str, verb: str
) -> dict[str, Any]:
    if not campaigns.change_state(db, campaign["id"], to="running", allowed=allowed, by=by):
        campaign = get(db, campaign["id"])
        if _is_started(campaign):  # somebody else was faster
            return _state(campaign)
        raise wrong_state(campaign, verb, " or ".join(allowed))
    campaign = let_window_decide(db, campaign["id"])
    log.info(f"campaign.{verb}", campaign_id=campaign["id"], by=by, state=campaign["state"])
    tell(fast_copy)
    return _state(campaign)


def let_window_decide(db: Database, campaign_id: int) -> dict[str, Any]:
    """Decide at once what the Reconciler would decide within a second. Returns the campaign as it is then."""
    campaign = get(db, campaign_id)
    if not _waits_for_window(campaign):
        return campaign
    send_windows.turn(db, window_turns(db))
    return get(db, campaign_id)


def tell(fast_copy: FastCopy) -> None:
    """Wake the Reconcilers of all nodes: the desired state has changed."""
    nudge()
    try:
        fast_copy.nudge()
    except StorageUnavailable as error:
        log.warning("nudge.not_sent", why=error.what)  # the others see it within a second


def _is_started(campaign: dict[str, Any]) -> bool:
    return campaign["state"] in ("running", "scheduled") or _waits_for_window(campaign)


def _waits_for_window(campaign: dict[str, Any]) -> bool:
    return (campaign["state"], campaign["state_by"]) == ("paused", "send_window")


def _state(campaign: dict[str, Any]) -> dict[str, Any]:
    answer = {"id": campaign["id"], "state": campaign["state"]}
    if _waits_for_window(campaign):
        answer |= {"state_reason": campaign["state_reason"], "resumes_at": campaign["resumes_at"]}
    return answer


def wrong_state(campaign: dict[str, Any], verb: str, right: str) -> Conflict:
    """The error for a change that the campaign's state forbids; it says what state would be right."""
    if campaign["closed_at"] is not None:
        return Conflict(
            f"Campaign {campaign['id']} is closed and can't be {verb}",
            why="its contacts and messages are not kept any more",
            fix="Make a new campaign.",
            code="wrong_state",
            state=campaign["state"],
        )
    return Conflict(
        f"Campaign {campaign['id']} is {campaign['state']} and can't be {verb}",
        fix=f"It would have to be {right}.",
        code="wrong_state",
        state=campaign["state"],
    )
