"""Campaigns whose messages all left and wait for their statuses, made by SQL within seconds."""

from dataclasses import dataclass
from typing import Any, Literal

from titanflow.cli.stage import Stage
from titanflow.storage.database import connect

NUMBER = "1001"
_WABA = "900000001"

_CAMPAIGN = "INSERT INTO campaigns (name, state, state_by) VALUES ('statuses', 'completed', 'bench') RETURNING id"
_CONTACTS = """
    INSERT INTO contacts (campaign_id, phone)
    SELECT %(campaign_id)s, '+4915' || lpad(n::text, 9, '0') FROM generate_series(0, %(messages)s - 1) AS n ORDER BY n
"""
_MESSAGES = """
    INSERT INTO message_logs (contact_id, incarnation, campaign_id, number_id, template_id, state, wamid, sent_at,
                              due_at)
    SELECT contact.id, 1, contact.campaign_id, number.id, template.id, %(state)s::message_state,
           %(wamid_prefix)s || (contact.n - 1), CASE WHEN %(state)s = 'sent' THEN date_trunc('second', now()) END,
           CASE WHEN %(state)s = 'in_doubt' THEN now() END
    FROM (SELECT id, campaign_id, row_number() OVER (ORDER BY id) AS n FROM contacts
          WHERE campaign_id = %(campaign_id)s) AS contact,
         (SELECT id FROM phone_numbers WHERE phone_number_id = %(number)s) AS number,
         (SELECT id FROM templates ORDER BY id LIMIT 1) AS template
    ORDER BY contact.id
"""
_COUNTERS = """
    INSERT INTO campaign_counters (campaign_id, node_id, sent, in_doubt)
    SELECT %(campaign_id)s, 0, count(*) FILTER (WHERE state = 'sent'), count(*) FILTER (WHERE state = 'in_doubt')
    FROM message_logs WHERE campaign_id = %(campaign_id)s
"""
_FIRST = "SELECT min(id) FROM message_logs WHERE campaign_id = %(campaign_id)s"
_HOURLY = """
    INSERT INTO stats_hourly (campaign_id, hour, number_id, template_id, sent)
    SELECT campaign_id, date_bin('15 minutes', sent_at, 'epoch'), number_id, template_id, count(*) FROM message_logs
    WHERE campaign_id = %(campaign_id)s AND state = 'sent' GROUP BY 1, 2, 3, 4
"""


@dataclass(frozen=True, slots=True)
class SentMessages:
    """One campaign. The n-th message has log id first_log_id + n and wamid `wamid_prefix` + n."""

    campaign_id: int
    first_log_id: int
    wamid_prefix: str
    messages: int


def prepare(stage: Stage) -> None:
    """Give the sandbox and the server the number and the templates that the messages need."""
    known = {"phone_number_id": NUMBER, "waba_id": _WABA, "display_phone_number": "15550001001"}
    stage.meta.post("/_sandbox/numbers", known)
    stage.api.post("/api/v1/phone-numbers", {**known, "access_token": "bench"})
    stage.api.post("/api/v1/templates/sync")


def make(database_url: str, messages: int, *, state: Literal["sent", "in_doubt"] = "sent") -> SentMessages:
    """Make a completed campaign of so many messages, counted, with echo attempt 1.

    `in_doubt`: nothing is known of any of them, so that every status has something to write.
    """
    with connect(database_url) as connection, connection.transaction():
        campaign_id = _one(connection.execute(_CAMPAIGN))
        prefix = f"wamid.HBgLNDkxNTAwMDAwMDAwMBUCABEYEjQxQ0{campaign_id:06d}."
        values: dict[str, Any] = {
            "campaign_id": campaign_id, "messages": messages, "wamid_prefix": prefix, "number": NUMBER, "state": state
        }  # fmt: skip
        for statement in (_CONTACTS, _MESSAGES, _COUNTERS, _HOURLY):
            connection.execute(statement, values)
        first = _one(connection.execute(_FIRST, values))
    with connect(database_url) as connection:
        for statement in ("VACUUM ANALYZE contacts", "VACUUM ANALYZE message_logs", "CHECKPOINT"):
            connection.execute(statement)
    return SentMessages(campaign_id, first, prefix, messages)


def _one(cursor: Any) -> int:
    return int(cursor.fetchone()[0])
