"""What should run: campaigns that run, their numbers and templates; and the pauses that engines put on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row

from titanflow.domain.live import NumberState
from titanflow.storage import alarms, meta_syncs
from titanflow.storage.alarms import Alarm
from titanflow.storage.database import Connection, Database
from titanflow.storage.send_windows import TURNS, WindowTurn


@dataclass(frozen=True, slots=True)
class NumberConfig:
    """A phone number as its tree needs it. access_token: encrypted. paused_s: seconds of a pause still to go.

    portfolio_id: set if its portfolio has a messaging limit. replies_due: the outbox has something for it to send now.
    """

    id: int
    phone_number_id: str
    waba_id: str
    access_token: bytes
    max_mps: int
    state: str
    state_reason: str | None
    paused_s: float | None
    portfolio_id: str | None
    replies_due: bool = False


@dataclass(frozen=True, slots=True)
class CampaignConfig:
    """A running campaign. number_ids: those that may send now; all_number_ids: also paused and blocked ones."""

    id: int
    max_mps: int | None
    number_ids: list[int]
    all_number_ids: list[int]


@dataclass(frozen=True, slots=True)
class Desired:
    """The whole desired state at one moment. started: those whose time had come; turns: windows, see send_windows."""

    campaigns: dict[int, CampaignConfig]
    numbers: dict[int, NumberConfig]
    started: tuple[int, ...] = ()
    turns: tuple[WindowTurn, ...] = ()


_START_SCHEDULED = """
    -- One that has a send window is handed to it: it decides in the same round.
    UPDATE campaigns SET updated_at = now(), state_reason = NULL,
        state = CASE WHEN send_window IS NULL THEN 'running' ELSE 'paused' END,
        state_by = CASE WHEN send_window IS NULL THEN 'scheduler' ELSE 'send_window' END,
        window_turns_at = CASE WHEN send_window IS NULL THEN NULL ELSE now() END,
        started_at = CASE WHEN send_window IS NULL THEN coalesce(started_at, now()) ELSE started_at END
    WHERE state = 'scheduled' AND schedule_at <= now()
    RETURNING id
"""

_END_PAUSES = """
    UPDATE phone_numbers SET state = 'active', state_reason = NULL, paused_until = NULL, updated_at = now()
    WHERE state = 'paused' AND paused_until <= now()
"""

_CAMPAIGNS = """
    SELECT campaign.id, campaign.max_mps,
           coalesce(array_agg(number.id ORDER BY number.id) FILTER (WHERE number.shown_state = 'active'), '{}')
               AS number_ids,
           coalesce(array_agg(number.id ORDER BY number.id) FILTER (WHERE number.id IS NOT NULL), '{}')
               AS all_number_ids
    FROM campaigns AS campaign
    LEFT JOIN campaign_numbers AS link ON link.campaign_id = campaign.id
    LEFT JOIN phone_numbers AS number ON number.id = link.number_id
    WHERE campaign.state = 'running'
    GROUP BY campaign.id
"""

# Numbers of running campaigns, and those with replies; for a minute after the last one, since another may follow.
_NUMBERS = """
    SELECT number.id, number.phone_number_id, number.waba_id, number.access_token, number.max_mps,
           number.shown_state AS state, number.shown_reason AS state_reason,
           extract(epoch FROM number.paused_until - now())::float8 AS paused_s,
           portfolio.id AS portfolio_id,
           EXISTS (SELECT FROM inbox_messages AS reply
                   WHERE reply.number_id = number.id AND reply.state = 'queued' AND reply.due_at <= now())
               AS replies_due
    FROM phone_numbers AS number
    LEFT JOIN portfolios AS portfolio
        ON portfolio.id = coalesce(number.portfolio_id, number.waba_id) AND portfolio.tier_limit IS NOT NULL
    WHERE EXISTS (SELECT FROM campaign_numbers AS link
                  JOIN campaigns AS campaign ON campaign.id = link.campaign_id AND campaign.state = 'running'
                  WHERE link.number_id = number.id)
       OR EXISTS (SELECT FROM inbox_messages AS reply
                  WHERE reply.number_id = number.id AND reply.state IN ('queued', 'claimed'))
       OR EXISTS (SELECT FROM inbox_messages AS reply
                  WHERE reply.number_id = number.id AND reply.direction = 'outbound'
                    AND reply.at > now() - interval '1 minute')
