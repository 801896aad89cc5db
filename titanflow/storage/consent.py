"""Opt-outs that come by webhook: a STOP word or button, and Meta's own switch. Decisive at the claim, by its join.

Written in the commit that stores the message. Each way lifts only what it has set: START a STOP, `resume` the switch.
"""

from collections.abc import Sequence

from titanflow.domain.phones import same_person
from titanflow.domain.replies import Heard
from titanflow.domain.webhooks import InboundMessage, Preference
from titanflow.storage.database import Connection

# A stay that ends by itself, or that Meta's switch would lift, becomes one that only START lifts.
_STOP = """
    WITH said AS (
        SELECT * FROM unnest(%(message_ids)s::bigint[], %(phones)s::text[], %(wamids)s::text[], %(ats)s::timestamptz[])
            AS said (message_id, phone, wamid, at)
    ), person AS (
        SELECT message_id, phone, at FROM said
        UNION ALL  -- whoever is known by a user id alone: the campaign's message that was answered has the phone
        SELECT said.message_id, contact.phone, said.at
        FROM said JOIN message_logs AS message ON message.wamid = said.wamid
        JOIN contacts AS contact ON contact.id = message.contact_id
    )
    INSERT INTO suppressions AS known (phone, reason, source, created_at)
    SELECT phone, 'opted_out', 'stop_word', max(at) FROM person GROUP BY phone ORDER BY phone
    ON CONFLICT (phone) DO UPDATE
    SET reason = 'opted_out', source = 'stop_word', created_at = EXCLUDED.created_at, expires_at = NULL
    WHERE known.expires_at IS NOT NULL OR known.source IN ('user_preferences', '131050')
"""  # it locks what it finds: two of one person at a time wait for each other

_START = """
    WITH said AS (
        SELECT * FROM unnest(%(message_ids)s::bigint[], %(phones)s::text[], %(wamids)s::text[], %(ats)s::timestamptz[])
            AS said (message_id, phone, wamid, at)
    ), person AS (
        SELECT message_id, phone, at FROM said
        UNION ALL
        SELECT said.message_id, contact.phone, said.at
        FROM said JOIN message_logs AS message ON message.wamid = said.wamid
        JOIN contacts AS contact ON contact.id = message.contact_id
    )
    DELETE FROM suppressions AS known USING person
    WHERE known.phone = person.phone AND known.source = 'stop_word' AND known.created_at <= person.at
    RETURNING person.message_id
"""

_SWITCHED_OFF = """
    INSERT INTO suppressions AS known (phone, reason, source, created_at)
    SELECT phone, 'opted_out', 'user_preferences', %(at)s FROM unnest(%(phones)s::text[]) AS one (phone) ORDER BY phone
    ON CONFLICT (phone) DO UPDATE
    SET reason = 'opted_out', source = 'user_preferences', created_at = EXCLUDED.created_at, expires_at = NULL
    WHERE known.expires_at IS NOT NULL OR (known.source = 'user_preferences' AND known.created_at < EXCLUDED.created_at)
"""

# Only what Meta's own switch or its refusal has set, never another opt-out.
_SWITCHED_ON = """
    DELETE FROM suppressions
    WHERE phone = ANY(%(phones)s) AND source IN ('user_preferences', '131050') AND created_at <= %(at)s
"""


def hear(transaction: Connection, heard: Sequence[Heard]) -> list[Heard]:
    """Carry out what new messages say about being written to. The latest of a person decides. Costs nothing else.

    Returns those to confirm: each STOP, and each START that has lifted one.
    """
    said = [one for one in heard if one.intent is not None]
    if not said:
        return []
    latest = {one.message.sender: one for one in sorted(said, key=lambda one: one.message.at)}
    stops = [one for one in latest.values() if one.intent == "stop"]
    starts = [one for one in latest.values() if one.intent == "start"]
    if stops:
        transaction.execute(_STOP, _people(stops))
    if not starts:
        return stops
    lifted = {row[0] for row in transaction.execute(_START, _people(starts)).fetchall()}
    return [*stops, *(one for one in starts if one.message_id in lifted)]


def prefer(transaction: Connection, preference: Preference) -> None:
    """Keep what a person chose with Meta's own switch."""
    parameters = {"phones": list(same_person(preference.phone)), "at": preference.at}
    transaction.execute(_SWITCHED_OFF if preference.value == "stop" else _SWITCHED_ON, parameters)


def _people(heard: Sequence[Heard]) -> dict[str, object]:
    rows = [(one, phone) for one in heard for phone in same_person(one.message.sender)]
    return {
        "message_ids": [one.message_id for one, _ in rows],
        "phones": [phone for _, phone in rows],
        "wamids": [_answered(one.message) for one, _ in rows],
        "ats": [one.message.at for one, _ in rows],
    }


def _answered(message: InboundMessage) -> str | None:
    context = message.content.get("context")
    wamid = context.get("id") if isinstance(context, dict) else None
    return wamid if isinstance(wamid, str) else None
