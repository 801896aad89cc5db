"""What webhooks bring, written in one commit: statuses, inbound messages, preferences, news about templates.

An update that PostgreSQL refuses costs itself alone: the batch is written again one update at a time, and the
refused ones go to webhook_quarantine.
"""

from collections.abc import Sequence
from dataclasses import replace

import psycopg
import structlog
from psycopg.types.json import Jsonb

from titanflow.domain.webhooks import InboundMessage, Quarantined, StatusUpdate, WebhookBatch, homeless
from titanflow.storage import account_news, consent, conversation_rules, identities, inbox, outbox, statuses
from titanflow.storage.database import Connection, Database
from titanflow.storage.outbox import ReplyStatus
from titanflow.storage.statuses import Reported, StatusRow

log = structlog.get_logger()

_WITHIN_S = 3.0  # Meta waits for the answer, but a busy machine is no outage


def store(db: Database, batch: WebhookBatch, *, node_id: int) -> list[Reported]:
    """Write a batch. Returns what statuses changed. Repeating it changes nothing but the quarantine.

    One commit; more if it has messages or preferences. Those go first and apart: messages and statuses lock rows of
    stats_hourly in order, messages and preferences rows of suppressions, and one transaction that did two of them could
    wait in a circle with another one, as when a person writes STOP and turns Meta's switch.
    Raises StorageUnavailable: whether it was written is unknown, and Meta will deliver it again.
    """
    for apart in (WebhookBatch(preferences=batch.preferences), WebhookBatch(messages=batch.messages)):
        if len(apart):
            _store(db, apart, node_id)
    batch = replace(batch, messages=(), preferences=())
    if not len(batch):
        return []
    return _store(db, batch, node_id)


def _store(db: Database, batch: WebhookBatch, node_id: int) -> list[Reported]:
    try:
        with db.transaction(within_s=_WITHIN_S) as transaction:
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
    rows = [_row(status) for status in batch.statuses if status.reply_id is None]
    if rows:
        reported = statuses.apply(transaction, rows, node_id=node_id)
    if len(rows) < len(batch.statuses):
        outbox.report(transaction, _of_replies(batch.statuses))
    if batch.messages:
        received = inbox.receive(transaction, identities.of_messages(transaction, batch.messages))
        if len(received) < len(batch.messages):
            _keep_homeless(transaction, batch.messages)
        conversation_rules.follow(transaction, received)
    preferences = identities.of_preferences(transaction, batch.preferences) if batch.preferences else ()
    for preference in sorted(preferences, key=lambda one: (one.phone, one.at)):
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
        status.pricing,
    )


def _of_replies(all_statuses: Sequence[StatusUpdate]) -> list[ReplyStatus]:
    return [
        ReplyStatus(one.reply_id, one.attempt, one.wamid, one.status, one.at, one.error_code, one.error_detail)
        for one in all_statuses
        if one.reply_id is not None
    ]


def _keep_homeless(transaction: Connection, messages: Sequence[InboundMessage]) -> None:
    """Keep aside what was written to numbers that aren't registered here: one may be tomorrow."""
    rows = transaction.execute(
        "SELECT phone_number_id FROM phone_numbers WHERE phone_number_id = ANY(%s)",
        [list({one.phone_number_id for one in messages})],
    ).fetchall()
    ours = {row[0] for row in rows}
    _quarantine(transaction, [homeless(one) for one in messages if one.phone_number_id not in ours])


def _quarantine(transaction: Connection, quarantined: Sequence[Quarantined]) -> None:
    with transaction.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO webhook_quarantine (field, reason, body) VALUES (%s, %s, %s)",
            [(one.field, one.reason, Jsonb(one.body)) for one in quarantined],
        )
