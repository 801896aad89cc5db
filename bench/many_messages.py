"""A database as it is after months: campaigns with their contacts and messages, made by SQL, roll-ups healed from them.

The first campaign has a tenth of all messages, the others share the rest. Each person is in four of them. All are
completed but the last, which is paused with two fifths still to be sent to. Everything follows from ids: no randomness.
"""

import time
from collections.abc import Callable
from typing import Any

from titanflow.storage.counters import heal
from titanflow.storage.database import Connection, Database, connect

_TABLES = ("contacts", "message_logs")
_NUMBERS, _TEMPLATES = 4, 6

_SET_UP = """
    INSERT INTO phone_numbers (phone_number_id, waba_id, display_phone_number, name, access_token)
    SELECT (1000 + n)::text, '9001', '+1 555 010' || n, 'Number ' || n, '' FROM generate_series(1, %(numbers)s) AS n
"""

_TEMPLATE = """
    INSERT INTO templates (waba_id, name, language, status)
    SELECT '9001', 'template_' || n, 'en_US', 'APPROVED' FROM generate_series(1, %(templates)s) AS n
"""

_CAMPAIGN = """
    WITH made AS (
        INSERT INTO campaigns (name, state, state_by, started_at, completed_at, created_at)
        VALUES ('Campaign ' || %(n)s, %(state)s, 'operator', %(started_at)s, %(completed_at)s, %(started_at)s)
        RETURNING id
    ), numbers AS (
        INSERT INTO campaign_numbers (campaign_id, number_id)
        SELECT made.id, number.id FROM made, phone_numbers AS number
    ), templates AS (
        INSERT INTO campaign_templates (campaign_id, position, template_id)
        SELECT made.id, row_number() OVER (ORDER BY template.id), template.id FROM made, templates AS template
        WHERE template.id %% 3 = %(n)s::integer %% 3
    ), cursor AS (
        INSERT INTO campaign_cursors (campaign_id) SELECT id FROM made
    ), counters AS (
        INSERT INTO campaign_counters (campaign_id, node_id) SELECT id, 0 FROM made
    )
    SELECT id FROM made
"""

# One in fifty is excluded.
_CONTACTS = """
    INSERT INTO contacts (campaign_id, phone, variables, excluded_reason)
    SELECT %(campaign_id)s, '+49' || (15100000000 + (n::bigint * 7919 + %(shift)s) %% %(people)s),
           '{"first_name": "Ana"}',
           CASE WHEN n %% 50 = 0 THEN (ARRAY['recently_messaged', 'opted_out', 'over_cap'])[1 + n %% 3] END
    FROM generate_series(1, %(contacts)s) AS n
    ON CONFLICT DO NOTHING
"""

# r: 0 to 9999, scattered. 4 of 10,000 are in doubt, 3 still `sent`: rare states in a big campaign.
_MESSAGES = """
    INSERT INTO message_logs (contact_id, incarnation, campaign_id, number_id, template_id, state, error_code,
                              error_detail, wamid, claimed_at, due_at, sent_at, delivered_at, read_at, failed_at)
    SELECT id, 1, %(campaign_id)s, (%(numbers)s::integer[])[1 + id %% %(number_count)s],
           (%(templates)s::integer[])[1 + id %% 2], state, code,
           CASE WHEN code IS NOT NULL THEN 'Message undeliverable' END,
           CASE WHEN state <> 'in_doubt' THEN 'wamid.HBgMNDkxNTEwMDAwMDAwFQIAERgS' || md5(id::text) END, claimed_at,
           CASE state WHEN 'in_doubt' THEN claimed_at + interval '70 seconds'
                      WHEN 'retrying' THEN claimed_at + interval '2 days' END,
           CASE WHEN state IN ('sent', 'delivered', 'read') OR r %% 2 = 0 AND state = 'failed'
                THEN date_trunc('second', claimed_at) END,
           CASE WHEN state IN ('delivered', 'read') THEN delivered_at END,
           CASE WHEN state = 'read'
                THEN delivered_at + interval '1 second' * trunc(172800 * power((r %% 1000) / 1000.0, 4)) END,
           CASE WHEN state = 'failed' THEN delivered_at END
    FROM (
        SELECT id, r, claimed_at,
               date_trunc('second', claimed_at) + interval '1 second' * (2 + r %% 500) AS delivered_at,
               (CASE WHEN r < 5000 THEN 'read' WHEN r < 9400 THEN 'delivered' WHEN r < 9990 THEN 'failed'
                     WHEN r < 9994 THEN 'in_doubt' WHEN r < 9997 THEN 'retrying' ELSE 'sent' END)::message_state
                   AS state,
               CASE WHEN r BETWEEN 9400 AND 9989 THEN (ARRAY[131026, 131049, 131026, 131008, 130472, NULL])[1 + r %% 6]
                    WHEN r BETWEEN 9994 AND 9996 THEN 131056 WHEN r BETWEEN 9990 AND 9993 THEN 131016 END AS code
        FROM (
            SELECT id, (id * 2654435761 %% 10000)::integer AS r,
                   %(started_at)s::timestamptz
                       + interval '2 hours' * ((id - min(id) OVER ())::float8 / %(contacts)s) AS claimed_at
            FROM contacts WHERE campaign_id = %(campaign_id)s AND excluded_reason IS NULL
        ) AS scattered
        WHERE claimed_at < %(started_at)s::timestamptz + interval '2 hours' * %(share)s
    ) AS one ORDER BY id
"""

