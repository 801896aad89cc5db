"""What webhooks bring, written in one commit: statuses, inbound messages, preferences, news about templates.

An update that PostgreSQL refuses costs itself alone: the batch is written again one update at a time, and the
refused ones go to webhook_quarantine.
"""

from collections.abc import Iterable, Sequence

import orjson
import psycopg
import structlog
from psycopg.types.json import Jsonb

from titanflow.domain.webhooks import (
    AccountEvent,
    InboundMessage,
    Preference,
    Quarantined,
    StatusUpdate,
    TemplateEvent,
    WebhookBatch,
)
from titanflow.storage import statuses
from titanflow.storage.database import Connection, Database
from titanflow.storage.statuses import Reported, StatusRow

log = structlog.get_logger()

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
}
_BACK = {"APPROVED", "REINSTATED", "UNARCHIVED"}


def store(db: Database, batch: WebhookBatch, *, node_id: int) -> list[Reported]:
    """Write a batch in one commit. Returns what statuses changed. Repeating it changes nothing but the quarantine.

    Raises StorageUnavailable: whether it was written is unknown, and Meta will deliver it again.
    """
    try:
        with db.transaction() as transaction:
            return _write(transaction, batch, node_id)
    except psycopg.DataError as error:
        log.error("webhook.refused_by_database", why=str(error).splitlines()[0])
    return _one_by_one(db, batch, node_id)


def _one_by_one(db: Database, batch: WebhookBatch, node_id: int) -> list[Reported]:
    reported: list[Reported] = []
    for single in batch.singles():
        try:
            with db.transaction() as transaction:
                reported += _write(transaction, single, node_id)
        except psycopg.DataError as error:
            with db.transaction() as transaction:
                reason = f"refused by the database: {str(error).splitlines()[0]}"
                _quarantine(transaction, [Quarantined(None, reason, {"update": repr(single)[:20_000]})])
    return reported


def _write(transaction: Connection, batch: WebhookBatch, node_id: int) -> list[Reported]:
    reported: list[Reported] = []
    if batch.statuses:
        reported = statuses.apply(transaction, [_row(status) for status in batch.statuses], node_id=node_id)
    if batch.messages:
        _inbox(transaction, batch.messages)
    for preference in sorted(batch.preferences, key=lambda one: (one.phone, one.at)):
        _prefer(transaction, preference)
    for event in batch.template_events:
        _template(transaction, event)
    if batch.account_events:
        _account(transaction, batch.account_events)
    if batch.quarantined:
        _quarantine(transaction, batch.quarantined)
    return reported


def _row(status: StatusUpdate) -> StatusRow:
    return StatusRow(
        status.wamid,
        status.status,
        status.at,
        status.log_id,
        status.attempt,
        status.error_code,
        status.error_detail,
    )


_INBOX = """
    WITH message AS (
        SELECT * FROM unnest(%(numbers)s::text[], %(wamids)s::text[], %(senders)s::text[], %(names)s::text[],
                             %(types)s::text[], %(contents)s::jsonb[], %(ats)s::timestamptz[])
            AS message (phone_number_id, wamid, sender, profile_name, type, content, at)
    ), fresh AS (
        SELECT DISTINCT ON (message.wamid) message.*, number.id AS number_id
        FROM message JOIN phone_numbers AS number USING (phone_number_id)
        WHERE NOT EXISTS (SELECT FROM inbox_messages AS known WHERE known.wamid = message.wamid)
    ), conversation AS (
        INSERT INTO conversations AS known
            (number_id, phone, profile_name, last_message_at, last_inbound_at, unread)
        SELECT number_id, sender, max(profile_name), max(at), max(at), count(*) FROM fresh
        GROUP BY number_id, sender ORDER BY sender, number_id
        ON CONFLICT (phone, number_id) DO UPDATE
        SET profile_name = coalesce(EXCLUDED.profile_name, known.profile_name),
            last_message_at = greatest(known.last_message_at, EXCLUDED.last_message_at),
            last_inbound_at = greatest(known.last_inbound_at, EXCLUDED.last_inbound_at),
            unread = known.unread + EXCLUDED.unread
        RETURNING id, phone, number_id
    )
    INSERT INTO inbox_messages (conversation_id, direction, wamid, type, content, at)
    SELECT conversation.id, 'inbound', fresh.wamid, fresh.type, fresh.content, fresh.at
    FROM fresh JOIN conversation ON conversation.phone = fresh.sender AND conversation.number_id = fresh.number_id
    ON CONFLICT (wamid) DO NOTHING
"""


def _inbox(transaction: Connection, messages: Sequence[InboundMessage]) -> None:
    transaction.execute(
        _INBOX,
        {
            "numbers": [one.phone_number_id for one in messages],
            "wamids": [one.wamid for one in messages],
            "senders": [one.sender for one in messages],
            "names": [one.profile_name for one in messages],
            "types": [one.type for one in messages],
            "contents": [orjson.dumps(one.content).decode() for one in messages],
            "ats": [one.at for one in messages],
        },
    )


def _prefer(transaction: Connection, preference: Preference) -> None:
    if preference.value == "stop":
        transaction.execute(
            "INSERT INTO suppressions (phone, reason, source, created_at)"
            " VALUES (%s, 'opted_out', 'user_preferences', %s) ON CONFLICT (phone) DO NOTHING",
            [preference.phone, preference.at],
        )
    else:  # lifts only what Meta's own switch or its refusal has set, never another opt-out
        transaction.execute(
            "DELETE FROM suppressions WHERE phone = %s AND source IN ('user_preferences', '131050')"
            " AND created_at <= %s",
            [preference.phone, preference.at],
        )


def _template(transaction: Connection, event: TemplateEvent) -> None:
    """Stop a template at once; let it go again only on Meta's word that it is approved."""
    if event.event not in _STOPPED | _BACK:
        return
    transaction.execute(
        "UPDATE templates SET status = %(status)s, updated_at = now()"
        " WHERE meta_template_id = %(meta_id)s OR (meta_template_id IS NULL AND name = %(name)s"
        " AND replace(language, '-', '_') = replace(%(language)s, '-', '_'))",
        {
            "status": "APPROVED" if event.event in _BACK else event.event,
            "meta_id": event.meta_template_id,
            "name": event.name,
            "language": event.language,
        },
    )


def _account(transaction: Connection, events: Iterable[AccountEvent]) -> None:
    """Keep news about accounts and numbers for people to see."""
    for event in events:
        transaction.execute(
            "INSERT INTO audit_log (who, what, target, detail) VALUES ('meta', %s, %s, %s)",
            [event.field, event.waba_id, Jsonb(event.value)],
        )


def _quarantine(transaction: Connection, quarantined: Sequence[Quarantined]) -> None:
    with transaction.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO webhook_quarantine (field, reason, body) VALUES (%s, %s, %s)",
            [(one.field, one.reason, Jsonb(one.body)) for one in quarantined],
        )
