"""Replies on their way: rows of inbox_messages that wait, are claimed, and settled. The promises are the campaigns'.

queued -> claimed -> sent -> delivered -> read; claimed -> queued (surely refused for now), in_doubt, failed, or
excluded. The claim commits before a byte leaves, holds the number's lease, and asks once more whether the person may be
written to. What Meta reports comes by the echo `r:<id>:<attempt>`. A conversation's replies leave one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from psycopg.rows import class_row

from titanflow.domain.phones import same_person
from titanflow.storage.claims import IN_DOUBT_AFTER_S, Sender
from titanflow.storage.database import Connection, Database
from titanflow.storage.portfolios import WINDOW
from titanflow.storage.settlements import Settlement

# Meta's code for free-form messages outside of the service window, and what we say ourselves.
WINDOW_CLOSED = 131047
WINDOW_CLOSED_SENTENCE = "The service window closed before it could leave; nothing was sent"

NO_PLACE_SENTENCE = "The portfolio's messaging limit is reached; it goes as soon as there is a place"


@dataclass(frozen=True, slots=True)
class NewReply:
    """A message to be sent in a conversation.

    content: Meta's object with its `type`, without recipient and echo: {"type": "text", "text": {"body": ...}}. Where
    it names a file of ours, {"id": MEDIA_HERE} stands for Meta's id. template_id: None for free-form messages, which
    leave only within an open service window. source: who wrote it, for people.
    """

    conversation_id: int
    content: dict[str, Any]
    source: str
    template_id: int | None = None
    media_id: int | None = None


MEDIA_HERE = "@media"

_ENQUEUE = """
    WITH reply AS (
        SELECT * FROM unnest(%(conversation_ids)s::bigint[], %(contents)s::jsonb[], %(template_ids)s::integer[],
                             %(media_ids)s::integer[], %(sources)s::text[]) WITH ORDINALITY
            AS reply (conversation_id, content, template_id, media_id, source, n)
    ), conversation AS (
        UPDATE conversations SET last_message_at = greatest(last_message_at, now()), archived_at = NULL
        WHERE id IN (SELECT conversation_id FROM reply)
        RETURNING id, number_id
    )
    INSERT INTO inbox_messages
        (conversation_id, direction, number_id, type, content, template_id, media_id, source, at, state, due_at)
    SELECT conversation.id, 'outbound', number_id, content->>'type', content, template_id, media_id, source, now(),
           'queued', now()
    FROM reply JOIN conversation ON conversation.id = reply.conversation_id
    ORDER BY n
    RETURNING id
"""


def enqueue(transaction: Connection, replies: Sequence[NewReply]) -> list[int]:
    """Put replies into the outbox, inside the caller's transaction. Returns their ids, in order.

    Nothing here asks whether they may be sent: the claim does. After the commit say `reply_sender.nudge`; without it
    they leave within a second. A caller that locks conversations itself must hold all of these already, or none.
    """
    if not replies:
        return []
    rows = transaction.execute(
        _ENQUEUE,
        {
            "conversation_ids": [one.conversation_id for one in replies],
            "contents": [orjson.dumps(one.content).decode() for one in replies],
            "template_ids": [one.template_id for one in replies],
            "media_ids": [one.media_id for one in replies],
            "sources": [one.source for one in replies],
        },
    ).fetchall()
    return [int(row[0]) for row in rows]


@dataclass(frozen=True, slots=True)
class ReplyClaim:
    """A reply that the claimer must send now. to: E.164 with the plus, or a business-scoped user id.

    meta_media_id: what takes the place of MEDIA_HERE in content, for replies with a file.
    """

    id: int
    attempt: int
    to: str
    content: dict[str, Any]
    template_id: int | None
    meta_media_id: str | None


@dataclass(frozen=True, slots=True)
class Taken:
    """claims: to be sent now. missing_media: files that replies wait for, not at Meta yet for this number.

    more: there may be more that could be claimed now.
    """

    claims: list[ReplyClaim]
    missing_media: list[int]
    more: bool


# The oldest of each conversation, and nothing while an earlier one is on its way or waits for another attempt.
_DUE = """
    SELECT reply.id, conversation.phone, upload.media, reply.media_id, reply.template_id
    FROM inbox_messages AS reply
    JOIN conversations AS conversation ON conversation.id = reply.conversation_id
    CROSS JOIN LATERAL (
        SELECT CASE WHEN reply.media_id IS NULL OR bool_or(expires_at > now() AND meta_media_id IS NOT NULL)
                    THEN 'ready' WHEN max(failures) >= 3 THEN 'hopeless' ELSE 'missing' END AS media
        FROM media_uploads WHERE media_id = reply.media_id AND number_id = reply.number_id) AS upload
    WHERE reply.number_id = %(number_id)s AND reply.state = 'queued' AND reply.due_at <= now()
      AND NOT EXISTS (
          SELECT FROM inbox_messages AS earlier
          WHERE earlier.number_id = %(number_id)s AND earlier.conversation_id = reply.conversation_id
            AND earlier.id < reply.id AND earlier.state IN ('queued', 'claimed'))
    ORDER BY upload.media = 'missing', reply.id LIMIT %(limit)s
