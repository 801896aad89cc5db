"""Why a person did, or did not, get a campaign's message: one sentence for each state and reason. Pure.

The states and reasons are those of docs/api.md; the words are the same wherever people ask.
"""

from dataclasses import dataclass
from datetime import datetime

from titanflow.domain.outcomes import ErrorRule


@dataclass(frozen=True, slots=True)
class Kept:
    """What the do-not-send list says of a person. source: who says so; until: None for good."""

    reason: str
    source: str
    note: str | None
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Campaign:
    """How the campaign stands. limited_by, limited_detail: what keeps it from going faster right now, if it runs."""

    state: str
    state_by: str = "operator"
    state_reason: str | None = None
    schedule_at: datetime | None = None
    resumes_at: datetime | None = None
    dedupe_days: int = 0
    audience_cap: int | None = None
    limited_by: str | None = None
    limited_detail: str | None = None


@dataclass(frozen=True, slots=True)
class Contact:
    """How the person stands in it. number: for people. rule: of `code`. evidence, expectation: of a doubt."""

    state: str
    excluded_reason: str | None = None
    number: str | None = None
    number_stopped: str | None = None
    attempt: int = 0
    claimed_at: datetime | None = None
    due_at: datetime | None = None
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    read_at: datetime | None = None
    failed_at: datetime | None = None
    doubted_at: datetime | None = None
    code: int | None = None
    detail: str | None = None
    rule: ErrorRule | None = None
    evidence: str | None = None
    expectation: str | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """got_it: None while nobody knows yet. waits_for: what has to come about, for programs; None if nothing."""

    sentence: str
    got_it: bool | None
    waits_for: str | None = None
    fix: str | None = None


_SOURCES = {
    "stop_word": "the person wrote a word of opting out",
    "user_preferences": "the person switched marketing messages off in WhatsApp",
    "131050": "Meta reported that the person stopped marketing messages, code 131050",
    "131026": "Meta reported that the person can't be reached on WhatsApp, code 131026",
    "131049": "Meta held a message back because the person got enough marketing, code 131049",
}


def explain(contact: Contact, campaign: Campaign, kept: Kept | None) -> Why:
    """Say what became of a person in a campaign and why, and what it waits for. kept: what the list says right now."""
    match contact.state:
        case "excluded":
            return Why(f"Left out: {_excluded(contact.excluded_reason or '', campaign, kept)}", False)
        case "cancelled":
            return Why(_cancelled(contact, campaign), False)
        case "pending" | "retrying":
            return _waits(contact, campaign, kept)
        case "claimed":
            return Why(
                f"Taken for sending at {_time(contact.claimed_at)} by {_number(contact)}; the request is about to leave"
                " or in flight, and Meta's answer is settled within seconds. If none is recorded by"
                f" {_time(contact.due_at)}, it is in doubt",
                None,
                "answer",
            )
        case "in_doubt":
            return Why(f"It may have been sent or not. {contact.evidence}. {contact.expectation}", None, "report")
        case "sent":
            return Why(
                f"Meta took it at {_time(contact.sent_at)} from {_number(contact)} and has not reported it delivered"
                " yet: the person's phone may be off or offline",
                None,
                "delivery",
            )
        case "delivered":
            return Why(f"It was delivered to the person's phone at {_time(contact.delivered_at)}", True)
        case "read":
            return Why(f"The person got it and read it at {_time(contact.read_at)}", True)
        case "failed":
            return _failed(contact)
    return Why(f"The state is {contact.state}", None)


def on_the_list(kept: Kept) -> str:
    """Say why and since when a person is on the do-not-send list."""
    until = f", until {_time(kept.until)}" if kept.until else ""
    note = f" ({kept.note})" if kept.note else ""
    return f"since {_time(kept.since)}{until}: {_said_by(kept.source)}{note}"


def _excluded(reason: str, campaign: Campaign, kept: Kept | None) -> str:
    listed = kept if kept is not None and kept.reason == reason else None
    match reason:
        case "duplicate":
            return "the list had this person more than once, and once is enough"
        case "invalid_number":
            sentence = "the number can't be reached on WhatsApp, as far as Meta said lately"
        case "blacklisted":
            sentence = "the person is on the do-not-send list"
        case "opted_out":
            sentence = "the person has opted out"
        case "recently_messaged":
            if listed is None and campaign.dedupe_days:
                return (
                    f"another campaign had sent to this person within {campaign.dedupe_days} days"
                    " (the campaign's dedupe_days) when the list came in"
                )
            sentence = "Meta said lately that this person got enough marketing for now"
        case "over_cap":
            most = f"{campaign.audience_cap:,} people" if campaign.audience_cap else "so many people only"
            return f"the campaign takes {most} (its audience_cap), and this person came later in the list"
        case other:
            return other
    return f"{sentence}, {on_the_list(listed)}" if listed else f"{sentence}, when this was decided"


