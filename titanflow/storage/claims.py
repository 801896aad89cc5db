"""Claims: taking contacts for sending, durably, before any byte leaves. The fence against sending twice.

One statement, one commit. It holds a share lock on the number's lease and on the campaign: a take-over, a pause or
a cancellation waits for a claim under way, and no claim follows one. A number whose portfolio has a messaging limit
claims by storage/budget_claims.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from titanflow.storage.counters import shard_of
from titanflow.storage.database import Database
from titanflow.storage.earlier_attempts import EARLIER_DUE_AT, EARLIER_STATE
from titanflow.storage.roll_ups import FAILED_AGAIN_IN_WITHDRAWN, ROLLED_UP, SENT_AGAIN

# After so long nobody can be waiting for Meta's answer any more: twice the request's time-out.
IN_DOUBT_AFTER_S = 70


@dataclass(frozen=True, slots=True)
class Sender:
    """Who claims. epoch: of its lease, which is also its incarnation; node_id: which node holds it."""

    node_id: int
    number_id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Claim:
    """One contact of the batch. log_id None: not taken, because the person is suppressed for `suppressed`.

    Both None: the portfolio has no place left for the person (storage/budget_claims only).
    """

    contact_id: int
    log_id: int | None
    attempt: int
    suppressed: str | None


GUARD = """
    lease AS MATERIALIZED (
        SELECT 1 FROM leases
        WHERE kind = 'number' AND resource_id = %(number_id)s AND epoch = %(epoch)s
          AND node_id = %(node_id)s AND expires_at > clock_timestamp()
        FOR SHARE
    ), campaign AS MATERIALIZED (
        SELECT id FROM campaigns
        WHERE id = %(campaign_id)s AND state = 'running' AND EXISTS (SELECT FROM lease)
          AND (window_turns_at IS NULL OR window_turns_at > now())  -- its send window, to the millisecond
        FOR SHARE
    )"""

# Of whom was erased nothing is left that could be sent to (domain/erased.py).
_SUPPRESSED = "coalesce(suppression.reason, CASE WHEN contact.phone LIKE 'erased:%%' THEN 'opted_out' END)"

# Either statement is a candidate, then a CTE `taken` that says which of them may be claimed, then the claim itself.
CANDIDATE = f"""
    WITH {GUARD}, candidate AS MATERIALIZED (
        SELECT contact.id, contact.phone, {_SUPPRESSED} AS suppressed
        FROM campaign
        JOIN contacts AS contact ON contact.campaign_id = campaign.id
        LEFT JOIN suppressions AS suppression
            ON suppression.phone = contact.phone
            AND (suppression.expires_at IS NULL OR suppression.expires_at > now())
        WHERE contact.id = ANY(%(contact_ids)s) AND contact.excluded_reason IS NULL
    )"""  # noqa: S608  (constants only)

CLAIMED = """
    claimed AS (
        -- ON CONFLICT is the fence: a contact taken elsewhere is skipped, it is no error.
        INSERT INTO message_logs
            (campaign_id, contact_id, number_id, template_id, incarnation, state, due_at)
        SELECT %(campaign_id)s, id, %(number_id)s, %(template_id)s, %(epoch)s, 'claimed',
               now() + make_interval(secs => %(in_doubt_after_s)s)
        FROM taken ORDER BY id
        ON CONFLICT (campaign_id, contact_id) DO NOTHING
        RETURNING id, contact_id
    ), counted AS (
        INSERT INTO campaign_counters AS counter (campaign_id, node_id, pending, claimed)
        SELECT %(campaign_id)s, %(shard)s, -count(*), count(*) FROM claimed HAVING count(*) > 0
        ON CONFLICT (campaign_id, node_id) DO UPDATE
        SET pending = counter.pending + EXCLUDED.pending, claimed = counter.claimed + EXCLUDED.claimed
    )"""

RESULT = """
    SELECT contact_id, id AS log_id, 1 AS attempt, NULL AS suppressed FROM claimed
    UNION ALL
    SELECT id, NULL, 1, suppressed FROM candidate WHERE suppressed IS NOT NULL
