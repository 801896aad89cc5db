"""Pauses and lowered rates of numbers, as rows: they survive a restart and reach the numbers of every node.

One statement decides: an incident counts once, however many answers tell of it; a pause doubles while the trouble goes
on, which is forgotten after a quiet time (ErrorRule.quiet_s); a shorter pause never replaces a longer one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from titanflow.domain.account_events import block_kind
from titanflow.domain.outcomes import ErrorRule
from titanflow.domain.slowdown import SLOWEST_SHARE
from titanflow.storage import alarms, meta_syncs
from titanflow.storage.alarms import Alarm
from titanflow.storage.database import Connection, Database

# A longer pause stops the number's tree and is its state for everybody to see; a shorter one only holds its gate.
LASTING_S = 30.0

# Meta tells the time to wait in minutes: only news of another minute lengthens a pause that goes on.
_NEWS_S = 60.0

# Numbers that met the same outage should not all come back at the same moment.
_JITTER = 0.25


@dataclass(frozen=True, slots=True)
class Brake:
    """What slows a number down. hold_s: nothing may leave for so long (0: no pause). slowed_mps: None at full rate.

    speeds_up_in_s: when the rate begins to recover, negative if it has; throttled: the pause is part of a throttle.
    """

    number_id: int
    phone_number_id: str
    waba_id: str
    hold_s: float
    reason: str
    throttled: bool
    slowed_mps: float | None
    speeds_up_in_s: float
    full_speed_in_s: float


_PAUSE = """
    WITH met AS (
        SELECT CASE %(scope)s WHEN 'number' THEN phone_number_id WHEN 'account' THEN waba_id ELSE '' END AS target
        FROM phone_numbers WHERE id = %(number_id)s
    ), before AS (
        SELECT paused_until > now() AS goes_on
        FROM pauses JOIN met USING (target) WHERE scope = %(scope)s AND code = %(code)s
    ), incident AS (
        INSERT INTO pauses AS known (scope, target, code, reason, throttled, paused_until)
        SELECT %(scope)s, target, %(code)s, %(reason)s, %(throttled)s,
               now() + make_interval(secs => coalesce(%(told_s)s::float8, %(first_s)s * (1 + %(jitter)s * random())))
        FROM met
        ON CONFLICT (scope, target, code) DO UPDATE
        SET repeats = CASE WHEN known.paused_until > now() THEN known.repeats
                           WHEN known.paused_until < now() - make_interval(secs => %(quiet_s)s) THEN 1
                           ELSE known.repeats + 1 END,
            paused_until = now() + make_interval(secs => coalesce(%(told_s)s::float8, least(
                %(longest_s)s,
                %(first_s)s * (1 + %(jitter)s * random())
                    * CASE WHEN known.paused_until < now() - make_interval(secs => %(quiet_s)s) THEN 1
                           ELSE power(2, least(known.repeats, 30)) END))),
            reason = EXCLUDED.reason, throttled = EXCLUDED.throttled
        -- Answers that were in flight when the pause began are no further news.
        WHERE known.paused_until <= now()
           OR known.paused_until + make_interval(secs => %(news_s)s)
              < now() + make_interval(secs => %(told_s)s::float8)
        RETURNING scope, target, paused_until
    ), hit AS MATERIALIZED (
        SELECT number.id, incident.paused_until,
               extract(epoch FROM incident.paused_until - now())::float8 AS pause_s,
               greatest(number.max_mps * %(slowest_share)s, least(number.max_mps, coalesce(
                   number.slowed_mps + number.max_mps
                       * greatest(0, extract(epoch FROM now() - number.speeds_up_at)) / number.full_speed_in_s,
                   number.max_mps)) / 2)::float8 AS halved,
               %(recover_s)s > 0 AND NOT coalesce((SELECT goes_on FROM before), false) AS slows,
               %(stops)s AND incident.paused_until > now() + make_interval(secs => %(lasting_s)s)
                   AND (number.state = 'active' OR (number.state = 'paused'
                        AND coalesce(number.paused_until < incident.paused_until, false))) AS stops
        FROM incident JOIN phone_numbers AS number ON incident.scope = 'app'
            OR (incident.scope = 'account' AND number.waba_id = incident.target)
            OR (incident.scope = 'number' AND number.phone_number_id = incident.target)
        ORDER BY number.id
        FOR UPDATE OF number
    )
    UPDATE phone_numbers AS number
    SET state = CASE WHEN hit.stops THEN 'paused' ELSE number.state END,
        state_reason = CASE WHEN hit.stops THEN %(reason)s ELSE number.state_reason END,
        paused_until = CASE WHEN hit.stops THEN hit.paused_until ELSE number.paused_until END,
        slowed_mps = CASE WHEN hit.slows THEN hit.halved ELSE number.slowed_mps END,
        speeds_up_at = CASE WHEN hit.slows THEN hit.paused_until ELSE number.speeds_up_at END,
        full_speed_in_s = CASE WHEN hit.slows THEN %(recover_s)s ELSE number.full_speed_in_s END,
        updated_at = now()
    FROM hit WHERE number.id = hit.id
    RETURNING number.id AS number_id, number.phone_number_id, number.waba_id, hit.pause_s AS hold_s,
              %(reason)s AS reason, %(throttled)s AS throttled, number.slowed_mps,
              coalesce(extract(epoch FROM number.speeds_up_at - now()), 0)::float8 AS speeds_up_in_s,
              coalesce(number.full_speed_in_s, 1) AS full_speed_in_s