"""

_WITHOUT_MEDIA = """
    UPDATE inbox_messages AS reply
    SET state = 'failed', due_at = NULL, failed_at = now(), error_code = 131053,
        error_detail = left('Its file can''t be uploaded to Meta: ' || coalesce(upload.error, 'no reason given'), 300)
    FROM media_uploads AS upload
    WHERE reply.id = ANY(%(hopeless)s) AND reply.state = 'queued'
      AND upload.media_id = reply.media_id AND upload.number_id = reply.number_id
"""

# A person who opted out of marketing may still be answered; whom an operator blacklisted is written nothing.
# A template to somebody whose window is closed takes a place in the portfolio's budget, as budget_claims does.
_CLAIM = f"""
    WITH lease AS MATERIALIZED (
        SELECT 1 FROM leases
        WHERE kind = 'number' AND resource_id = %(number_id)s AND epoch = %(epoch)s
          AND node_id = %(node_id)s AND expires_at > clock_timestamp()
          -- A pause counts from its commit, not from when this number's tree has heard of it.
          AND EXISTS (SELECT FROM phone_numbers WHERE id = %(number_id)s AND state = 'active')
        FOR SHARE
    ), suppressed AS (
        SELECT person.id, max(suppression.reason) AS reason, bool_or(suppression.reason = 'blacklisted') AS wholly
        FROM unnest(%(ids)s::bigint[], %(phones)s::text[]) AS person (id, phone)
        JOIN suppressions AS suppression
            ON suppression.phone = person.phone
            AND (suppression.expires_at IS NULL OR suppression.expires_at > now())
        GROUP BY person.id
    ), candidate AS MATERIALIZED (
        SELECT reply.id, conversation.phone,
               CASE WHEN suppressed.wholly THEN 'blacklisted'
                    WHEN template.category = 'MARKETING' THEN suppressed.reason END AS excluded,
               reply.template_id IS NULL
                   AND coalesce(conversation.last_inbound_at <= now() - interval '24 hours', true) AS too_late,
               reply.template_id IS NOT NULL
                   AND coalesce(conversation.last_inbound_at <= now() - interval '23 hours 59 minutes', true)
                   AS takes_place,
               counted.phone IS NOT NULL AS is_counted
        FROM inbox_messages AS reply
        JOIN conversations AS conversation ON conversation.id = reply.conversation_id
        LEFT JOIN templates AS template ON template.id = reply.template_id
        LEFT JOIN suppressed ON suppressed.id = reply.id
        LEFT JOIN portfolio_people AS counted
            ON counted.portfolio_id = %(portfolio_id)s AND counted.phone = conversation.phone
            AND counted.counted_at > now() - {WINDOW}
        WHERE reply.id IN (SELECT id FROM unnest(%(ids)s::bigint[]) AS one (id))
          AND reply.state = 'queued' AND EXISTS (SELECT FROM lease)
        ORDER BY reply.id
        FOR UPDATE OF reply SKIP LOCKED
    ), placed AS (
        SELECT id FROM candidate WHERE takes_place AND NOT is_counted AND excluded IS NULL ORDER BY id
        LIMIT (SELECT greatest(tier_limit - used, 0) FROM portfolios
               WHERE id = %(portfolio_id)s AND tier_limit IS NOT NULL)  -- null: unlimited
    ), verdict AS MATERIALIZED (
        SELECT *, CASE WHEN excluded IS NOT NULL THEN 'excluded' WHEN too_late THEN 'failed'
                       WHEN takes_place AND NOT is_counted AND id NOT IN (SELECT id FROM placed) THEN 'queued'
                       ELSE 'claimed' END::reply_state AS state
        FROM candidate
    ), decided AS (
        UPDATE inbox_messages AS reply
        SET state = verdict.state,
            attempt = reply.attempt + (verdict.state = 'claimed')::integer,
            incarnation = CASE WHEN verdict.state = 'claimed' THEN %(epoch)s ELSE reply.incarnation END,
            claimed_at = CASE WHEN verdict.state = 'claimed' THEN now() ELSE reply.claimed_at END,
            due_at = CASE verdict.state WHEN 'claimed' THEN now() + make_interval(secs => %(in_doubt_after_s)s)
                                        WHEN 'queued' THEN now() + interval '1 minute' END,
            error_code = CASE WHEN verdict.state = 'failed' THEN %(window_closed)s::integer END,
            error_detail = CASE verdict.state WHEN 'excluded' THEN excluded WHEN 'failed' THEN %(too_late)s
                                              WHEN 'queued' THEN %(no_place)s END,
            failed_at = CASE WHEN verdict.state = 'failed' THEN now() END
        FROM verdict WHERE reply.id = verdict.id
        RETURNING reply.id, reply.attempt, verdict.phone AS to, reply.content, reply.template_id, reply.media_id,
                  reply.state, verdict.takes_place
    ), people AS (
        INSERT INTO portfolio_people (portfolio_id, phone, counted_at)
        SELECT portfolio.id, decided.to, clock_timestamp()
        FROM decided JOIN portfolios AS portfolio ON portfolio.id = %(portfolio_id)s
        WHERE decided.state = 'claimed' AND takes_place
        ON CONFLICT (portfolio_id, phone) DO UPDATE SET counted_at = EXCLUDED.counted_at
        RETURNING (xmax = 0) AS is_new
    ), used AS (
        UPDATE portfolios SET used = used + (SELECT count(*) FROM people WHERE is_new)
        WHERE id = %(portfolio_id)s AND EXISTS (SELECT FROM people WHERE is_new)
    )
    SELECT decided.id, attempt, "to", content, template_id, upload.meta_media_id
    FROM decided
    LEFT JOIN media_uploads AS upload
        ON upload.media_id = decided.media_id AND upload.number_id = %(number_id)s
    WHERE decided.state = 'claimed' ORDER BY decided.id