"""

CANDIDATE_AGAIN = f"""
    WITH {GUARD}, candidate AS MATERIALIZED (
        SELECT message.id, message.contact_id, contact.phone, {_SUPPRESSED} AS suppressed,
               message.number_id, message.template_id, message.sent_at
        FROM campaign
        JOIN message_logs AS message ON message.campaign_id = campaign.id
        JOIN contacts AS contact ON contact.id = message.contact_id
        LEFT JOIN suppressions AS suppression
            ON suppression.phone = contact.phone
            AND (suppression.expires_at IS NULL OR suppression.expires_at > now())
        WHERE message.contact_id = ANY(%(contact_ids)s)
          AND message.state = 'retrying' AND message.due_at <= now()
        ORDER BY message.id
        FOR UPDATE OF message SKIP LOCKED
    )"""  # noqa: S608  (constants only)

CLAIMED_AGAIN = f"""
    kept AS (
        INSERT INTO message_attempts
            (log_id, attempt, number_id, template_id, state, error_code, error_detail, wamid, claimed_at)
        SELECT message.id, message.attempt, message.number_id, message.template_id,
               CASE WHEN message.failed_at IS NOT NULL THEN 'failed' WHEN message.doubted_at IS NOT NULL THEN 'in_doubt'
                    ELSE message.state END,
               message.error_code, message.error_detail, message.wamid, message.claimed_at
        FROM message_logs AS message JOIN taken ON taken.id = message.id
    ), claimed AS (
        UPDATE message_logs AS message
        SET state = 'claimed', attempt = message.attempt + 1, number_id = %(number_id)s,
            template_id = %(template_id)s, incarnation = %(epoch)s, claimed_at = now(),
            due_at = now() + make_interval(secs => %(in_doubt_after_s)s),
            error_code = NULL, error_detail = NULL, wamid = NULL, sent_at = NULL, failed_at = NULL, doubted_at = NULL
        FROM taken WHERE message.id = taken.id
        RETURNING message.id, message.contact_id, message.attempt
    ), counted AS (
        INSERT INTO campaign_counters AS counter (campaign_id, node_id, retrying, claimed)
        SELECT %(campaign_id)s, %(shard)s, -count(*), count(*) FROM claimed HAVING count(*) > 0
        ON CONFLICT (campaign_id, node_id) DO UPDATE
        SET retrying = counter.retrying + EXCLUDED.retrying, claimed = counter.claimed + EXCLUDED.claimed
    ), {SENT_AGAIN}"""  # noqa: S608  (constants only)

RESULT_AGAIN = """
    SELECT contact_id, id AS log_id, attempt, NULL AS suppressed FROM claimed
    UNION ALL
    SELECT contact_id, NULL, 0, suppressed FROM candidate WHERE suppressed IS NOT NULL
