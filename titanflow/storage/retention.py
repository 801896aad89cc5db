"""What is kept how long: campaigns are closed first, and only what belongs to a closed one is ever deleted.

A closed campaign can't run, be retried or resolved: a constraint of the table says so. Contact, message, attempts and
reply go in one statement, so that nobody is ever left without a message and looks as if he still waited; counters and
roll-ups stay as they are. Each batch is a commit of its own that keeps how far it came: a kill loses nothing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, LiteralString

from psycopg.rows import class_row

from titanflow.storage.counters import closing
from titanflow.storage.database import Connection, Database


@dataclass(frozen=True, slots=True)
class Retention:
    """Days. log_days: of a campaign's contacts and messages after its end. conversation_days None: for good."""

    log_days: int
    conversation_days: int | None
    media_days: int


_READ = "SELECT log_days, conversation_days, media_days FROM retention_settings"
_CHANGE = """
    UPDATE retention_settings
    SET log_days = %(log_days)s, conversation_days = %(conversation_days)s, media_days = %(media_days)s
"""


def read(db: Database) -> Retention:
    """Return what is chosen."""
    with db.connection() as connection, connection.cursor(row_factory=class_row(Retention)) as cursor:
        found = cursor.execute(_READ).fetchone()
    assert found is not None
    return found


def change(db: Database, values: Mapping[str, Any]) -> Retention:
    """Change some of it, by name; what was deleted before stays deleted. Returns all."""
    with db.transaction() as transaction, transaction.cursor(row_factory=class_row(Retention)) as cursor:
        before = cursor.execute(_READ + " FOR UPDATE").fetchone()
        assert before is not None
        after = Retention(**{**asdict(before), **values})
        transaction.execute(_CHANGE, asdict(after))
    return after


# A list that may still ask who was written to lately needs the messages that long, and so does whoever answers one.
_IS_OVER = """
    campaign.state IN ('completed', 'cancelled', 'failed') AND campaign.closed_at IS NULL
    AND greatest(campaign.completed_at, campaign.updated_at) < now() - kept.long
    AND NOT EXISTS (SELECT FROM message_logs AS message
                    WHERE message.campaign_id = campaign.id AND message.due_at IS NOT NULL
                      AND (message.state <> 'in_doubt' OR message.due_at > now() - kept.long))"""
_KEPT = """
    kept AS (
        SELECT make_interval(days => greatest(
            setting.log_days,
            (SELECT max(dedupe_days) FROM campaigns WHERE closed_at IS NULL),
            (SELECT ceil(reply_window_hours / 24.0)::integer FROM inbox_settings))) AS long
        FROM retention_settings AS setting
    )"""
_OVER = f"""
    WITH {_KEPT} SELECT campaign.id FROM campaigns AS campaign CROSS JOIN kept WHERE {_IS_OVER}
    ORDER BY campaign.id LIMIT %(limit)s
"""  # noqa: S608  (constants only)
_CLOSE = f"""
    WITH {_KEPT} UPDATE campaigns AS campaign SET closed_at = now() FROM kept
    WHERE campaign.id = %(id)s AND {_IS_OVER}
"""  # noqa: S608  (constants only)


def close(db: Database, *, limit: int = 100) -> int:
    """Close campaigns that ended long ago, and in which nothing is on its way or in doubt since less. Returns how many.

    Decided again under the lock of the campaign's row: whoever retries it at this moment comes first, or too late.
    """
    with db.connection() as connection:
        ids = [int(row[0]) for row in connection.execute(_OVER, {"limit": limit}).fetchall()]
    return sum(_close(db, _CLOSE, campaign_id) for campaign_id in ids)


def _close(db: Database, statement: LiteralString, campaign_id: int) -> int:
    with db.transaction() as transaction:
        closing(transaction, campaign_id)
        return transaction.execute(statement, {"id": campaign_id}).rowcount


# Contacts by the two indexes that know those of one campaign in order; a walk by id never meets what it has deleted.
_PIECE = """
    WITH piece AS MATERIALIZED (
        SELECT id FROM (
            (SELECT id FROM contacts
             WHERE campaign_id = %(id)s AND excluded_reason IS NULL AND id > %(after)s ORDER BY id LIMIT %(limit)s)
            UNION ALL
            (SELECT id FROM contacts
             WHERE campaign_id = %(id)s AND excluded_reason IS NOT NULL AND id > %(after)s ORDER BY id LIMIT %(limit)s)
        ) AS either ORDER BY id LIMIT %(limit)s
    ), message AS MATERIALIZED (
        SELECT id FROM message_logs
        WHERE campaign_id = %(id)s AND contact_id IN (SELECT id FROM piece)
        ORDER BY id FOR UPDATE
    ), attempts AS (
        DELETE FROM message_attempts WHERE log_id IN (SELECT id FROM message)
    ), answered AS (
        DELETE FROM replies WHERE campaign_id = %(id)s AND log_id IN (SELECT id FROM message)
    ), messages AS (
        DELETE FROM message_logs WHERE id IN (SELECT id FROM message)
    ), people AS (
        DELETE FROM contacts WHERE id IN (SELECT id FROM piece)
    )
    UPDATE campaigns SET purged_to = (SELECT max(id) FROM piece)
    WHERE id = %(id)s AND EXISTS (SELECT FROM piece)
    RETURNING (SELECT count(*) FROM piece)
"""