"""


def pause(db: Database, rule: ErrorRule, number_id: int, *, told_s: float | None = None) -> list[Brake]:
    """Pause, and slow down, what a rule asks for: the number, its account's numbers, or all. Raises the rule's alarm.

    told_s: how long Meta itself says. Returns the brakes of all numbers hit; none if this incident is known already.
    """
    parameters = {
        "scope": rule.scope,
        "number_id": number_id,
        "code": rule.code,
        "reason": rule.reason,
        "throttled": rule.action == "slow_down",
        "stops": rule.action == "pause",
        "told_s": max(told_s, rule.pause_s) if told_s is not None else None,
        "first_s": rule.pause_s,
        "longest_s": rule.max_pause_s,
        "quiet_s": rule.quiet_s,
        "jitter": _JITTER if rule.verdict == "doubt" else 0.0,
        "recover_s": rule.recover_s,
        "slowest_share": SLOWEST_SHARE,
        "lasting_s": LASTING_S,
        "news_s": _NEWS_S,
    }
    with db.transaction() as transaction, transaction.cursor(row_factory=class_row(Brake)) as cursor:
        brakes = cursor.execute(_PAUSE, parameters).fetchall()
        if brakes and rule.alarm:
            target = {"number": brakes[0].phone_number_id, "account": brakes[0].waba_id}.get(rule.scope, "")
            alarms.raise_alarm(
                transaction, Alarm(f"{rule.scope}_paused", rule.scope, target, rule.sentence_and_code, rule.fix)
            )
    return brakes


_BRAKES = """
    SELECT number.id AS number_id, number.phone_number_id, number.waba_id,
           coalesce(extract(epoch FROM pause.paused_until - now()), 0)::float8 AS hold_s,
           coalesce(pause.reason, '') AS reason, coalesce(pause.throttled, false) AS throttled, number.slowed_mps,
           coalesce(extract(epoch FROM number.speeds_up_at - now()), 0)::float8 AS speeds_up_in_s,
           coalesce(number.full_speed_in_s, 1) AS full_speed_in_s
    FROM phone_numbers AS number
    LEFT JOIN LATERAL (
        SELECT * FROM pauses
        WHERE paused_until > now() AND (scope, target) IN
            (('number', number.phone_number_id), ('account', number.waba_id), ('app', ''))
        ORDER BY paused_until DESC LIMIT 1
    ) AS pause ON true
    WHERE number.id = ANY(%(number_ids)s)
      AND (pause.paused_until IS NOT NULL
           OR number.speeds_up_at + make_interval(secs => number.full_speed_in_s) > now())
    ORDER BY number.id
