"""Campaigns: rows and state changes. Each change of state is one compare-and-set with who and why."""

from typing import Any

import orjson

from titanflow.storage.database import Connection, Database
from titanflow.storage.earlier_attempts import EARLIER_DUE_AT, EARLIER_STATE
from titanflow.storage.roll_ups import FAILED_AGAIN_IN_SETTLED, ROLLED_UP
from titanflow.storage.rows import fetch_all, fetch_one


def insert(db: Database, values: dict[str, Any], *, template_ids: list[int], number_ids: list[str]) -> int:
    """Insert a draft with its templates and numbers (Meta's ids). Returns its id."""
    with db.transaction() as transaction:
        row = transaction.execute(
            "INSERT INTO campaigns (name, variables, media, default_country, schedule_at, max_mps, dedupe_days,"
            " audience_cap, send_window, resend_after_hours) VALUES (%(name)s, %(variables)s, %(media)s,"
            " %(default_country)s, %(schedule_at)s, %(max_mps)s, %(dedupe_days)s, %(audience_cap)s,"
            " %(send_window)s, %(resend_after_hours)s) RETURNING id",
            _json(values),
        ).fetchone()
        assert row is not None
        campaign_id = int(row[0])
        transaction.execute("INSERT INTO campaign_counters (campaign_id, node_id) VALUES (%s, 0)", [campaign_id])
        transaction.execute("INSERT INTO campaign_cursors (campaign_id) VALUES (%s)", [campaign_id])
        _link(transaction, campaign_id, template_ids, number_ids)
    return campaign_id


# Without its time a scheduled campaign is merely ready; one that waits for its window is decided about anew.
_UPDATE = """
    UPDATE campaigns SET name = %(name)s, variables = %(variables)s, media = %(media)s,
        default_country = %(default_country)s, schedule_at = %(schedule_at)s, max_mps = %(max_mps)s,
        dedupe_days = %(dedupe_days)s, audience_cap = %(audience_cap)s, send_window = %(send_window)s,
        resend_after_hours = %(resend_after_hours)s, updated_at = now(),
        state = CASE WHEN state = 'scheduled' AND %(schedule_at)s::timestamptz IS NULL THEN 'ready' ELSE state END,
        window_turns_at = CASE WHEN state = 'paused' AND state_by = 'send_window' THEN now() END
    WHERE id = %(id)s AND state IN ('draft', 'ready', 'scheduled', 'paused')
    RETURNING id
"""


def update(
    db: Database,
    campaign_id: int,
    values: dict[str, Any],
    *,
    template_ids: list[int] | None,
    number_ids: list[str] | None,
) -> bool:
    """Replace a campaign's fields. Returns False unless it is draft, ready, scheduled or paused."""
    with db.transaction() as transaction:
        row = transaction.execute(
            _UPDATE,
            {**_json(values), "id": campaign_id},
        ).fetchone()
        if row is not None:
            _link(transaction, campaign_id, template_ids, number_ids)
    return row is not None


def _json(values: dict[str, Any]) -> dict[str, Any]:
    window, policy = values.get("send_window"), values.get("doubt_policy")
    return {
        **values,
        "send_window": orjson.dumps(window).decode() if window else None,
        "resend_after_hours": policy["resend_after_hours"] if isinstance(policy, dict) else None,
        "variables": orjson.dumps(values["variables"]).decode(),
        "media": orjson.dumps(values["media"]).decode(),
    }


def _link(
    transaction: Connection, campaign_id: int, template_ids: list[int] | None, number_ids: list[str] | None
) -> None:
    if template_ids is not None:
        transaction.execute("DELETE FROM campaign_templates WHERE campaign_id = %s", [campaign_id])
        transaction.execute(
            "INSERT INTO campaign_templates (campaign_id, position, template_id)"
            " SELECT %s, n, id FROM unnest(%s::integer[]) WITH ORDINALITY AS one (id, n)",
            [campaign_id, template_ids],
        )
    if number_ids is not None:
        transaction.execute("DELETE FROM campaign_numbers WHERE campaign_id = %s", [campaign_id])
        transaction.execute(
            "INSERT INTO campaign_numbers (campaign_id, number_id)"
            " SELECT %s, id FROM phone_numbers WHERE phone_number_id = ANY(%s)",
            [campaign_id, number_ids],
        )