def _cancelled(contact: Contact, campaign: Campaign) -> str:
    before = "after an attempt that was refused" if contact.attempt else "before it was sent"
    why = f": {campaign.state_reason}" if campaign.state == "cancelled" and campaign.state_reason else ""
    return f"Not sent: the campaign was cancelled {before}{why}"


def _waits(contact: Contact, campaign: Campaign, kept: Kept | None) -> Why:
    told = _before(contact)
    if kept is not None:
        sentence = f"{told}. Will be left out when its turn comes: on the do-not-send list {on_the_list(kept)}"
        return Why(sentence, False, "exclusion")
    waits_for, sentence, fix = _brake(contact, campaign)
    return Why(f"{told}. {sentence}", None if waits_for else False, waits_for, fix)


def _before(contact: Contact) -> str:
    if contact.state == "pending":
        return "Not sent yet"
    if contact.doubted_at is not None:
        return f"Attempt {contact.attempt} was in doubt since {_time(contact.doubted_at)} and is to be sent again"
    if contact.failed_at is not None:
        return f"Attempt {contact.attempt} failed at {_time(contact.failed_at)}{_code(contact)} and is to be sent again"
    return f"Attempt {contact.attempt} was refused for now{_code(contact)}"


def _brake(contact: Contact, campaign: Campaign) -> tuple[str | None, str, str | None]:
    """What it waits for, as a name, a sentence, and what to do. No name: it will never be sent."""
    reason = f": {campaign.state_reason.rstrip('.')}" if campaign.state_reason else ""
    match campaign.state:
        case "draft":
            return "start", "The campaign is a draft and has not been started", "Complete and start it."
        case "importing":
            return "import", "The campaign's list is still coming in", "Start it when the import is done."
        case "ready":
            return "start", "The campaign has not been started", "Start it."
        case "scheduled":
            return "schedule", f"The campaign starts at {_time(campaign.schedule_at)}", None
        case "paused" if campaign.state_by == "send_window":
            when = f" It opens at {_time(campaign.resumes_at)}" if campaign.resumes_at else ""
            return "send_window", f"The campaign is outside its send window{reason}.{when}", None
        case "paused":
            sentence = f"The campaign is paused by {campaign.state_by}{reason}"
            return "pause", sentence, "Mend the cause, if there is one, then resume the campaign."
        case "running":
            return _running(contact, campaign)
    return None, f"It won't be: the campaign is {campaign.state}{reason}", None


def _running(contact: Contact, campaign: Campaign) -> tuple[str, str, str | None]:
    if contact.state == "retrying" and contact.due_at is not None:
        fix = contact.rule.fix if contact.rule else None
        return "retry", f"Its next attempt may leave from {_time(contact.due_at)} on{_stopped(contact)}", fix
    detail = campaign.limited_detail
    match campaign.limited_by:
        case None | "empty":
            return "turn", f"The campaign runs, and its turn comes soon{_stopped(contact)}", None
        case "rate":
            return "rate", f"The campaign runs and sends as fast as it may; its turn will come: {detail}", None
        case "throttled":
            return "throttled", f"The campaign runs, slowed down because Meta asked for it: {detail}", None
        case "tier":
            return "tier", f"The campaign runs, but Meta's daily limit of people is used up: {detail}", None
        case "paused":
            return "number", f"The campaign runs, but no number of it sends right now: {detail}", "See /phone-numbers."
        case "concurrency":
            return "concurrency", f"The campaign runs, and Meta's answers take long: {detail}", None
        case "database":
            return "database", f"The campaign runs, and PostgreSQL is the brake: {detail}", "Look at its load."
        case other:
            return other, f"The campaign runs: {detail}", None


def _failed(contact: Contact) -> Why:
    when = f" at {_time(contact.failed_at)}" if contact.failed_at else ""
    if contact.rule is None or contact.code is None:
        told = f": {contact.detail}" if contact.detail else ", without saying why"
        return Why(f"Failed{when}: Meta reported it as failed{told}", False, None, "Retry it, if it matters.")
    told = f" (Meta: {contact.detail})" if contact.detail else ""
    return Why(f"Failed{when} with code {contact.code}: {contact.rule.sentence}{told}", False, None, contact.rule.fix)


def _said_by(source: str) -> str:
    return _SOURCES.get(source) or (
        f"Meta refused a message with code {source}" if source.lstrip("-").isdigit() else f"written by {source}"
    )


def _code(contact: Contact) -> str:
    if contact.code is None:
        return ""
    return f" with code {contact.code} ({contact.rule.sentence})" if contact.rule else f" with code {contact.code}"


def _number(contact: Contact) -> str:
    return f"number {contact.number}" if contact.number else "a number"


def _stopped(contact: Contact) -> str:
    return f"; {contact.number_stopped}" if contact.number_stopped else ""


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "an unknown time"
