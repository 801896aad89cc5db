"""Everything that happened to one person, and why."""

from collections.abc import Mapping
from typing import Any

from titanflow.domain import doubts, why
from titanflow.domain.live import CampaignLive
from titanflow.domain.vault import Vault
from titanflow.meta.error_policy import rule_for
from titanflow.services import campaigns, erasure
from titanflow.services.suppressions import person_of
from titanflow.storage import people, retention, suppressions
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy

_MOST_LIVE = 5  # of so many campaigns is asked what limits them right now

_SHOWN_CAMPAIGN = ("campaign_id", "name", "campaign_state", "state_by", "state_reason", "started_at", "completed_at")
_SHOWN = (
    "contact_id", "phone", "log_id", "wamid", "phone_number_id", "template", "claimed_at", "sent_at", "delivered_at",
    "read_at", "failed_at",
)  # fmt: skip


def timeline(db: Database, fast_copy: FastCopy, vault: Vault, raw: str, *, before: int, limit: int) -> dict[str, Any]:
    """Return what is known of a person, a page of campaigns at a time, the latest first. Raises InvalidInput."""
    phones = person_of(raw)
    listed = suppressions.of_phones(db, phones)
    erased_at = None if listed else erasure.erased_at(db, vault, phones)
    if erased_at is not None:
        listed = [erasure.as_suppression(phones[0], erased_at)]
    kept = next((_kept(row) for row in listed if not row["is_over"]), None)
    rows = people.campaigns(db, phones, before=before, limit=limit)
    tried: dict[int, list[dict[str, Any]]] = {}
    for attempt in people.attempts(db, [row["log_id"] for row in rows if row["log_id"]]):
        tried.setdefault(attempt.pop("log_id"), []).append(attempt)
    live = _live(db, fast_copy, rows)
    return {
        "phone": phones[0],
        "also_known_as": list(phones[1:]),
        "suppression": {**listed[0], "why": f"On the do-not-send list {why.on_the_list(kept)}" if kept else None}
        if listed
        else None,
        "campaigns": {
            "items": [_shown(row, kept, live.get(row["campaign_id"]), tried.get(row["log_id"], [])) for row in rows],
            "next_cursor": str(rows[-1]["contact_id"]) if len(rows) == limit else None,
            "total": rows[0]["total"] if rows else 0,
        },
        "conversations": people.conversations(db, phones),
        "logs_kept_days": retention.read(db).log_days,
        "rejected_lines": people.rejected_lines(db, phones),
    }


def _live(db: Database, fast_copy: FastCopy, rows: list[dict[str, Any]]) -> dict[int, CampaignLive]:
    waiting = [row["campaign_id"] for row in rows if (row["campaign_state"], row["state"]) == ("running", "pending")]
    found = {campaign_id: campaigns.live(fast_copy, campaign_id) for campaign_id in waiting[:_MOST_LIVE]}
    return {campaign_id: one for campaign_id, one in found.items() if one is not None}


def _kept(row: Mapping[str, Any]) -> why.Kept:
    return why.Kept(row["reason"], row["source"], row["note"], row["created_at"], row["expires_at"])


def _shown(
    row: dict[str, Any], kept: why.Kept | None, live: CampaignLive | None, attempts: list[dict[str, Any]]
) -> dict[str, Any]:
    about = why.explain(_contact(row), _campaign(row, live), kept)
    code = row["error_code"] if row["state"] in ("failed", "retrying", "in_doubt") else None
    shown = {name: row[name] for name in _SHOWN}
    campaign = {name.removeprefix("campaign_"): row[name] for name in _SHOWN_CAMPAIGN}
    return {
        "campaign": campaign,
        "state": row["state"],
        "reason": row["excluded_reason"] if row["state"] == "excluded" else None,
        "why": about.sentence,
        "got_it": about.got_it,
        "waits_for": about.waits_for,
        "fix": about.fix,
        "error_code": code,
        "error_detail": row["error_detail"] if code is not None or row["state"] == "in_doubt" else None,
        "next_attempt_at": row["due_at"] if row["state"] == "retrying" else None,
        "in_doubt_since": row["due_at"] if row["state"] == "in_doubt" else None,
        "attempt": row["attempt"],
        "earlier_attempts": [_attempt(one) for one in attempts],
        **shown,
    }


def _attempt(row: dict[str, Any]) -> dict[str, Any]:
    code = row["error_code"]
    meaning = rule_for(code, details=row["error_detail"] or "").sentence if code is not None else None
    return {**row, "meaning": meaning}


def _campaign(row: Mapping[str, Any], live: CampaignLive | None) -> why.Campaign:
    return why.Campaign(
        state=row["campaign_state"],
        state_by=row["state_by"],
        state_reason=row["state_reason"],
        schedule_at=row["schedule_at"],
        resumes_at=row["resumes_at"],
        dedupe_days=row["dedupe_days"],
        audience_cap=row["audience_cap"],
        limited_by=live.limited_by if live else None,
        limited_detail=live.limited_detail if live else None,
    )


def _contact(row: Mapping[str, Any]) -> why.Contact:
    code, evidence, expectation = row["error_code"], None, None
    if row["state"] == "in_doubt":
        evidence = doubts.evidence(
            row["error_detail"],
            attempt=row["attempt"],
            claimed_at=row["claimed_at"],
            incarnation=row["incarnation"],
            sender_is_gone=row["sender_is_gone"],
        )
        expectation = doubts.expectation(row["due_at"], now=row["now"], resend_after_hours=row["resend_after_hours"])
        expectation = f"In doubt for {_age((row['now'] - row['due_at']).total_seconds())}. To expect: {expectation}"
    number = row["display_phone_number"] or row["phone_number_id"]
    stopped = row["number_state"] not in (None, "active")
    return why.Contact(
        state=row["state"],
        excluded_reason=row["excluded_reason"],
        number=number,
        number_stopped=f"number {number} is {row['number_state']}: {row['number_reason']}" if stopped else None,
        attempt=row["attempt"],
        claimed_at=row["claimed_at"],
        due_at=row["due_at"],
        sent_at=row["sent_at"],
        delivered_at=row["delivered_at"],
        read_at=row["read_at"],
        failed_at=row["failed_at"],
        doubted_at=row["doubted_at"],
        code=code,
        detail=row["error_detail"],
        rule=rule_for(code, details=row["error_detail"] or "") if code is not None else None,
        evidence=evidence,
        expectation=expectation,
    )


def _age(seconds: float) -> str:
    minutes = int(seconds) // 60
    if minutes < 2:
        return f"{int(seconds)} s"
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 48 * 60 else f"{minutes // 1440} days"
