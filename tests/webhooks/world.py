"""The small world that recorded webhooks speak of, and what is different in it afterwards.

Two accounts with a number each, three templates, a paused campaign that nothing is sent from. `given` of a case adds
to it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg import sql

from titanflow.errors import StorageUnavailable
from titanflow.storage.counters import heal
from titanflow.storage.database import Connection, Database

Given = Mapping[str, Any]

_TABLES = (
    "campaigns", "contacts", "message_logs", "message_attempts", "campaign_counters", "campaign_reasons",
    "stats_hourly", "stats_failures", "stats_pricing", "replies", "reply_times",
    "suppressions", "webhook_quarantine", "parked_statuses", "conversations",
    "inbox_messages", "audit_log", "alarms", "user_ids", "meta_syncs", "templates", "phone_numbers",
)  # fmt: skip

_WORLD = """
    INSERT INTO phone_numbers (phone_number_id, waba_id, display_phone_number, name, access_token) VALUES
        ('106540352242922', '102290129340398', '+1 555-078-3881', 'Lucky Shrub', %(token)s),
        ('106540352242999', '102290129340999', '+1 555-078-3999', 'Second Shop', %(token)s);
"""

_TEMPLATES = """
    INSERT INTO templates (waba_id, meta_template_id, name, language, status, category) VALUES
        ('102290129340398', '1689556908129832', 'black_friday_2026', 'pt_BR', 'APPROVED', 'MARKETING'),
        ('102290129340398', '806312974732579', 'welcome', 'en_US', 'APPROVED', 'UTILITY'),
        ('102290129340398', '12345678', 't1', 'he', 'PAUSED', 'UTILITY')
