"""How many people in a row met the same failure, from the rows: webhooks know no order, so batches can't tell."""

from collections.abc import Sequence

from titanflow.storage.database import Database

# Campaigns are claimed in the order of their contacts. A run through a contact that is as long as the breaker has that
# many rows among the ones next to it, so no more are read. What was claimed before a running campaign was started says
# nothing: it was mended, and begins anew. One that is over stops nobody, but its failures may stop a number.
_LONGEST = """
    WITH campaign AS (
        SELECT id, CASE WHEN state = 'running' THEN updated_at ELSE '-infinity' END AS since
        FROM campaigns WHERE id = %(campaign_id)s
    ), near AS (
        SELECT failed.contact_id AS around, message.contact_id, message.failed
        FROM campaign
        CROSS JOIN unnest(%(contact_ids)s::bigint[]) AS failed (contact_id)
        CROSS JOIN LATERAL (
            (SELECT contact_id, state = 'failed' AND error_code = ANY(%(codes)s) AS failed FROM message_logs
             WHERE campaign_id = campaign.id AND contact_id <= failed.contact_id AND number_id = %(number_id)s
               AND claimed_at > campaign.since AND state NOT IN ('excluded', 'cancelled')
             ORDER BY contact_id DESC LIMIT %(breaker)s)
            UNION ALL
            (SELECT contact_id, state = 'failed' AND error_code = ANY(%(codes)s) FROM message_logs
             WHERE campaign_id = campaign.id AND contact_id > failed.contact_id AND number_id = %(number_id)s
               AND claimed_at > campaign.since AND state NOT IN ('excluded', 'cancelled')
             ORDER BY contact_id LIMIT %(breaker)s)
        ) AS message
    ), island AS (
        SELECT around, failed,
               row_number() OVER (PARTITION BY around ORDER BY contact_id)
                   - row_number() OVER (PARTITION BY around, failed ORDER BY contact_id) AS n
        FROM near
    )
    SELECT coalesce(max(length), 0) FROM (
        SELECT count(*) AS length FROM island WHERE failed GROUP BY around, n
    ) AS run
"""


def longest(
    db: Database, contact_ids: Sequence[int], *, campaign_id: int, number_id: int, codes: Sequence[int], breaker: int
) -> int:
    """Return the longest run of failures with these codes around these contacts, in the order of their claims.

    Messages of one campaign from one number, since the campaign last changed; one without a verdict yet ends a run.
    Counts no further than about twice `breaker`.
    """
    parameters = {
        "contact_ids": list(contact_ids),
        "campaign_id": campaign_id,
        "number_id": number_id,
        "codes": list(codes),
        "breaker": breaker,
    }
    with db.connection() as connection:
        row = connection.execute(_LONGEST, parameters).fetchone()
    return int(row[0]) if row else 0
