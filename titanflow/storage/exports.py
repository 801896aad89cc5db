"""A campaign's export: a line a contact, made by PostgreSQL, passed on as it comes.

One COPY on a connection of its own: one snapshot, so the export is how the campaign stood at one moment; memory stays
flat, since PostgreSQL waits for a reader that is slow; and 300,000 lines cost this process half a second of CPU.
"""

from collections.abc import Generator
from typing import Literal, LiteralString

import psycopg

from titanflow.errors import StorageUnavailable
from titanflow.storage.counters import STATE_OF_CONTACT
from titanflow.storage.database import Database

Format = Literal["csv", "ndjson"]

COLUMNS = (
    "contact_id", "phone", "state", "reason", "error_code", "log_id", "wamid", "attempts", "phone_number_id",
    "template", "sent_at", "delivered_at", "read_at",
)  # fmt: skip

# Only the narrow contacts are sorted; messages are merged in from the fence's index as it lies, on one core.
_IN_ORDER = """
    SELECT set_config(name, value, true)
    FROM (VALUES ('enable_hashjoin', 'off'), ('max_parallel_workers_per_gather', '0'), ('jit', 'off'))
        AS setting (name, value)
"""

_BLOCK_BYTES = 64 * 1024
_LONGEST_S = 3600  # a snapshot that is held keeps dead rows from being cleaned up

# Each half has its own partial index; on `contacts` as a whole, PostgreSQL would read those of all campaigns.
_ROWS = f"""
    SELECT contact.id AS contact_id, contact.phone, {STATE_OF_CONTACT} AS state,
           CASE WHEN message.id IS NULL OR message.state = 'excluded' THEN contact.excluded_reason
                WHEN message.state IN ('failed', 'retrying', 'in_doubt') THEN message.error_detail END AS reason,
           CASE WHEN message.state IN ('failed', 'retrying', 'in_doubt') THEN message.error_code END AS error_code,
           message.id AS log_id, message.wamid, coalesce(message.attempt, 0) AS attempts,
           numbers.known ->> message.number_id::text AS phone_number_id,
           templates.known ->> message.template_id::text AS template,
           to_char(message.sent_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS sent_at,
           to_char(message.delivered_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS delivered_at,
           to_char(message.read_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS read_at
    FROM (SELECT id, campaign_id, phone, excluded_reason FROM contacts
          WHERE campaign_id = %(id)s AND excluded_reason IS NULL
          UNION ALL
          SELECT id, campaign_id, phone, excluded_reason FROM contacts
          WHERE campaign_id = %(id)s AND excluded_reason IS NOT NULL
          ORDER BY id) AS contact
    CROSS JOIN (SELECT state FROM campaigns WHERE id = %(id)s) AS campaign
    -- One object each: a join would cost each row a look at all of them, or the order.
    CROSS JOIN (SELECT coalesce(jsonb_object_agg(id, phone_number_id), '{{}}') AS known FROM phone_numbers) AS numbers
    CROSS JOIN (SELECT coalesce(jsonb_object_agg(id, name), '{{}}') AS known FROM templates
                WHERE id IN (SELECT template_id FROM campaign_templates WHERE campaign_id = %(id)s)
                   OR waba_id IN (SELECT waba_id FROM phone_numbers JOIN campaign_numbers
                                  ON phone_numbers.id = number_id WHERE campaign_id = %(id)s)) AS templates
    LEFT JOIN message_logs AS message ON message.campaign_id = %(id)s AND message.contact_id = contact.id
    ORDER BY contact.id
"""  # noqa: S608  (constants only)

# A cell that begins so is a formula to a spreadsheet. Only what comes from outside can: a phone begins with its plus.
_HARMLESS = r"CASE WHEN {0} ~ '^\s*[-=+@\t\r\n]' THEN '''' || {0} ELSE {0} END AS {0}"
_CELLS = ", ".join(
    _HARMLESS.format(column) if column in ("reason", "wamid", "template") else column for column in COLUMNS
)

_COPY: dict[Format, LiteralString] = {
    "csv": f"COPY (SELECT {_CELLS} FROM ({_ROWS}) AS line) TO STDOUT WITH (FORMAT csv, HEADER)",  # noqa: S608
    # JSON text has no control characters, so none of these ever needs to be quoted: each line comes as it is.
    "ndjson": f"COPY (SELECT row_to_json(line) FROM ({_ROWS}) AS line) TO STDOUT"  # noqa: S608
    r" WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')",
}


def export(db: Database, campaign_id: int, form: Format) -> Generator[bytes, None, None]:
    """Yield all contacts of a campaign with what became of them, in blocks of some 64 KiB, by contact id.

    Closing the generator ends the query. Raises StorageUnavailable, also half-way.
    """
    with db.own_connection() as connection:
        done = False
        try:
            with connection.transaction(), connection.cursor() as cursor:
                # Nothing is locked; a reader so slow that it takes an hour is cut off.
                connection.execute("SELECT set_config('statement_timeout', %s, true)", [f"{_LONGEST_S}s"])
                connection.execute(_IN_ORDER)
                with cursor.copy(_COPY[form], {"id": campaign_id}) as rows:
                    block = bytearray()
                    for row in rows:
                        block += row
                        if len(block) >= _BLOCK_BYTES:
                            yield bytes(block)
                            block.clear()
                    if block:
                        yield bytes(block)
            done = True
        finally:
            if not done:
                _end(connection)


def _end(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """PostgreSQL would notice a reader that has gone only with its next write."""
    try:
        connection.cancel_safe(timeout=2)
    except (psycopg.Error, StorageUnavailable):
        pass
    connection.close()
