"""Messages that come in: kept once, counted once, in the commit of their webhook.

Whoever adds a message locks its conversation first, by a statement of its own: so the one that writes sees what another
delivery of the same webhook has written, `unread` is exact, and a conversation's ids are in the order of commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from titanflow.domain.inbox import media_of
from titanflow.domain.webhooks import InboundMessage
from titanflow.storage.database import Connection


@dataclass(frozen=True, slots=True)
class Received:
    """A message that is new, and where it is now. number_id: ours, of the number it was written to."""

    message: InboundMessage
    message_id: int
    conversation_id: int
    number_id: int


# A time of Meta's that lies ahead would keep a service window open. What the network itself tells is nobody's word.
_LOCK = """
    INSERT INTO conversations AS known (number_id, phone, profile_name, last_message_at, last_inbound_at)
    SELECT number.id, sender, max(profile_name), max(least(at, now())),
           max(least(at, now())) FILTER (WHERE type <> 'system')
    FROM unnest(%(numbers)s::text[], %(senders)s::text[], %(names)s::text[], %(types)s::text[],
                %(ats)s::timestamptz[]) AS message (phone_number_id, sender, profile_name, type, at)
    JOIN phone_numbers AS number USING (phone_number_id)
    GROUP BY number.id, sender ORDER BY sender, number.id
    ON CONFLICT (phone, number_id) DO UPDATE
    SET profile_name = coalesce(EXCLUDED.profile_name, known.profile_name),
        last_message_at = greatest(known.last_message_at, EXCLUDED.last_message_at),
        last_inbound_at = greatest(known.last_inbound_at, EXCLUDED.last_inbound_at)
"""

_RECEIVE = """
    WITH message AS (
        SELECT * FROM unnest(%(numbers)s::text[], %(wamids)s::text[], %(senders)s::text[], %(types)s::text[],
                             %(contents)s::jsonb[], %(ats)s::timestamptz[], %(media_ids)s::text[],
                             %(mime_types)s::text[], %(filenames)s::text[]) WITH ORDINALITY
            AS message (phone_number_id, wamid, sender, type, content, at, meta_media_id, mime_type, filename, n)
    ), added AS (
        INSERT INTO inbox_messages (conversation_id, direction, wamid, type, content, at)
        SELECT conversation.id, 'inbound', wamid, type, content, message.at
        FROM message
        JOIN phone_numbers AS number USING (phone_number_id)
        JOIN conversations AS conversation ON conversation.phone = sender AND conversation.number_id = number.id
        ORDER BY message.at, n
        ON CONFLICT (wamid) DO NOTHING
        RETURNING id, conversation_id, wamid
    ), counted AS (
        UPDATE conversations AS conversation
        SET unread = conversation.unread + more.messages, archived_at = NULL
        FROM (SELECT conversation_id, count(*) AS messages FROM added GROUP BY conversation_id) AS more
        WHERE conversation.id = more.conversation_id
        RETURNING conversation.id, conversation.number_id
    ), media AS (
        INSERT INTO inbound_media (message_id, number_id, meta_media_id, mime_type, filename)
        SELECT DISTINCT ON (added.id) added.id, counted.number_id, meta_media_id, mime_type, filename
        FROM added JOIN message USING (wamid) JOIN counted ON counted.id = added.conversation_id
        WHERE meta_media_id IS NOT NULL
    )
    SELECT added.wamid, added.id, added.conversation_id, counted.number_id
    FROM added JOIN counted ON counted.id = added.conversation_id
    ORDER BY added.id
"""


def receive(transaction: Connection, messages: Sequence[InboundMessage]) -> list[Received]:
    """Put messages into the inbox, inside the caller's transaction, and let their media be fetched.

    Returns those that are new, in the order of their ids: what comes again must not count again.
    """
    media = [media_of(one.type, one.content) for one in messages]
    parameters = {
        "numbers": [one.phone_number_id for one in messages],
        "wamids": [one.wamid for one in messages],
        "senders": [one.sender for one in messages],
        "names": [one.profile_name for one in messages],
        "types": [one.type for one in messages],
        "contents": [orjson.dumps(one.content).decode() for one in messages],
        "ats": [one.at for one in messages],
        "media_ids": [one.meta_media_id if one else None for one in media],
        "mime_types": [one.mime_type if one else None for one in media],
        "filenames": [one.filename if one else None for one in media],
    }
    transaction.execute(_LOCK, parameters)
    rows = transaction.execute(_RECEIVE, parameters).fetchall()
    by_wamid = {one.wamid: one for one in messages}
    return [Received(by_wamid[wamid], *ids) for wamid, *ids in rows]