def get(db: Database, campaign_id: int) -> dict[str, Any] | None:
    """Return a campaign with its templates' and numbers' ids."""
    return fetch_one(
        db,
        "SELECT campaign.id, name, state, state_by, state_reason, variables, media, default_country, schedule_at,"
        " max_mps, dedupe_days, audience_cap, created_at, updated_at, started_at, completed_at, closed_at, send_window,"
        " CASE WHEN state = 'paused' AND state_by = 'send_window' THEN window_turns_at END AS resumes_at,"
        " CASE WHEN state = 'running' THEN window_turns_at END AS pauses_at,"
        " CASE WHEN resend_after_hours IS NULL THEN to_jsonb('never_resend'::text)"
        " ELSE jsonb_build_object('resend_after_hours', resend_after_hours) END AS doubt_policy,"
        " ARRAY(SELECT template_id FROM campaign_templates WHERE campaign_id = campaign.id ORDER BY position)"
        " AS template_ids,"
        " ARRAY(SELECT phone_number_id FROM campaign_numbers JOIN phone_numbers AS number ON number.id = number_id"
        " WHERE campaign_id = campaign.id ORDER BY number.id) AS phone_number_ids"
        " FROM campaigns AS campaign WHERE campaign.id = %(id)s",
        {"id": campaign_id},
    )


def page(db: Database, *, before: int, limit: int) -> list[dict[str, Any]]:
    """Return campaigns, newest first, those with an id below `before`, each with the count of all as `total`."""
    return fetch_all(
        db,
        "SELECT (SELECT count(*) FROM campaigns) AS total, id, name, state, state_by, state_reason, created_at,"
        " started_at, completed_at, closed_at FROM campaigns WHERE id < %(before)s ORDER BY id DESC LIMIT %(limit)s",
        {"before": before, "limit": limit},
    )


def missing_for_start(db: Database, campaign_id: int) -> dict[str, Any]:
    """Return what a start would lack: has_template, approved, same_account, has_number, has_contacts."""
    row = fetch_one(
        db,
        "SELECT EXISTS (SELECT FROM campaign_templates WHERE campaign_id = %(id)s) AS has_template,"
        " EXISTS (SELECT FROM campaign_templates JOIN templates AS template ON template.id = template_id"
        " WHERE campaign_id = %(id)s AND template.status = 'APPROVED') AS approved,"
        " NOT EXISTS (SELECT FROM campaign_templates AS link JOIN templates AS template"
        " ON template.id = link.template_id JOIN campaign_numbers AS other ON other.campaign_id = link.campaign_id"
        " JOIN phone_numbers AS number ON number.id = other.number_id"
        " WHERE link.campaign_id = %(id)s AND number.waba_id <> template.waba_id) AS same_account,"
        " EXISTS (SELECT FROM campaign_numbers WHERE campaign_id = %(id)s) AS has_number,"
        " EXISTS (SELECT FROM contacts WHERE campaign_id = %(id)s AND excluded_reason IS NULL) AS has_contacts",
        {"id": campaign_id},
    )
    assert row is not None
    return row


# Where a campaign that should run goes: it waits for its time, then for its send window, which decides at once
# (window_turns_at is due); only one that has neither runs right away.
_CHANGE_STATE = """
    UPDATE campaigns AS campaign
    SET state = target.state, updated_at = now(), completed_at = NULL,
        state_by = CASE WHEN target.by_window THEN 'send_window' ELSE %(by)s END,
        state_reason = %(reason)s,
        window_turns_at = CASE WHEN target.by_window THEN now() END,
        started_at = CASE WHEN target.state = 'running' THEN coalesce(started_at, now()) ELSE started_at END
    FROM (
        SELECT id, %(to)s::text = 'running' AND send_window IS NOT NULL AND NOT coalesce(schedule_at > now(), false)
                   AS by_window,
               CASE WHEN %(to)s <> 'running' THEN %(to)s
                    WHEN schedule_at > now() THEN 'scheduled'
                    WHEN send_window IS NOT NULL THEN 'paused'
                    ELSE 'running' END AS state
        FROM campaigns
        WHERE id = %(id)s
          AND closed_at IS NULL
          AND (state = ANY(%(allowed)s) OR (%(from_window)s AND state = 'paused' AND state_by = 'send_window'))
        FOR UPDATE
    ) AS target
    WHERE campaign.id = target.id
    RETURNING campaign.id
"""