"""  # noqa: S608  (constants only)

_LOCK_PORTFOLIO = "SELECT FROM portfolios WHERE id = %(portfolio_id)s FOR NO KEY UPDATE"


def claim(db: Database, *, sender: Sender, limit: int, portfolio_id: str | None = None) -> Taken:
    """Take due replies of a number, durably, before any byte leaves: at most one of each conversation.

    portfolio_id: set if the number's portfolio has a messaging limit. What may not be sent any more becomes `excluded`
    or `failed` here. Nothing is taken unless the number is active and the sender holds its lease.
    Raises StorageUnavailable: what was claimed, if anything, will be found in doubt.
    """
    with db.connection() as connection:
        due = connection.execute(_DUE, {"number_id": sender.number_id, "limit": limit}).fetchall()
        hopeless = [row[0] for row in due if row[2] == "hopeless"]
        if hopeless:
            connection.execute(_WITHOUT_MEDIA, {"hopeless": hopeless})
        missing = sorted({row[3] for row in due if row[2] == "missing"})
        more = len(due) == limit and not missing
        ready = [row for row in due if row[2] == "ready"]
        people = [(reply_id, form) for reply_id, phone, *_ in ready for form in same_person(phone)]
        if not people:
            return Taken([], missing, more)
        parameters: dict[str, Any] = {
            "number_id": sender.number_id,
            "node_id": sender.node_id,
            "epoch": sender.epoch,
            "portfolio_id": portfolio_id,
            "ids": [reply_id for reply_id, _ in people],
            "phones": [phone for _, phone in people],
            "in_doubt_after_s": IN_DOUBT_AFTER_S,
            "window_closed": WINDOW_CLOSED,
            "too_late": WINDOW_CLOSED_SENTENCE,
            "no_place": NO_PLACE_SENTENCE,
        }
        with connection.transaction(), connection.cursor(row_factory=class_row(ReplyClaim)) as cursor:
            if portfolio_id is not None and any(row[4] is not None for row in ready):
                connection.execute(_LOCK_PORTFOLIO, parameters)  # first, so that the claim sees what others counted
            return Taken(cursor.execute(_CLAIM, parameters).fetchall(), missing, more)


# A wamid that is known already is Meta's mistake; it must not cost the batch.
_WAMID = """coalesce(reply.wamid, CASE WHEN NOT EXISTS
                (SELECT FROM inbox_messages AS known WHERE known.wamid = locked.wamid) THEN locked.wamid END)"""

_SETTLE = f"""
    WITH outcome AS (
        SELECT * FROM unnest(%(ids)s::bigint[], %(attempts)s::smallint[], %(states)s::reply_state[], %(wamids)s::text[],
                             %(error_codes)s::integer[], %(error_details)s::text[], %(due_in_s)s::float8[])
            AS outcome (message_id, attempt, state, wamid, error_code, error_detail, due_in_s)
    ), locked AS MATERIALIZED (
        SELECT reply.id, outcome.*,
               CASE WHEN outcome.state IN ('sent', 'failed') THEN greatest(reply.state, outcome.state)
                    WHEN reply.state NOT IN ('claimed', 'in_doubt') THEN reply.state
                    ELSE outcome.state END AS new_state
        FROM inbox_messages AS reply
        JOIN outcome ON outcome.message_id = reply.id AND outcome.attempt = reply.attempt
        ORDER BY reply.id
        FOR UPDATE OF reply
    )
    UPDATE inbox_messages AS reply
    SET state = locked.new_state, wamid = {_WAMID},
        due_at = CASE locked.new_state WHEN 'queued' THEN now() + make_interval(secs => locked.due_in_s)
                                       WHEN 'in_doubt' THEN now() END,
        error_code = coalesce(reply.error_code, locked.error_code),
        error_detail = coalesce(reply.error_detail, locked.error_detail),
        sent_at = CASE WHEN locked.state = 'sent' THEN coalesce(reply.sent_at, now()) ELSE reply.sent_at END,
        failed_at = CASE WHEN locked.new_state = 'failed' THEN coalesce(reply.failed_at, now()) END
    FROM locked WHERE reply.id = locked.id