# One in fifty of those who got it answers.
_REPLIES = """
    INSERT INTO replies (log_id, campaign_id, number_id, template_id, at, seconds, hour)
    SELECT id, campaign_id, number_id, template_id, claimed_at + interval '1 second' * seconds, seconds,
           date_bin('15 minutes', claimed_at + interval '1 second' * seconds, 'epoch')
    FROM (SELECT *, (20 + id * 2654435761 %% 40000)::integer AS seconds FROM message_logs
          WHERE campaign_id = %(campaign_id)s AND state IN ('delivered', 'read') AND id %% 50 = 0) AS one
"""


def fill(url: str, rows: int, *, campaigns: int = 40, say: Callable[[str], None] = lambda _: None) -> list[int]:
    """Put about `rows` messages into a migrated, empty database. Returns the campaigns' ids, the biggest first."""
    with connect(
        url, options="-c synchronous_commit=off -c maintenance_work_mem=512MB -c work_mem=128MB"
    ) as connection:
        indexes = _drop_indexes(connection) if rows >= 1_000_000 else []
        connection.execute(_SET_UP, {"numbers": _NUMBERS})
        connection.execute(_TEMPLATE, {"templates": _TEMPLATES})
        made = []
        for n in range(campaigns):
            begun = time.monotonic()
            made.append(_campaign(connection, n, rows, campaigns))
            say(f"campaign {n + 1} of {campaigns} in {time.monotonic() - begun:.1f} s")
        for definition in indexes:
            begun = time.monotonic()
            connection.execute(definition.encode())
            say(f"{definition.split(' ON ')[0]} in {time.monotonic() - begun:.1f} s")
        begun = time.monotonic()
        connection.execute("VACUUM (ANALYZE)")
        say(f"vacuum in {time.monotonic() - begun:.1f} s")
    database = Database(url, pool_size=1)
    try:
        for campaign_id in made:
            begun = time.monotonic()
            heal(database, campaign_id)
            say(f"roll-ups of campaign {campaign_id} in {time.monotonic() - begun:.1f} s")
    finally:
        database.close()
    with connect(url) as connection:
        connection.execute("DELETE FROM alarms")  # there were no counters to drift
        connection.execute("VACUUM (ANALYZE)")
    return made


def _campaign(connection: Connection, n: int, rows: int, campaigns: int) -> int:
    contacts = int((rows / 10 if n == 0 else rows * 0.9 / (campaigns - 1)) / 0.98)
    last = n == campaigns - 1
    # One a day; the last one began two hours ago.
    begun: dict[str, Any] = {"hours": 2 if last else 24 * (campaigns - n)}
    [(started_at, completed_at)] = connection.execute(
        "SELECT date_trunc('minute', now()) - make_interval(hours => %(hours)s),"
        " date_trunc('minute', now()) - make_interval(hours => %(hours)s - 2)",
        begun,
    ).fetchall()
    given = {
        "n": n,
        "state": "paused" if last else "completed",
        "started_at": started_at,
        "completed_at": None if last else completed_at,
        "contacts": contacts,
        "people": max(int(rows / 4), contacts),
        "shift": n * contacts,
        "share": 0.6 if last else 1.0,
        "number_count": _NUMBERS,
    }
    [(campaign_id,)] = connection.execute(_CAMPAIGN, given).fetchall()
    given["campaign_id"] = campaign_id
    for name, statement in (
        ("numbers", "SELECT number_id FROM campaign_numbers WHERE campaign_id = %s ORDER BY 1"),
        ("templates", "SELECT template_id FROM campaign_templates WHERE campaign_id = %s ORDER BY position"),
    ):
        given[name] = [row[0] for row in connection.execute(statement, [campaign_id])]
    connection.execute(_CONTACTS, given)
    connection.execute(_MESSAGES, given)
    connection.execute(_REPLIES, given)
    return int(campaign_id)


def _drop_indexes(connection: Connection) -> list[str]:
    """Drop what can be built faster afterwards. Returns how to build it again."""
    found = connection.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indrelid = ANY(%s::regclass[]) AND NOT indisprimary",
        [list(_TABLES)],
    ).fetchall()
    for name, _ in found:
        connection.execute(f"DROP INDEX {name}".encode())
    return [definition for _, definition in found]