def change_state(
    db: Database,
    campaign_id: int,
    *,
    to: str,
    allowed: list[str],
    by: str,
    reason: str | None = None,
    from_window: bool = False,
) -> bool:
    """Move a campaign to a state if it is in one of `allowed`. Returns if it did.

    to `running`: it becomes `scheduled` while its schedule_at is still to come, and one with a send window becomes
    `paused` by it, due at once: let the window decide next. from_window: also take it from its window's pause.
    """
    parameters = {
        "id": campaign_id, "to": to, "allowed": allowed, "by": by, "reason": reason, "from_window": from_window,
    }  # fmt: skip
    return fetch_one(db, _CHANGE_STATE, parameters) is not None


def lock_state(transaction: Connection, campaign_id: int) -> str | None:
    """Return a campaign's state and hold it until the transaction ends: no claim, pause or completion meanwhile.

    "closed" if its messages are being deleted, whatever its state was.
    """
    row = transaction.execute(
        "SELECT CASE WHEN closed_at IS NULL THEN state ELSE 'closed' END FROM campaigns WHERE id = %s"
        " FOR NO KEY UPDATE",
        [campaign_id],
    ).fetchone()
    return str(row[0]) if row else None


def reopen(transaction: Connection, campaign_id: int, *, by: str) -> None:
    """Let a completed campaign run again, inside its send window."""
    transaction.execute(
        _CHANGE_STATE,
        {"id": campaign_id, "to": "running", "allowed": ["completed"], "by": by, "reason": None, "from_window": False},
    )


# Whoever waits for a retry goes back to what is true of the attempt before: it failed, or it may have been sent.
_CANCEL_RETRYING = f"""
    WITH settled AS (
        UPDATE message_logs AS message
        SET state = coalesce({EARLIER_STATE}, 'cancelled'), due_at = {EARLIER_DUE_AT}
        WHERE campaign_id = %(id)s AND due_at IS NOT NULL AND state = 'retrying'
        RETURNING campaign_id, number_id, template_id, state, error_code, failed_at
    ), {FAILED_AGAIN_IN_SETTLED}, {ROLLED_UP}, waiting AS (
        -- The counters are exact, and nobody is claimed or excluded while the campaign's row is locked. Counting the
        -- rows would hold up everyone who waits for that lock, for as long as the list is long.
        SELECT coalesce(sum(pending), 0)::bigint AS count FROM campaign_counters WHERE campaign_id = %(id)s
    ), reasoned AS (
        INSERT INTO campaign_reasons AS counter (campaign_id, node_id, state, reason, count)
        SELECT %(id)s, 0, 'failed', coalesce(error_code::text, 'unknown'), count(*)
        FROM settled WHERE state = 'failed' GROUP BY 4
        ON CONFLICT (campaign_id, node_id, state, reason) DO UPDATE SET count = counter.count + EXCLUDED.count
    )
    INSERT INTO campaign_counters AS counter (campaign_id, node_id, pending, retrying, cancelled, failed, in_doubt)
    SELECT %(id)s, 0, -waiting.count, -retried.count, waiting.count + retried.cancelled, retried.failed,
           retried.in_doubt
    FROM waiting, (SELECT count(*) AS count, count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
                          count(*) FILTER (WHERE state = 'failed') AS failed,
                          count(*) FILTER (WHERE state = 'in_doubt') AS in_doubt FROM settled) AS retried
    ON CONFLICT (campaign_id, node_id) DO UPDATE
    SET pending = counter.pending + EXCLUDED.pending, retrying = counter.retrying + EXCLUDED.retrying,
        cancelled = counter.cancelled + EXCLUDED.cancelled, failed = counter.failed + EXCLUDED.failed,
        in_doubt = counter.in_doubt + EXCLUDED.in_doubt
"""  # noqa: S608  (constants only)


def cancel(db: Database, campaign_id: int, *, by: str, reason: str) -> bool:
    """Cancel a campaign and everybody who still waits, in one transaction. Returns False if its state forbids it.

    The update of the campaign's row waits for claims under way, and no claim follows it.
    """
    with db.transaction() as transaction:
        transaction.execute("SET LOCAL statement_timeout = '120s'")
        row = transaction.execute(
            "UPDATE campaigns SET state = 'cancelled', state_by = %(by)s, state_reason = %(reason)s,"
            " updated_at = now(), window_turns_at = NULL"
            " WHERE id = %(id)s AND state IN ('draft', 'ready', 'scheduled', 'running', 'paused') RETURNING id",
            {"id": campaign_id, "by": by, "reason": reason},
        ).fetchone()
        if row is not None:
            transaction.execute(_CANCEL_RETRYING, {"id": campaign_id})
    return row is not None