"""  # noqa: S608  (constants only)


def settle(db: Database, settlements: Sequence[Settlement]) -> int:
    """Write what became of attempts to send replies; log_id is the reply's id, `retrying` means queued again.

    Returns how many rows it concerned; repeating it is harmless. Raises StorageUnavailable: settle them again.
    """
    batch = sorted(settlements, key=lambda one: one.log_id)
    parameters = {
        "ids": [one.log_id for one in batch],
        "attempts": [one.attempt for one in batch],
        "states": ["queued" if one.state == "retrying" else one.state for one in batch],
        "wamids": [one.wamid for one in batch],
        "error_codes": [one.error_code for one in batch],
        "error_details": [one.error_detail for one in batch],
        "due_in_s": [one.due_in_s for one in batch],
    }
    with db.connection() as connection:
        return connection.execute(_SETTLE, parameters).rowcount


@dataclass(frozen=True, slots=True)
class ReplyStatus:
    """What Meta reports of one attempt. attempt None: known by its wamid alone, whichever attempt it was."""

    reply_id: int
    attempt: int | None
    wamid: str
    status: Literal["sent", "delivered", "read", "failed"]
    at: Any
    error_code: int | None = None
    error_detail: str | None = None


_REPORT = f"""
    WITH update AS (
        SELECT * FROM unnest(%(ids)s::bigint[], %(attempts)s::smallint[], %(wamids)s::text[],
                             %(statuses)s::reply_state[], %(ats)s::timestamptz[], %(error_codes)s::integer[],
                             %(error_details)s::text[])
            AS update (message_id, attempt, wamid, status, at, error_code, error_detail)
    ), news AS (
        SELECT reply.id, max(update.status) AS status, max(update.wamid) AS wamid,
               min(update.at) FILTER (WHERE status <> 'failed') AS sent_at,
               min(update.at) FILTER (WHERE status IN ('delivered', 'read')) AS delivered_at,
               min(update.at) FILTER (WHERE status = 'read') AS read_at,
               min(update.at) FILTER (WHERE status = 'failed') AS failed_at,
               min(update.error_code) AS error_code, min(update.error_detail) AS error_detail
        FROM update JOIN inbox_messages AS reply
            ON reply.id = update.message_id AND reply.attempt = coalesce(update.attempt, reply.attempt)
            -- Another wamid under our echo is another environment's message on the same account.
            AND (reply.wamid IS NULL OR reply.wamid = update.wamid)
        WHERE reply.direction = 'outbound'
        GROUP BY reply.id
    ), locked AS MATERIALIZED (
        SELECT news.*, reply.state AS old_state,
               -- The answer to the POST has told of this refusal already, and the reply waits for its next attempt.
               CASE WHEN reply.state = 'queued' AND news.status <= 'failed' THEN reply.state
                    ELSE greatest(reply.state, news.status) END AS new_state
        FROM news JOIN inbox_messages AS reply ON reply.id = news.id
        ORDER BY reply.id
        FOR UPDATE OF reply
    )
    UPDATE inbox_messages AS reply
    SET state = locked.new_state, wamid = {_WAMID},
        due_at = CASE WHEN locked.new_state = 'queued' THEN reply.due_at END,
        sent_at = least(reply.sent_at, locked.sent_at),
        delivered_at = least(reply.delivered_at, locked.delivered_at),
        read_at = least(reply.read_at, locked.read_at),
        failed_at = CASE WHEN locked.new_state = 'failed' THEN coalesce(reply.failed_at, locked.failed_at) END,
        error_code = CASE WHEN locked.new_state = 'failed' AND locked.old_state <> 'failed'
                          THEN coalesce(locked.error_code, reply.error_code) ELSE reply.error_code END,
        error_detail = CASE WHEN locked.new_state = 'failed' AND locked.old_state <> 'failed'
                            THEN coalesce(locked.error_detail, reply.error_detail) ELSE reply.error_detail END
    FROM locked WHERE reply.id = locked.id
