"""What follows when message rows change state: counters, reasons, roll-ups, suppressions. One text for settle, ingest.

A statement that ends in EFFECTS must have a CTE `changed` with the columns campaign_id, contact_id, number_id,
template_id, old_state, new_state, old_code, new_code, newly_failed and those of roll_ups.TIMES, and the parameter
node_id. The rows of `changed` were locked in id order before; here campaigns are locked in id order: writers never
deadlock.
"""

from titanflow.domain.suppression import BY_CODE
from titanflow.storage.portfolios import RECHECK
from titanflow.storage.roll_ups import EVENT, ROLLED_UP

_SUPPRESSING = ", ".join(
    f"({code}, '{one.reason}', {one.first_s or 'NULL'}::float8, {one.longest_s or 'NULL'}::float8)"
    for code, one in BY_CODE.items()
)

EFFECTS = f"""
    {RECHECK}, counted AS (
        INSERT INTO campaign_counters AS counter
            (campaign_id, node_id, claimed, retrying, in_doubt, cancelled, excluded, sent, failed, delivered, read)
        SELECT campaign_id, %(node_id)s,
               count(*) FILTER (WHERE new_state = 'claimed') - count(*) FILTER (WHERE old_state = 'claimed'),
               count(*) FILTER (WHERE new_state = 'retrying') - count(*) FILTER (WHERE old_state = 'retrying'),
               count(*) FILTER (WHERE new_state = 'in_doubt') - count(*) FILTER (WHERE old_state = 'in_doubt'),
               count(*) FILTER (WHERE new_state = 'cancelled') - count(*) FILTER (WHERE old_state = 'cancelled'),
               -count(*) FILTER (WHERE old_state = 'excluded'),
               count(*) FILTER (WHERE new_state = 'sent') - count(*) FILTER (WHERE old_state = 'sent'),
               count(*) FILTER (WHERE new_state = 'failed') - count(*) FILTER (WHERE old_state = 'failed'),
               count(*) FILTER (WHERE new_state = 'delivered') - count(*) FILTER (WHERE old_state = 'delivered'),
               count(*) FILTER (WHERE new_state = 'read') - count(*) FILTER (WHERE old_state = 'read')
        FROM changed WHERE new_state <> old_state
        GROUP BY campaign_id ORDER BY campaign_id
        ON CONFLICT (campaign_id, node_id) DO UPDATE
        SET claimed = counter.claimed + EXCLUDED.claimed, retrying = counter.retrying + EXCLUDED.retrying,
            in_doubt = counter.in_doubt + EXCLUDED.in_doubt, cancelled = counter.cancelled + EXCLUDED.cancelled,
            excluded = counter.excluded + EXCLUDED.excluded, sent = counter.sent + EXCLUDED.sent,
            failed = counter.failed + EXCLUDED.failed, delivered = counter.delivered + EXCLUDED.delivered,
            read = counter.read + EXCLUDED.read
    ), {EVENT}, reasoned AS (
        INSERT INTO campaign_reasons AS counter (campaign_id, node_id, state, reason, count)
        SELECT campaign_id, %(node_id)s, state, reason, sum(delta) FROM (
            SELECT campaign_id, 'failed'::message_state AS state, coalesce(code::text, 'unknown') AS reason,
                   failed AS delta
            FROM event WHERE failed <> 0
            UNION ALL  -- excluded before its next attempt, and now it turns out that the one before had left
            SELECT contact.campaign_id, 'excluded', contact.excluded_reason, -1
            FROM changed JOIN contacts AS contact ON contact.id = changed.contact_id
            WHERE changed.old_state = 'excluded' AND changed.new_state <> 'excluded'
        ) AS one GROUP BY 1, 3, 4 ORDER BY 1, 3, 4
        ON CONFLICT (campaign_id, node_id, state, reason) DO UPDATE SET count = counter.count + EXCLUDED.count
    ), {ROLLED_UP}, refused AS (
        SELECT DISTINCT ON (contact.phone) contact.phone, refusal.code, refusal.reason,
               coalesce(before.repeats, 0) + 1 AS repeats,
               least(refusal.longest_s, refusal.first_s * power(2, least(coalesce(before.repeats, 0), 20))) AS lasts_s
        FROM changed
        JOIN (VALUES {_SUPPRESSING}) AS refusal (code, reason, first_s, longest_s) ON refusal.code = changed.new_code
        JOIN contacts AS contact ON contact.id = changed.contact_id
        LEFT JOIN suppressions AS before ON before.phone = contact.phone AND before.reason = refusal.reason
        WHERE changed.newly_failed
        ORDER BY contact.phone, refusal.first_s DESC NULLS FIRST
    ), suppressed AS (
        INSERT INTO suppressions AS known (phone, reason, source, repeats, expires_at)
        SELECT phone, reason, code::text, repeats, now() + make_interval(secs => lasts_s) FROM refused ORDER BY phone
        ON CONFLICT (phone) DO UPDATE
        SET reason = EXCLUDED.reason, source = EXCLUDED.source, repeats = EXCLUDED.repeats,
            created_at = now(), expires_at = EXCLUDED.expires_at
        -- What has no end stays. A suppression for a time never shortens one, nor replaces an operator's or a person's.
        WHERE known.expires_at IS NOT NULL
          AND (EXCLUDED.expires_at IS NULL OR known.expires_at <= now()
               OR (known.expires_at < EXCLUDED.expires_at AND known.reason NOT IN ('opted_out', 'blacklisted')))
    )
"""  # noqa: S608  (constants only)
