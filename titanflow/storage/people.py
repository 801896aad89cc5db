"""Everything that is known of one person: five statements, each by an index on the phone or on what was found by it.

What they cost depends on in how many campaigns the person is, not on how many people there are; a test holds the plans.
"""

from collections.abc import Sequence
from typing import Any

from titanflow.storage.counters import STATE_OF_CONTACT
from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all

_MESSAGES_SHOWN = 20

_CAMPAIGNS = f"""
    WITH person AS MATERIALIZED (
        SELECT id, campaign_id, phone, excluded_reason FROM contacts WHERE phone = ANY(%(phones)s)
    ), contact AS MATERIALIZED (
        SELECT * FROM person WHERE id < %(before)s ORDER BY id DESC LIMIT %(limit)s
    )
    SELECT contact.id AS contact_id, contact.phone, {STATE_OF_CONTACT} AS state, contact.excluded_reason,
           (SELECT count(*) FROM person) AS total, now() AS now,
           campaign.id AS campaign_id, campaign.name, campaign.state AS campaign_state, campaign.state_by,
           campaign.state_reason, campaign.schedule_at, campaign.started_at, campaign.completed_at,
           campaign.dedupe_days, campaign.audience_cap, campaign.resend_after_hours,
           CASE WHEN campaign.state = 'paused' THEN campaign.window_turns_at END AS resumes_at,
           message.id AS log_id, coalesce(message.attempt, 0) AS attempt, message.wamid, message.incarnation,
           message.error_code, message.error_detail, message.claimed_at, message.due_at, message.doubted_at,
           message.sent_at, message.delivered_at, message.read_at, message.failed_at,
           number.phone_number_id, number.display_phone_number, number.shown_state AS number_state,
           number.shown_reason AS number_reason, template.name AS template, template.language,
           coalesce(lease.epoch <> message.incarnation, true) AS sender_is_gone
    FROM contact
    JOIN campaigns AS campaign ON campaign.id = contact.campaign_id
    LEFT JOIN message_logs AS message ON message.campaign_id = contact.campaign_id AND message.contact_id = contact.id
    LEFT JOIN phone_numbers AS number ON number.id = message.number_id
    LEFT JOIN templates AS template ON template.id = message.template_id
    LEFT JOIN leases AS lease ON lease.kind = 'number' AND lease.resource_id = message.number_id
    ORDER BY contact.id DESC
"""  # noqa: S608  (constants only)

_ATTEMPTS = """
    SELECT attempt.log_id, attempt.attempt, attempt.state::text AS state, attempt.error_code, attempt.error_detail,
           attempt.wamid, attempt.claimed_at, attempt.ended_at, number.phone_number_id, template.name AS template
    FROM message_attempts AS attempt
    LEFT JOIN phone_numbers AS number ON number.id = attempt.number_id
    LEFT JOIN templates AS template ON template.id = attempt.template_id
    WHERE attempt.log_id = ANY(%(log_ids)s) ORDER BY attempt.log_id, attempt.attempt
"""

_CONVERSATIONS = """
    SELECT conversation.id, number.phone_number_id, conversation.phone, conversation.profile_name,
           conversation.last_message_at, conversation.last_inbound_at, conversation.unread,
           (SELECT coalesce(jsonb_agg(to_jsonb(latest) ORDER BY latest.id), '[]') FROM (
                SELECT message.id, message.direction, message.type, message.at, message.wamid,
                       nullif(btrim(left(inbox_text(message.content), 500)), '') AS text, message.state,
                       message.campaign_id, message.message_log_id AS log_id, message.intent
                FROM inbox_messages AS message WHERE message.conversation_id = conversation.id
                ORDER BY message.id DESC LIMIT %(messages)s) AS latest) AS messages
    FROM conversations AS conversation JOIN phone_numbers AS number ON number.id = conversation.number_id
    WHERE conversation.phone = ANY(%(phones)s) ORDER BY conversation.last_message_at DESC LIMIT 50
"""

_REJECTS = """
    SELECT import.campaign_id, campaign.name AS campaign, reject.import_id, reject.line, reject.reason, reject.value,
           import.created_at AS at
    FROM import_rejects AS reject
    JOIN imports AS import ON import.id = reject.import_id
    JOIN campaigns AS campaign ON campaign.id = import.campaign_id
    WHERE right(regexp_replace(reject.value, '\\D', '', 'g'), 9) = ANY(%(ends)s)
    ORDER BY reject.import_id DESC, reject.line LIMIT 50
"""


def campaigns(db: Database, phones: Sequence[str], *, before: int, limit: int) -> list[dict[str, Any]]:
    """Return the campaigns that a person is in, the latest list first, those below contact id `before`.

    Each has all that is known of the person's message there, and the count of all as `total`.
    """
    return fetch_all(db, _CAMPAIGNS, {"phones": list(phones), "before": before, "limit": limit})


def attempts(db: Database, log_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return the earlier attempts of messages, in order."""
    return fetch_all(db, _ATTEMPTS, {"log_ids": list(log_ids)}) if log_ids else []


def conversations(db: Database, phones: Sequence[str]) -> list[dict[str, Any]]:
    """Return a person's conversations, each with its latest messages, oldest first."""
    return fetch_all(db, _CONVERSATIONS, {"phones": list(phones), "messages": _MESSAGES_SHOWN})


def rejected_lines(db: Database, phones: Sequence[str]) -> list[dict[str, Any]]:
    """Return rejected lines of lists whose value ends in the same nine digits: most likely meant this person."""
    ends = [digits[-9:] for phone in phones if len(digits := phone.lstrip("+")) >= 9 and digits.isdigit()]
    return fetch_all(db, _REJECTS, {"ends": ends}) if ends else []