"""


def brakes(db: Database, number_ids: Sequence[int]) -> list[Brake]:
    """Return what slows these numbers down at this moment; none for a number at its full rate."""
    with db.connection() as connection, connection.cursor(row_factory=class_row(Brake)) as cursor:
        return cursor.execute(_BRAKES, {"number_ids": list(number_ids)}).fetchall()


_LIFT = """
    UPDATE pauses SET paused_until = now()
    FROM phone_numbers AS number
    WHERE number.phone_number_id = %s AND pauses.paused_until > now()
      AND (scope, target) IN (('number', number.phone_number_id), ('account', number.waba_id), ('app', ''))
"""


def lift(connection: Connection, phone_number_id: str) -> None:
    """End the pauses that hold a number, by an operator's word. How often they came is not forgotten."""
    connection.execute(_LIFT, [phone_number_id])


_DISBELIEF_S = 600.0

_BLOCK = """
    WITH met AS (
        SELECT id, waba_id FROM phone_numbers WHERE id = %(number_id)s
    ), hit AS MATERIALIZED (
        SELECT number.id FROM phone_numbers AS number JOIN met ON %(scope)s = 'app' OR number.id = met.id
            OR (%(scope)s = 'account' AND number.waba_id = met.waba_id)
        WHERE CASE WHEN %(kind)s::text IS NULL THEN number.state <> 'blocked' ELSE number.meta_block IS NULL END
        ORDER BY number.id
        FOR UPDATE OF number
    )
    UPDATE phone_numbers AS number
    SET state = CASE WHEN %(kind)s::text IS NULL THEN 'blocked' ELSE state END,
        state_reason = CASE WHEN %(kind)s::text IS NULL THEN %(reason)s ELSE state_reason END,
        paused_until = CASE WHEN %(kind)s::text IS NOT NULL THEN paused_until END,
        meta_block = CASE WHEN %(kind)s::text IS NULL THEN meta_block ELSE %(reason)s END,
        meta_block_kind = CASE WHEN %(kind)s::text IS NULL THEN meta_block_kind ELSE %(kind)s END,
        -- A poll may find the number connected all the same: believed after a while, else the two would take turns.
        meta_block_until = CASE WHEN %(kind)s::text IS NULL THEN meta_block_until
                                WHEN %(kind)s = 'status' THEN now() + make_interval(secs => %(disbelief_s)s) END,
        updated_at = now()
    FROM hit WHERE number.id = hit.id
    RETURNING number.id, number.phone_number_id, number.waba_id
"""


def block(db: Database, rule: ErrorRule, number_id: int) -> list[int]:
    """Block what a rule asks for, and raise the alarm. Returns the numbers hit by it.

    Until an operator resumes it; or until Meta takes it back, where a poll or an event can tell.
    """
    parameters = {
        "scope": rule.scope,
        "number_id": number_id,
        "reason": rule.reason,
        "kind": block_kind(rule.code),
        "disbelief_s": _DISBELIEF_S,
    }
    with db.transaction() as transaction:
        rows = transaction.execute(_BLOCK, parameters).fetchall()
        if rows:
            meta_syncs.want_numbers(transaction, sorted({row[2] for row in rows}))
            _, phone_number_id, waba_id = rows[0]
            target = {"number": phone_number_id, "account": waba_id}.get(rule.scope, "")
            alarms.raise_alarm(
                transaction, Alarm(f"{rule.scope}_blocked", rule.scope, target, rule.sentence_and_code, rule.fix)
            )
    return [int(row[0]) for row in rows]