"""


def reset(db: Database, given: Given, *, token: bytes) -> None:
    """Make the world anew, with the messages, suppressions and user ids that a case speaks of."""
    for attempt in range(5):
        try:
            heal(db, _reset(db, given, token))  # counters and roll-ups of the messages that were put there
        except StorageUnavailable:  # a deadlock with an actor of the running server
            if attempt == 4:
                raise
        else:
            return


def _reset(db: Database, given: Given, token: bytes) -> int:
    with db.transaction() as transaction:
        for table in _TABLES:
            transaction.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
        transaction.execute(_WORLD, {"token": token})
        transaction.execute(_TEMPLATES)
        campaign_id = _one(
            transaction,
            "INSERT INTO campaigns (name, state) VALUES ('Black Friday', 'paused') RETURNING id", {},
        )  # fmt: skip
        number_id = _one(transaction, "SELECT min(id) FROM phone_numbers", {})
        template_id = _one(transaction, "SELECT min(id) FROM templates", {})
        transaction.execute("INSERT INTO campaign_numbers VALUES (%s, %s)", [campaign_id, number_id])
        for message in _messages(given):
            named = {"campaign_id": campaign_id, "number_id": number_id, "template_id": template_id, **message}
            _add(transaction, named)
        for phone, (reason, source) in given.get("suppressions", {}).items():
            transaction.execute(
                "INSERT INTO suppressions (phone, reason, source, created_at) VALUES (%s, %s, %s, '2025-06-01')",
                [phone, reason, source],
            )
        for user_id, phone in given.get("user_ids", {}).items():
            transaction.execute("INSERT INTO user_ids VALUES (%s, %s, '2025-01-01')", [user_id, phone])
    return campaign_id


def _messages(given: Given) -> list[dict[str, Any]]:
    messages = [dict(one) for one in given.get("messages", [])]
    if many := given.get("many_messages"):
        first, first_phone = many["first_log_id"], many["first_phone"]
        messages += [
            {"log_id": first + n, "phone": f"+{first_phone + n}", "wamid": f"wamid.{first + n}", "state": "sent"}
            for n in range(many["count"])
        ]
    return messages


def _add(transaction: Connection, message: dict[str, Any]) -> None:
    row: dict[str, Any] = {
        "attempt": 1, "wamid": None, "error_code": None, "sent_at": None, "delivered_at": None, "read_at": None,
        "failed_at": None, **message,
    }  # fmt: skip
    row["contact_id"] = _one(
        transaction,
        "INSERT INTO contacts (campaign_id, phone) VALUES (%(campaign_id)s, %(phone)s) RETURNING id",
        row,
    )
    if row["state"] != "claimed" and row["state"] != "in_doubt" and row["sent_at"] is None:
        row["sent_at"] = "2025-06-01T12:00:00Z"
    transaction.execute(
        "INSERT INTO message_logs (id, contact_id, incarnation, campaign_id, number_id, template_id, state, attempt,"
        " wamid, error_code, claimed_at, sent_at, delivered_at, read_at, failed_at) OVERRIDING SYSTEM VALUE VALUES"
        " (%(log_id)s, %(contact_id)s, 1, %(campaign_id)s, %(number_id)s, %(template_id)s, %(state)s, %(attempt)s,"
        " %(wamid)s, %(error_code)s, '2025-06-01T12:00:00Z', %(sent_at)s, %(delivered_at)s, %(read_at)s,"
        " %(failed_at)s)",
        row,
    )
    for n in range(1, row["attempt"]):
        transaction.execute(
            "INSERT INTO message_attempts (log_id, attempt, number_id, template_id, state, claimed_at)"
            " VALUES (%s, %s, %s, %s, 'in_doubt', '2025-06-01T11:00:00Z')",
            [row["log_id"], n, row["number_id"], row["template_id"]],
        )


# What a case may change. The first column names the row, the others are what is to be seen of it.
_VIEWS = {
    "messages": "SELECT id, state::text AS state, wamid, sent_at, delivered_at, read_at, failed_at, error_code,"
    " error_detail, pricing FROM message_logs",
    "earlier_attempts": "SELECT log_id || ':' || attempt, state::text AS state, wamid FROM message_attempts",
    "counts": "SELECT 'all', sum(claimed)::int AS claimed, sum(in_doubt)::int AS in_doubt, sum(sent)::int AS sent,"
    " sum(failed)::int AS failed, sum(delivered)::int AS delivered, sum(read)::int AS read FROM campaign_counters",
    "failures": "SELECT code, sum(count)::int AS count FROM stats_failures GROUP BY 1",
    "reasons": "SELECT reason, sum(count)::int AS count FROM campaign_reasons GROUP BY 1",
    "rolled_up": "SELECT 'all', sum(sent)::int AS sent, sum(delivered)::int AS delivered, sum(read)::int AS read,"
    " sum(failed)::int AS failed, sum(replied)::int AS replied FROM stats_hourly",
    "priced": "SELECT pricing, sum(count)::int AS count FROM stats_pricing GROUP BY 1",
    "inbox": "SELECT message.wamid, conversation.phone, message.type, message.at, conversation.profile_name AS name,"
    " number.phone_number_id AS number, message.content -> message.type AS content FROM inbox_messages AS message"
    " JOIN conversations AS conversation ON conversation.id = message.conversation_id"
    " JOIN phone_numbers AS number ON number.id = conversation.number_id",
    "unread": "SELECT phone, unread FROM conversations",
    "user_ids": "SELECT user_id, phone FROM user_ids",
    "suppressions": "SELECT phone, reason, source, expires_at IS NOT NULL AS ends FROM suppressions",
    "templates": "SELECT name, status FROM templates",
    "numbers": "SELECT phone_number_id, tier, status, throughput, meta_block, meta_block_kind,"
    " CASE WHEN meta_block_until < now() - interval '1 hour' OR meta_block_until > now() THEN meta_block_until END"
    " AS meta_block_until, meta_event_at FROM phone_numbers",
    "alarms": "SELECT kind, target, sentence FROM alarms",
    # What is kept each time it comes: looked at after the first time only.
    "parked": "SELECT wamid || ' ' || status, pricing, error_code FROM parked_statuses",
    "quarantined": "SELECT coalesce(field, '') || ' ' || reason, count(*)::int AS count FROM webhook_quarantine"
    " GROUP BY 1",
    "kept_for_people": "SELECT what || ' ' || target, count(*)::int AS count FROM audit_log WHERE who = 'meta'"
    " GROUP BY 1",
}
KEPT_EACH_TIME = ("parked", "quarantined", "kept_for_people")

View = dict[str, dict[str, dict[str, Any]]]


def look(db: Database) -> View:
    """Return all that a webhook may change."""
    found: View = {}
    with db.connection() as connection:
        for name, query in _VIEWS.items():
            cursor = connection.execute(query)
            columns = [column.name for column in cursor.description or ()]
            found[name] = {
                str(row[0]): {
                    column: _shown(value)
                    for column, value in zip(columns[1:], row[1:], strict=True)
                    if value is not None
                }
                for row in cursor.fetchall()
            }
    return found


def changed(before: View, after: View) -> dict[str, Any]:
    """Return what is different: for each row what it shows now, only the columns that changed; null: it is gone."""
    difference: dict[str, Any] = {}
    for name, rows in after.items():
        known = before[name]
        of_name: dict[str, Any] = {key: None for key in known if key not in rows}
        for key, row in rows.items():
            old = known.get(key, {})
            columns = {column: row.get(column) for column in (*old, *row) if row.get(column) != old.get(column)}
            if columns or key not in known:
                of_name[key] = columns
        if of_name:
            difference[name] = of_name
    return difference


def _shown(value: Any) -> Any:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value


def _one(transaction: Connection, statement: Any, parameters: Mapping[str, Any]) -> int:
    row = transaction.execute(statement, parameters).fetchone()
    assert row is not None
    return int(row[0])
