"""What Meta's news about accounts and numbers mean for sending. Pure; the reasons are sentences for people.

Source: Meta's webhook reference (account_update, phone_number_quality_update, business_capability_update) and the
number's fields in the Graph API. What isn't known here changes nothing and stands in the audit log.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from titanflow.domain import tiers
from titanflow.domain.webhooks import AccountEvent

_LATEST = 253402300799  # year 9999


@dataclass(frozen=True, slots=True)
class BlockAccount:
    """No number of the account may send. until: then a poll decides; None: until Meta takes it back."""

    reason: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class ProbeAccount:
    """Meta takes a block back: the next poll of each number decides."""


@dataclass(frozen=True, slots=True)
class NumberNews:
    """What an event says of one number. digits: of its displayed form; None: nothing said."""

    digits: str
    tier: str | None
    status: str | None
    throughput: str | None


@dataclass(frozen=True, slots=True)
class AccountTier:
    """The messaging limit of the portfolio an account belongs to."""

    tier: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Something that an operator should see, and nobody but an operator can decide about. target: None: the account."""

    kind: str
    target: str | None
    sentence: str


Effect = BlockAccount | ProbeAccount | NumberNews | AccountTier | Tell

# account_update's events that stop an account, and why.
_STOPS = {
    "ACCOUNT_DELETED": "Meta says that the account was deleted",
    "ACCOUNT_OFFBOARDED": "Meta says that the account was offboarded",
    "PARTNER_REMOVED": "The account was disconnected from this app",
    "ACCOUNT_VIOLATION": "Meta found a violation of its policy",
}
_BACK = {"REINSTATE", "REINSTATED", "ACCOUNT_RECONNECTED"}
_BANS = {
    "DISABLE": "Meta has disabled the account",
    "SCHEDULE_FOR_DISABLE": "Meta is about to disable the account",
}
# What every block of Meta's says after its sentence.
FIX = "Look into WhatsApp Manager; when Meta lifts it, the number goes on by itself."

# The number's `status`: a sentence if it may not send. CONNECTED, FLAGGED, WARNED and unknown words let it send.
BLOCKING_STATUSES = {
    "PENDING": "Meta has not connected the number yet",
    "RESTRICTED": "Meta has restricted the number",
    "RATE_LIMITED": "The number has used up its messaging limit at Meta",
    "DISCONNECTED": "The number is disconnected at Meta",
    "BANNED": "Meta has banned the number",
    "MIGRATED": "The number was moved to another account",
    "DELETED": "The number was deleted at Meta",
}

# Refusals that say what an event or a poll would: Meta itself ends what they tell of, so no operator must. A refused
# token or payment is not among them: Meta's status stays as it was.
_ACCOUNT_CODES = {368, 131031, *range(200, 300)}
_NUMBER_CODES = {33, 131037, 131045, 133010}

_NUMBER_EVENTS = {  # older payloads carry the status in the event's name
    "FLAGGED": ("FLAGGED", None),
    "UNFLAGGED": ("CONNECTED", None),
    "THROUGHPUT_UPGRADE": (None, "HIGH"),
}


def effects(event: AccountEvent) -> list[Effect]:
    """Return what an event changes, nothing for most."""
    value = event.value
    match event.field:
        case "account_update":
            return _account_update(value)
        case "phone_number_quality_update":
            digits = "".join(char for char in str(value.get("display_phone_number", "")) if char.isdigit())
            status, throughput = _NUMBER_EVENTS.get(_word(value.get("event")), (None, None))
            limit = tier(value.get("max_daily_conversations_per_business")) or tier(value.get("current_limit"))
            return [NumberNews(digits, limit, status, throughput)] if digits else []
        case "business_capability_update":
            limit = tier(value.get("max_daily_conversations_per_business")) or tier(
                value.get("max_daily_conversation_per_phone")
            )
            return [AccountTier(limit)] if limit else []
        case _:
            told = _tell(event.field, value)
            return [told] if told else []


def concerns_templates(event: AccountEvent) -> bool:
    """Say if the account's templates must be read again: the event says that one has changed, not always how."""
    return "template" in event.field


