"""Which campaign message a person answered: written with the message, counted once, with its roll-ups.

By the quoted wamid first, else the last message that this number sent to this person within a window. That lookup goes
by contacts_by_phone, the campaigns that could have sent in the window, and message_logs_fence: message_logs carries no
phone and no index for it (docs/decisions/0017-replies.md has the figures). It never waits for a sender: message_logs is
only read. Own roll-up rows are locked in order, in a transaction that applies no statuses.
"""

from collections.abc import Sequence

from titanflow.domain.phones import same_person
from titanflow.domain.replies import WITHIN_S, Heard, answer_of
from titanflow.storage.database import Connection

# Five seconds: Meta's clock and ours may differ, and its times have no fractions.
_ATTRIBUTE = """
    WITH said AS MATERIALIZED (
        SELECT * FROM unnest(%(message_ids)s::bigint[], %(number_ids)s::integer[], %(ats)s::timestamptz[],
                             %(quoted)s::text[], %(by_time)s::boolean[], %(intents)s::text[], %(phones)s::text[])
            WITH ORDINALITY AS said (message_id, number_id, at, quoted, by_time, intent, phones, n)
    ), quoting AS MATERIALIZED (
        SELECT said.n, log.id, log.campaign_id, log.number_id, log.template_id, log.claimed_at
        FROM said JOIN message_logs AS log ON log.wamid = said.quoted
    ), latest AS (
        SELECT said.n, log.*
        FROM said CROSS JOIN inbox_settings AS setting CROSS JOIN LATERAL (
            SELECT log.id, log.campaign_id, log.number_id, log.template_id, log.claimed_at
            FROM contacts AS contact
            JOIN campaigns AS campaign
                ON campaign.id = contact.campaign_id
                AND (campaign.completed_at IS NULL
                     OR campaign.completed_at > said.at - make_interval(hours => setting.reply_window_hours))
            JOIN message_logs AS log ON log.campaign_id = contact.campaign_id AND log.contact_id = contact.id
            WHERE contact.phone = ANY(string_to_array(said.phones, ' ')) AND log.number_id = said.number_id
              AND log.state IN ('claimed', 'in_doubt', 'sent', 'delivered', 'read')
              AND log.claimed_at <= said.at + interval '5 seconds'
              AND log.claimed_at > said.at - make_interval(hours => setting.reply_window_hours)
            ORDER BY log.claimed_at DESC, log.id DESC LIMIT 1
        ) AS log
        -- Whoever quotes another message of the inbox answers that one.
        WHERE said.by_time AND said.n NOT IN (SELECT n FROM quoting)
          AND NOT EXISTS (SELECT FROM inbox_messages AS other WHERE other.wamid = said.quoted)
    ), answered AS MATERIALIZED (
        SELECT * FROM quoting UNION ALL SELECT * FROM latest
    ), noted AS (
        UPDATE inbox_messages AS inbox
        SET message_log_id = answered.id, campaign_id = answered.campaign_id, intent = said.intent
        FROM said LEFT JOIN answered USING (n)
        WHERE inbox.id = said.message_id AND (answered.id IS NOT NULL OR said.intent IS NOT NULL)
    ), first AS MATERIALIZED (
        SELECT DISTINCT ON (answered.id) answered.*, said.at,
               greatest(0, least(2147483647, extract(epoch FROM said.at - answered.claimed_at)))::integer AS seconds
        FROM answered JOIN said USING (n)
        WHERE said.intent IS NULL
        ORDER BY answered.id, said.at
    ), known AS MATERIALIZED (
        SELECT reply.* FROM replies AS reply JOIN first ON first.id = reply.log_id
                                                       AND first.campaign_id = reply.campaign_id
        ORDER BY reply.log_id FOR UPDATE OF reply
    ), counted AS (
        INSERT INTO replies (log_id, campaign_id, number_id, template_id, at, seconds, hour)
        SELECT id, campaign_id, number_id, template_id, at, seconds, date_bin('15 minutes', at, 'epoch')
        FROM first WHERE id NOT IN (SELECT log_id FROM known) ORDER BY id
        ON CONFLICT DO NOTHING
        RETURNING *
    ), moved AS (
        -- An earlier answer that came later: the same reply, faster than was thought.
        UPDATE replies AS reply
        SET at = first.at, seconds = first.seconds, hour = date_bin('15 minutes', first.at, 'epoch')
        FROM first JOIN known ON known.log_id = first.id
        WHERE reply.campaign_id = known.campaign_id AND reply.log_id = known.log_id AND first.at < known.at
        RETURNING reply.*, known.seconds AS seconds_before, known.hour AS hour_before
    ), change AS (
        SELECT campaign_id, hour, number_id, template_id, seconds, 1 AS count FROM counted
        UNION ALL
        SELECT campaign_id, hour, number_id, template_id, seconds, 1 FROM moved
        UNION ALL
        SELECT campaign_id, hour_before, number_id, template_id, seconds_before, -1 FROM moved
    ), rolled_up AS (
        INSERT INTO stats_hourly AS roll_up (campaign_id, hour, number_id, template_id, replied)
        SELECT campaign_id, hour, number_id, template_id, sum(count) FROM change
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (campaign_id, hour, number_id, template_id) DO UPDATE
        SET replied = roll_up.replied + EXCLUDED.replied
    ), timed AS (
        INSERT INTO reply_times AS roll_up (campaign_id, hour, number_id, template_id, within_s, replied, seconds)
        SELECT campaign_id, hour, number_id, template_id,
               (SELECT min(bound) FROM unnest(%(within_s)s::integer[]) AS bound WHERE bound >= seconds) AS within_s,
               sum(count), sum(count * seconds)
        FROM change
        GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (campaign_id, hour, number_id, template_id, within_s) DO UPDATE
        SET replied = roll_up.replied + EXCLUDED.replied, seconds = roll_up.seconds + EXCLUDED.seconds
    )
    SELECT said.message_id, template.language
    FROM said JOIN answered USING (n) JOIN templates AS template ON template.id = answered.template_id
"""


def attribute(transaction: Connection, heard: Sequence[Heard]) -> dict[int, str]:
    """Note which campaign message each new message answers, inside the transaction that stored it.

    A message counts as replied once, at the first answer that is no STOP or START, in whatever order they come.
    Returns the language of the template that was answered, by the answer's id in the inbox.
    """
    said = [(one, answer) for one in heard if (answer := answer_of(one.message.type, one.message.content)) is not None]
    if not said:
        return {}
    rows = transaction.execute(
        _ATTRIBUTE,
        {
            "message_ids": [one.message_id for one, _ in said],
            "number_ids": [one.number_id for one, _ in said],
            "ats": [one.message.at for one, _ in said],
            "quoted": [answer.quoted for _, answer in said],
            "by_time": [answer.by_time for _, answer in said],
            "intents": [one.intent for one, _ in said],
            "phones": [" ".join(same_person(one.message.sender)) for one, _ in said],
            "within_s": list(WITHIN_S),
        },
    ).fetchall()
    return dict(rows)
