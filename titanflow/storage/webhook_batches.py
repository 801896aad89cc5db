"""What webhooks bring, written in one commit: statuses, inbound messages, preferences, news about templates.

An update that PostgreSQL refuses costs itself alone: the batch is written again one update at a time, and the
refused ones go to webhook_quarantine.
"""

from collections.abc import Sequence
from dataclasses import replace

import orjson
import psycopg
import structlog
from psycopg.types.json import Jsonb

from titanflow.domain.webhooks import InboundMessage, Quarantined, StatusUpdate, WebhookBatch
from titanflow.storage import account_news, consent, conversation_rules, statuses
from titanflow.storage.database import Connection, Database
from titanflow.storage.statuses import Reported, StatusRow

log = structlog.get_logger()


def store(db: Database, batch: WebhookBatch, *, node_id: int) -> list[Reported]:
    """Write a batch. Returns what statuses changed. Repeating it changes nothing but the quarantine.

    One commit; two if it has messages. Those go first and apart, since both they and statuses lock rows of stats_hourly
    in order, and one transaction that does it twice could wait in a circle with another one.
    Raises StorageUnavailable: whether it was written is unknown, and Meta will deliver it again.
    """
    if batch.messages and len(batch) > len(batch.messages):
        _store(db, WebhookBatch(messages=batch.messages), node_id)
        batch = replace(batch, messages=())
    return _store(db, batch, node_id)


def _store(db: Database, batch: WebhookBatch, node_id: int) -> list[Reported]:
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
        conversation_rules.follow(transaction, _inbox(transaction, batch.messages))
    for preference in sorted(batch.preferences, key=lambda one: (one.phone, one.at)):
        consent.prefer(transaction, preference)
    if batch.template_events or batch.account_events:
        account_news.hear(transaction, batch.template_events, batch.account_events)
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
    RETURNING wamid
"""


def _inbox(transaction: Connection, messages: Sequence[InboundMessage]) -> list[InboundMessage]:
    """Put messages into the inbox. Returns those that are new: what comes again must not count again."""
    rows = transaction.execute(
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
    ).fetchall()
    new = {row[0] for row in rows}
    return [one for one in messages if one.wamid in new]


def _quarantine(transaction: Connection, quarantined: Sequence[Quarantined]) -> None:
    with transaction.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO webhook_quarantine (field, reason, body) VALUES (%s, %s, %s)",
            [(one.field, one.reason, Jsonb(one.body)) for one in quarantined],
        )