"""

_ALL = "taken AS (SELECT id FROM candidate WHERE suppressed IS NULL)"
_CLAIM = f"{CANDIDATE}, {_ALL}, {CLAIMED} {RESULT}"
_CLAIM_AGAIN = f"{CANDIDATE_AGAIN}, {_ALL}, {CLAIMED_AGAIN} {RESULT_AGAIN}"

# A statement of its own: it locks the campaign against every claim, so that no contact can be claimed
# by one transaction and excluded by another. Suppressed people are few; this is rare.
_LOCK_CAMPAIGN = "SELECT FROM campaigns WHERE id = %(campaign_id)s FOR UPDATE"

# Whose earlier attempt failed or may have been sent stays that: "excluded" would say that nobody ever tried.
_EXCLUDE = f"""
    WITH suppressed AS MATERIALIZED (
        SELECT contact.id, {_SUPPRESSED} AS reason
        FROM contacts AS contact
        LEFT JOIN suppressions AS suppression
            ON suppression.phone = contact.phone
            AND (suppression.expires_at IS NULL OR suppression.expires_at > now())
        WHERE contact.id = ANY(%(contact_ids)s) AND contact.campaign_id = %(campaign_id)s
          AND contact.excluded_reason IS NULL AND {_SUPPRESSED} IS NOT NULL
    ), withdrawn AS (
        UPDATE message_logs AS message
        SET state = coalesce({EARLIER_STATE}, 'excluded'), due_at = {EARLIER_DUE_AT}
        FROM suppressed
        WHERE message.campaign_id = %(campaign_id)s AND message.contact_id = suppressed.id
          AND message.state = 'retrying'
        RETURNING message.contact_id, message.campaign_id, message.number_id, message.template_id, message.state,
                  message.error_code, message.failed_at
    ), excluded AS (
        UPDATE contacts AS contact
        SET excluded_reason = suppressed.reason
        FROM suppressed
        WHERE contact.id = suppressed.id
          AND (suppressed.id IN (SELECT contact_id FROM withdrawn WHERE state = 'excluded')
               OR NOT EXISTS (SELECT FROM message_logs AS message
                              WHERE message.campaign_id = %(campaign_id)s
                                AND message.contact_id = suppressed.id))
        RETURNING contact.id, suppressed.reason
    ), counted AS (
        INSERT INTO campaign_counters AS counter
            (campaign_id, node_id, pending, retrying, excluded, failed, in_doubt)
        SELECT %(campaign_id)s, %(shard)s, again.excluded - alone.count, -again.count, alone.count, again.failed,
               again.in_doubt
        FROM (SELECT count(*) FROM excluded) AS alone,
             (SELECT count(*), count(*) FILTER (WHERE state = 'excluded') AS excluded,
                     count(*) FILTER (WHERE state = 'failed') AS failed,
                     count(*) FILTER (WHERE state = 'in_doubt') AS in_doubt FROM withdrawn) AS again
        WHERE alone.count + again.count > 0
        ON CONFLICT (campaign_id, node_id) DO UPDATE
        SET pending = counter.pending + EXCLUDED.pending, retrying = counter.retrying + EXCLUDED.retrying,
            excluded = counter.excluded + EXCLUDED.excluded, failed = counter.failed + EXCLUDED.failed,
            in_doubt = counter.in_doubt + EXCLUDED.in_doubt
    ), reason AS (
        SELECT 'excluded'::message_state AS state, reason FROM excluded
        UNION ALL
        SELECT state, coalesce(error_code::text, 'unknown') FROM withdrawn WHERE state = 'failed'
    ), reasoned AS (
        INSERT INTO campaign_reasons AS counter (campaign_id, node_id, state, reason, count)
        SELECT %(campaign_id)s, %(shard)s, state, reason, count(*) FROM reason GROUP BY state, reason
        ON CONFLICT (campaign_id, node_id, state, reason) DO UPDATE SET count = counter.count + EXCLUDED.count
    ), {FAILED_AGAIN_IN_WITHDRAWN}, {ROLLED_UP}
    SELECT count(*) FROM excluded