# What is left of it afterwards, piece by piece; messages without a contact are nobody's, and there are none.
_REST = (
    "WITH message AS MATERIALIZED (SELECT id FROM message_logs WHERE campaign_id = %(id)s LIMIT %(limit)s),"
    " attempts AS (DELETE FROM message_attempts WHERE log_id IN (SELECT id FROM message))"
    " DELETE FROM message_logs WHERE id IN (SELECT id FROM message)",
    "DELETE FROM replies WHERE (campaign_id, log_id) IN"
    " (SELECT campaign_id, log_id FROM replies WHERE campaign_id = %(id)s LIMIT %(limit)s)",
    "DELETE FROM import_rejects WHERE (import_id, line) IN"
    " (SELECT import_id, line FROM import_rejects JOIN imports ON imports.id = import_id"
    " WHERE campaign_id = %(id)s LIMIT %(limit)s)",
)
_EMPTIED = (
    "UPDATE imports SET first_errors = '[]' WHERE campaign_id = %(id)s AND first_errors <> '[]'",
    "DELETE FROM rehearsals WHERE campaign_id = %(id)s",
    "UPDATE campaigns SET purged_at = now() WHERE id = %(id)s",
)

_NEXT = """
    SELECT id, purged_to, state_by = 'deletion' FROM campaigns
    WHERE closed_at IS NOT NULL AND purged_at IS NULL AND (%(id)s::integer IS NULL OR id = %(id)s)
    ORDER BY id LIMIT 1 FOR NO KEY UPDATE
"""
_NEXT_FREE = _NEXT + " SKIP LOCKED"


def purge(db: Database, campaign_id: int | None = None, *, limit: int = 5_000) -> int:
    """Delete at most `limit` contacts of a closed campaign, with all that is known of them, or what is left after that.

    campaign_id None: of the first one that nobody else works on. Returns how many, 0 if there is nothing to do.
    A campaign that was deleted by somebody goes altogether; of any other, counters and roll-ups are what remains.
    """
    with db.transaction() as transaction:
        statement = _NEXT_FREE if campaign_id is None else _NEXT
        found = transaction.execute(statement, {"id": campaign_id}).fetchone()
        if found is None:
            return 0
        closed_id, after, is_deletion = found
        parameters = {"id": closed_id, "after": after, "limit": limit}
        piece = transaction.execute(_PIECE, parameters).fetchone()
        if piece is not None:
            return int(piece[0])
        if rest := sum(transaction.execute(one, parameters).rowcount for one in _REST):
            return rest
        if is_deletion:
            _remove(transaction, closed_id)
        else:
            for last in _EMPTIED:
                transaction.execute(last, parameters)
    return 1


# Roll-ups stay: last month's figures must not change because somebody tidied up.
_REMOVE = (
    "UPDATE inbox_messages SET campaign_id = NULL, message_log_id = NULL WHERE campaign_id = %(id)s",
    "DELETE FROM alarms WHERE scope = 'campaign' AND target = %(id)s::text",
    "DELETE FROM leases WHERE kind = 'campaign' AND resource_id = %(id)s",
    "DELETE FROM campaign_counters WHERE campaign_id = %(id)s",
    "DELETE FROM campaign_reasons WHERE campaign_id = %(id)s",
    "DELETE FROM media AS file WHERE to_jsonb(id) = (SELECT media->'media_id' FROM campaigns WHERE id = %(id)s)"
    " AND NOT EXISTS (SELECT FROM campaigns AS other"
    " WHERE other.id <> %(id)s AND other.media->'media_id' = to_jsonb(file.id))"
    " AND NOT EXISTS (SELECT FROM inbox_messages AS reply WHERE reply.media_id = file.id)",
    "DELETE FROM campaigns WHERE id = %(id)s",
)


def _remove(transaction: Connection, campaign_id: int) -> None:
    transaction.execute("SET LOCAL statement_timeout = '120s'")  # the inbox has no index by campaign: it is read once
    for statement in _REMOVE:
        transaction.execute(statement, {"id": campaign_id})


_DELETE = """
    UPDATE campaigns
    SET state = 'cancelled', state_by = 'deletion', state_reason = 'It is being deleted', updated_at = now(),
        closed_at = coalesce(closed_at, now()), purged_at = NULL, window_turns_at = NULL
    WHERE id = %(id)s AND state IN ('draft', 'ready', 'completed', 'cancelled', 'failed')
"""


def delete(db: Database, campaign_id: int) -> bool:
    """Delete a campaign that can't send any more, with all that belongs to it, in batches. Returns if it may be.

    What a crash leaves of it goes with the Janitor's next round.
    """
    if not _close(db, _DELETE, campaign_id):
        return False
    while purge(db, campaign_id):
        pass
    return True


# With its messages, their files, and what was answered by itself. A reply that still waits keeps it.
_CONVERSATIONS = """
    DELETE FROM conversations WHERE id IN (
        SELECT conversation.id FROM conversations AS conversation JOIN retention_settings AS setting
            ON conversation.last_message_at < now() - make_interval(days => setting.conversation_days)
        WHERE NOT EXISTS (SELECT FROM inbox_messages AS reply WHERE reply.number_id = conversation.number_id
                          AND reply.conversation_id = conversation.id AND reply.state IN ('queued', 'claimed'))
        ORDER BY conversation.last_message_at LIMIT %(limit)s FOR UPDATE OF conversation SKIP LOCKED)
"""


def forget_conversations(db: Database, *, limit: int) -> int:
    """Delete conversations in which nobody has written for long, at most `limit`. Returns how many."""
    with db.connection() as connection:
        return connection.execute(_CONVERSATIONS, {"limit": limit}).rowcount