def block_kind(code: int) -> Literal["account", "status"] | None:
    """Return how the block that a refusal brings is ended by Meta's own word; None: only by an operator's."""
    return "account" if code in _ACCOUNT_CODES else "status" if code in _NUMBER_CODES else None


def status_block(status: str | None) -> str | None:
    """Return why a number with this status may not send; None if it may."""
    sentence = BLOCKING_STATUSES.get(_word(status))
    return f"{sentence}. {FIX}" if sentence else None


def tier(value: Any) -> str | None:
    """Return a messaging limit as Meta spells it today, TIER_2K; None if it can't be read."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        return None
    try:
        limit = tiers.limit_of(value)
    except ValueError:
        return None
    return "TIER_NOT_SET" if limit == "not_set" else tiers.spelling(limit)


def _tell(field: str, value: Mapping[str, Any]) -> Tell | None:
    """Say what people should know of an event that changes nothing by itself; None: it is good or harmless news."""
    number, template = _plain(value.get("display_phone_number")), _plain(value.get("message_template_name"))
    match field:
        case "account_alerts":
            info = value.get("alert_info")
            alert = info if isinstance(info, dict) else value
            if _word(alert.get("alert_severity")) == "INFORMATIONAL":
                return None
            said = _plain(alert.get("alert_description")) or _plain(alert.get("alert_type")) or "without a word why"
            return Tell("account_alert", None, f"Meta alerts: {said}")
        case "account_review_update" if _word(value.get("decision")) not in ("", "APPROVED"):
            return Tell("account_review", None, f"Meta's review of the account ended as {_word(value['decision'])}")
        case "phone_number_name_update" if _word(value.get("decision")) == "REJECTED":
            name, why = _plain(value.get("requested_verified_name")), _plain(value.get("rejection_reason"))
            because = f": {why}" if why else ""
            return Tell("number_name", number, f"Meta rejected the name {name!r} of number {number}{because}")
        case "security" if _word(value.get("event")).startswith("PIN_"):
            return Tell("number_security", number, f"Somebody acts on number {number}: {_word(value['event'])}")
        case "message_template_quality_update" if _word(value.get("new_quality_score")) == "RED":
            return Tell("template_quality", template, f"The quality of template {template!r} is RED: a pause is near")
        case "template_category_update":
            category = _word(value.get("new_category")) or _word(value.get("correct_category"))
            return Tell("template_category", template, f"Meta puts template {template!r} into category {category}")
        case "errors":
            errors = value.get("errors")
            first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
            said = _plain(first.get("title")) or _plain(first.get("message")) or "an error"
            return Tell("account_error", None, f"Meta reports {said} (code {first.get('code')}) for the account")
    return None


def _account_update(value: Mapping[str, Any]) -> list[Effect]:
    event = _word(value.get("event"))
    if event in _BACK:
        return [ProbeAccount()]
    if event in _STOPS:
        return [BlockAccount(f"{_STOPS[event]}. {FIX}", None)]
    if event == "DISABLED_UPDATE":
        ban = value.get("ban_info")
        state = _word(ban.get("waba_ban_state")) if isinstance(ban, dict) else ""
        if state in _BACK:
            return [ProbeAccount()]
        return [BlockAccount(f"{_BANS.get(state, _BANS['DISABLE'])}. {FIX}", None)]
    if event == "ACCOUNT_RESTRICTION":
        restrictions = value.get("restriction_info")
        for one in restrictions if isinstance(restrictions, list) else []:
            if isinstance(one, dict) and _word(one.get("restriction_type")) == "RESTRICTED_BIZ_INITIATED_MESSAGING":
                until = _moment(one.get("expiration"))
                when = f" until {until:%Y-%m-%d %H:%M} UTC" if until else ""
                return [BlockAccount(f"Meta doesn't let the account send first{when}. {FIX}", until)]
    return []


def _word(value: Any) -> str:
    return value.strip().upper()[:64].replace("\x00", "") if isinstance(value, str) else ""


def _plain(value: Any) -> str:
    """A text of Meta's as part of a sentence: short, on one line."""
    return " ".join(value.split())[:200] if isinstance(value, str) else ""


def _moment(value: Any) -> datetime | None:
    try:
        seconds = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return datetime.fromtimestamp(seconds, UTC) if 0 < seconds <= _LATEST else None
