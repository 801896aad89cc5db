"""What Meta says by webhook about templates, accounts and numbers. Events come late, twice and in any order.

So only a stop is believed as it comes; good news asks for a poll, and the poll's answer is believed.
"""

from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from titanflow.domain.account_events import (
    FIX,
    AccountTier,
    BlockAccount,
    NumberNews,
    ProbeAccount,
    Tell,
    concerns_templates,
    effects,
)
from titanflow.domain.webhooks import AccountEvent, TemplateEvent
from titanflow.storage import alarms, meta_syncs
from titanflow.storage.alarms import Alarm
from titanflow.storage.database import Connection

_STOPPED = {
    "PAUSED",
    "DISABLED",
    "DELETED",
    "REJECTED",
    "PENDING",
    "ARCHIVED",
    "PENDING_DELETION",
    "IN_APPEAL",
    "LIMIT_EXCEEDED",
    "LOCKED",
}

# By Meta's id; by name only while the id isn't known, and only within the account: names repeat across accounts.
_STOP_TEMPLATE = """
    UPDATE templates SET status = %(status)s, updated_at = now()
    WHERE meta_template_id = %(meta_id)s
       OR (meta_template_id IS NULL AND waba_id = %(waba_id)s AND name = %(name)s
           AND replace(language, '-', '_') = replace(%(language)s, '-', '_'))
"""

# Meta says it is back: the list is believed at once, whatever it was refused for before.
_BELIEVE_TEMPLATE = "UPDATE templates SET refused_until = NULL, refusals = 0 WHERE meta_template_id = %(meta_id)s"

# What people need to look at although nothing stopped; `fix` of the alarm says the same for all of them.
_LOOK = "Look into WhatsApp Manager; then clear this alarm."

_KEEP = "INSERT INTO audit_log (who, what, target, detail) VALUES ('meta', %s, %s, %s)"

# With the other accounts of their portfolios: a limit is theirs, too.
_LOCK_NUMBERS = """
    SELECT FROM phone_numbers
    WHERE coalesce(portfolio_id, waba_id) IN (SELECT coalesce(portfolio_id, waba_id) FROM phone_numbers
                                              WHERE waba_id = ANY(%(waba_ids)s))
    ORDER BY id FOR NO KEY UPDATE
"""

# By Meta's clock alone; an event without a time is taken as it comes.
_NOT_LATE = "(%(at)s::timestamptz IS NULL OR meta_event_at IS NULL OR meta_event_at <= %(at)s)"

_BLOCK_ACCOUNT = f"""
    UPDATE phone_numbers
    SET meta_block = %(reason)s, meta_block_kind = 'account', meta_block_until = %(until)s,
        meta_event_at = coalesce(%(at)s, meta_event_at), updated_at = now()
    WHERE waba_id = %(waba_id)s AND {_NOT_LATE}
"""  # noqa: S608  (constants only)

_LET_POLL_DECIDE = f"""
    UPDATE phone_numbers
    SET meta_block_until = now(), meta_event_at = coalesce(%(at)s, meta_event_at), updated_at = now()
    WHERE waba_id = %(waba_id)s AND {_NOT_LATE}
"""  # noqa: S608  (constants only)

_NUMBER = """
    UPDATE phone_numbers
    SET tier = coalesce(%(tier)s, tier),
        -- Only a poll ends a status that keeps the number from sending: then it knows that the number has come back.
        status = CASE WHEN status IN ('CONNECTED', 'FLAGGED', 'WARNED', 'UNKNOWN') THEN coalesce(%(status)s, status)
                      ELSE status END,
        throughput = coalesce(%(throughput)s, throughput), updated_at = now()
    WHERE waba_id = %(waba_id)s AND regexp_replace(display_phone_number, '\\D', '', 'g') = %(digits)s
"""

_TIER = """
    UPDATE phone_numbers SET tier = %(tier)s, updated_at = now()
    WHERE coalesce(portfolio_id, waba_id) IN (SELECT coalesce(portfolio_id, waba_id) FROM phone_numbers
                                              WHERE waba_id = %(waba_id)s)
"""


def hear(transaction: Connection, of_templates: Sequence[TemplateEvent], of_accounts: Sequence[AccountEvent]) -> None:
    """Carry out what news about templates, accounts and numbers ask for.

    Everybody who writes these locks in one order, so that two batches never deadlock: what is to be asked about
    templates, templates; numbers by id, what is to be asked about numbers.
    """
    changed = {event.waba_id for event in of_accounts if concerns_templates(event)}
    meta_syncs.want_templates(transaction, sorted(changed | {event.waba_id for event in of_templates}))
    for event in sorted(of_templates, key=lambda one: one.meta_template_id):
        _hear_of_template(transaction, event)
    if of_accounts:
        others = sorted({event.waba_id for event in of_accounts if not concerns_templates(event)})
        transaction.execute(_LOCK_NUMBERS, {"waba_ids": others})
        for account_event in sorted(of_accounts, key=lambda one: (one.at is not None, one.at)):
            _hear_of_account(transaction, account_event)
        meta_syncs.want_numbers(transaction, others)


def _hear_of_template(transaction: Connection, event: TemplateEvent) -> None:
    """Keep it for people; stop the template at once, or let the list be believed."""
    parameters: dict[str, Any] = {
        "status": event.event,
        "meta_id": event.meta_template_id,
        "waba_id": event.waba_id,
        "name": event.name,
        "language": event.language,
    }
    transaction.execute(_KEEP, ["message_template_status_update", event.waba_id, Jsonb(event.value)])
    transaction.execute(_STOP_TEMPLATE if event.event in _STOPPED else _BELIEVE_TEMPLATE, parameters)


def _hear_of_account(transaction: Connection, event: AccountEvent) -> None:
    """Keep it for people, and let follow what follows for the numbers."""
    transaction.execute(_KEEP, [event.field, event.waba_id, Jsonb(event.value)])
    for effect in effects(event):
        parameters: dict[str, Any] = {"waba_id": event.waba_id, "at": event.at}
        match effect:
            case BlockAccount(reason, until):
                blocked = transaction.execute(_BLOCK_ACCOUNT, {**parameters, "reason": reason, "until": until})
                if blocked.rowcount:
                    sentence = reason.removesuffix(f". {FIX}")
                    alarms.raise_alarm(transaction, Alarm("account_blocked", "account", event.waba_id, sentence, FIX))
            case ProbeAccount():
                transaction.execute(_LET_POLL_DECIDE, parameters)
            case NumberNews(digits, tier, status, throughput):
                news = {"digits": digits, "tier": tier, "status": status, "throughput": throughput}
                transaction.execute(_NUMBER, {**parameters, **news})
            case AccountTier(tier):
                transaction.execute(_TIER, {**parameters, "tier": tier})
            case Tell(kind, target, sentence):
                scope = "account" if target is None else kind.partition("_")[0]
                alarms.raise_alarm(transaction, Alarm(kind, scope, target or event.waba_id, sentence, _LOOK))