"""  # noqa: S608  (constants only)


def report(transaction: Connection, statuses: Sequence[ReplyStatus]) -> None:
    """Apply what Meta reports of replies, in any order, inside the caller's transaction; twice is as once."""
    if statuses:
        transaction.execute(
            _REPORT,
            {
                "ids": [one.reply_id for one in statuses],
                "attempts": [one.attempt for one in statuses],
                "wamids": [one.wamid for one in statuses],
                "statuses": [one.status for one in statuses],
                "ats": [one.at for one in statuses],
                "error_codes": [one.error_code for one in statuses],
                "error_details": [one.error_detail for one in statuses],
            },
        )


_UNPARK = """
    DELETE FROM parked_statuses AS parked USING inbox_messages AS reply
    WHERE reply.wamid = parked.wamid AND reply.direction = 'outbound'
      AND parked.id IN (SELECT id FROM parked_statuses ORDER BY id DESC LIMIT %(limit)s)
    RETURNING reply.id AS reply_id, NULL::smallint AS attempt, parked.wamid, parked.status::text AS status, parked.at,
              parked.error_code, parked.error_detail
"""


def unpark(transaction: Connection, *, limit: int = 1000) -> None:
    """Apply statuses that came without an echo and were parked, inside the caller's transaction."""
    with transaction.cursor(row_factory=class_row(ReplyStatus)) as cursor:
        report(transaction, cursor.execute(_UNPARK, {"limit": limit}).fetchall())


_DOUBT = """
    WITH stale AS MATERIALIZED (
        SELECT id FROM inbox_messages
        WHERE state = 'claimed'
          AND (due_at < now() OR (number_id = %(number_id)s::integer AND incarnation <> %(epoch)s::bigint))
        ORDER BY id LIMIT 5000
        FOR UPDATE
    )
    UPDATE inbox_messages AS reply SET state = 'in_doubt', due_at = now() FROM stale WHERE reply.id = stale.id
"""


def doubt(db: Database, *, number_id: int | None = None, epoch: int | None = None) -> int:
    """Move claims that nobody can be working on any more to `in_doubt`, as claims.doubt does. Returns how many."""
    with db.connection() as connection:
        return connection.execute(_DOUBT, {"number_id": number_id, "epoch": epoch}).rowcount


def cancel(db: Database, message_id: int) -> bool:
    """Call a reply off that nobody has claimed. Returns False if it is too late, or there is no such reply."""
    with db.connection() as connection:
        return (
            connection.execute(
                "UPDATE inbox_messages SET state = 'cancelled', due_at = NULL WHERE id = %s AND state = 'queued'",
                [message_id],
            ).rowcount
            == 1
        )