"""  # noqa: S608  (constants only)


def claim(
    db: Database,
    contact_ids: Sequence[int],
    *,
    campaign_id: int,
    template_id: int,
    sender: Sender,
    again: bool = False,
) -> list[Claim]:
    """Take contacts for sending, durably, before any byte leaves.

    contact_ids: at most 500, in any order. again: they were refused for the time being (`retrying`) and are due.
    Returns one Claim per contact taken; one that is missing was claimed or cancelled meanwhile: send nothing to it.
    A suppressed person becomes `excluded` here and is not taken; one whose earlier attempt failed or may have been
    sent becomes that again. Nothing is taken unless the campaign runs and the
    sender still holds the lease.
    Raises StorageUnavailable: what was claimed, if anything, will be found in doubt.
    """
    parameters = claim_parameters(contact_ids, campaign_id=campaign_id, template_id=template_id, sender=sender)
    with db.connection() as connection, connection.cursor(row_factory=class_row(Claim)) as cursor:
        claims = cursor.execute(_CLAIM_AGAIN if again else _CLAIM, parameters).fetchall()
    exclude_suppressed(db, claims, parameters)
    return [claim for claim in claims if claim.log_id is not None]


def claim_parameters(
    contact_ids: Sequence[int], *, campaign_id: int, template_id: int, sender: Sender
) -> dict[str, object]:
    """Return the parameters of the statements that the texts above make."""
    return {
        "contact_ids": list(contact_ids),
        "campaign_id": campaign_id,
        "template_id": template_id,
        "number_id": sender.number_id,
        "node_id": sender.node_id,
        "shard": shard_of(sender.number_id),
        "epoch": sender.epoch,
        "in_doubt_after_s": IN_DOUBT_AFTER_S,
    }


def exclude_suppressed(db: Database, claims: Sequence[Claim], parameters: Mapping[str, object]) -> None:
    """Exclude those of a claim who are suppressed; nothing if nobody is."""
    suppressed = [claim.contact_id for claim in claims if claim.suppressed is not None]
    if suppressed:
        with db.transaction() as transaction:
            transaction.execute(_LOCK_CAMPAIGN, parameters)
            transaction.execute(_EXCLUDE, {**parameters, "contact_ids": suppressed})


_SWEEP = """
    WITH stale AS MATERIALIZED (
        SELECT id FROM message_logs
        WHERE campaign_id = ANY(%(campaign_ids)s) AND due_at IS NOT NULL AND state = 'claimed'
          AND (due_at < now() OR (number_id = %(number_id)s::integer AND incarnation <> %(epoch)s::bigint))
        ORDER BY id LIMIT 5000
        FOR UPDATE
    ), doubted AS (
        UPDATE message_logs AS message
        SET state = 'in_doubt', due_at = now()
        FROM stale WHERE message.id = stale.id
        RETURNING message.campaign_id
    ), counted AS (
        INSERT INTO campaign_counters AS counter (campaign_id, node_id, claimed, in_doubt)
        SELECT campaign_id, %(node_id)s, -count(*), count(*) FROM doubted GROUP BY campaign_id ORDER BY campaign_id
        ON CONFLICT (campaign_id, node_id) DO UPDATE
        SET claimed = counter.claimed + EXCLUDED.claimed, in_doubt = counter.in_doubt + EXCLUDED.in_doubt
    )
    SELECT count(*) FROM doubted
"""

_CAMPAIGNS_OF_NUMBER = """
    SELECT coalesce(array_agg(id), '{}') FROM campaigns
    WHERE %(number_id)s::integer IS NULL
       OR id IN (SELECT campaign_id FROM campaign_numbers WHERE number_id = %(number_id)s)
"""


def doubt(db: Database, *, node_id: int, number_id: int | None = None, epoch: int | None = None) -> int:
    """Move claims that nobody can be working on any more to `in_doubt`. Returns how many.

    Always those older than IN_DOUBT_AFTER_S; with a number and the epoch of its new sender also all claims of that
    number's earlier senders, whose lease is gone. Raises StorageUnavailable.
    """
    parameters: dict[str, object] = {"node_id": node_id, "number_id": number_id, "epoch": epoch}
    total = 0
    with db.connection() as connection:
        row = connection.execute(_CAMPAIGNS_OF_NUMBER, parameters).fetchone()
        parameters = {**parameters, "campaign_ids": row[0] if row else []}
        while True:
            swept = connection.execute(_SWEEP, parameters).fetchone()
            count = int(swept[0]) if swept else 0
            total += count
            if count < 5000:
                return total