"""


def load(db: Database) -> Desired:
    """Start what is due, end pauses that are over, and return what should run."""
    with db.connection() as connection, connection.pipeline():
        started = connection.execute(_START_SCHEDULED)
        connection.execute(_END_PAUSES)
        turns = connection.cursor(row_factory=class_row(WindowTurn)).execute(TURNS)
        with connection.cursor(row_factory=class_row(CampaignConfig)) as campaign_cursor:
            campaign_cursor.execute(_CAMPAIGNS)
            with connection.cursor(row_factory=class_row(NumberConfig)) as number_cursor:
                number_cursor.execute(_NUMBERS)
                campaigns = {campaign.id: campaign for campaign in campaign_cursor.fetchall()}
                numbers = {number.id: number for number in number_cursor.fetchall()}
                due = tuple(turns.fetchall())
                begun = tuple(int(row[0]) for row in started.fetchall())
    return Desired(campaigns, numbers, begun, due)


def window_turns(db: Database) -> list[WindowTurn]:
    """Return the campaigns whose send window turns within a second, or should have."""
    with db.connection() as connection, connection.cursor(row_factory=class_row(WindowTurn)) as cursor:
        return cursor.execute(TURNS).fetchall()


def number_states(db: Database, campaign_id: int) -> list[NumberState]:
    """Return how a campaign's numbers stand."""
    with db.connection() as connection, connection.cursor(row_factory=class_row(NumberState)) as cursor:
        return cursor.execute(
            "SELECT number.phone_number_id, number.shown_state AS state, number.shown_reason AS reason,"
            " number.paused_until AS until FROM campaign_numbers AS link"
            " JOIN phone_numbers AS number ON number.id = link.number_id"
            " WHERE link.campaign_id = %s ORDER BY number.id",
            [campaign_id],
        ).fetchall()


@dataclass(frozen=True, slots=True)
class SendableTemplate:
    """One of a campaign's templates, with what the campaign binds to it."""

    id: int
    name: str
    language: str
    status: str
    components: list[dict[str, Any]]
    variables: dict[str, Any]
    media: dict[str, Any]


def templates(db: Database, campaign_id: int) -> list[SendableTemplate]:
    """Return a campaign's templates in order, the approved ones first to be used."""
    with db.connection() as connection, connection.cursor(row_factory=class_row(SendableTemplate)) as cursor:
        return cursor.execute(
            "SELECT template.id, template.name, template.language, template.status, template.components,"
            " campaign.variables, campaign.media"
            " FROM campaign_templates AS link JOIN templates AS template ON template.id = link.template_id"
            " JOIN campaigns AS campaign ON campaign.id = link.campaign_id"
            " WHERE link.campaign_id = %s ORDER BY link.position",
            [campaign_id],
        ).fetchall()


def stop_template(db: Database, template_id: int, *, status: str) -> bool:
    """Keep that Meta no longer lets this template be sent, until a sync or a webhook says otherwise.

    Returns False if that was known.
    """
    with db.transaction() as transaction:
        known = transaction.execute(
            "SELECT waba_id FROM templates WHERE id = %s AND status = 'APPROVED'", [template_id]
        ).fetchone()
        if known is None:
            return False
        meta_syncs.want_templates(transaction, [known[0]])  # first, as account_news locks them
        stopped = transaction.execute(
            # Its list may go on saying APPROVED: believed again after a minute, longer each time.
            "UPDATE templates SET status = %s, updated_at = now(), refusals = refusals + 1,"
            " refused_until = now() + make_interval(secs => 60 * 2 ^ least(refusals, 6))"
            " WHERE id = %s AND status = 'APPROVED' RETURNING waba_id",
            [status, template_id],
        ).fetchone()
        return stopped is not None


def reread_template(db: Database, template_id: int) -> None:
    """Have a template's account read again: Meta refused what the template that we know would allow."""
    with db.connection() as connection:
        row = connection.execute("SELECT waba_id FROM templates WHERE id = %s", [template_id]).fetchone()
        if row is not None:
            meta_syncs.want_templates(connection, [row[0]])


def pause_campaigns(connection: Connection, campaign_ids: Sequence[int], *, by: str, reason: str) -> list[int]:
    """Pause running campaigns for a reason that people can read, with an alarm if the engine does it.

    Returns those it paused: none that were paused already.
    """
    with connection.transaction():
        rows = connection.execute(
            "UPDATE campaigns SET state = 'paused', state_by = %s, state_reason = %s, updated_at = now()"
            " WHERE id = ANY(%s) AND state = 'running' RETURNING id",
            [by, reason, list(campaign_ids)],
        ).fetchall()
        for (campaign_id,) in rows if by == "engine" else []:
            sentence, fix = reason.removesuffix("."), "Solve it, then resume the campaign."
            alarms.raise_alarm(connection, Alarm("campaign_paused", "campaign", str(campaign_id), sentence, fix))
    return [int(row[0]) for row in rows]
