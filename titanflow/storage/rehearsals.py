"""Rehearsals: their rows, and what a rehearsal reads. It writes nothing but its own row.

A rehearsal that runs belongs to the session that holds its advisory lock, so that one whose process died is known
for dead, whether a server's worker or a command had it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from psycopg.rows import class_row, dict_row

from titanflow.storage.database import Connection, Database, connect
from titanflow.storage.rows import fetch_all, fetch_one

_LOCK = 771302
_BOOT_S = 30.0  # a worker that was started has its lock by then

_COLUMNS = """
    id, campaign_id, state, checked, total, result, error, requested_by, created_at, started_at, finished_at
"""

_KEPT = 50  # for each campaign

_CREATE = """
    WITH old AS (
        DELETE FROM rehearsals WHERE id IN (
            SELECT id FROM rehearsals WHERE campaign_id = %(campaign_id)s AND state <> 'running'
            ORDER BY id DESC OFFSET %(kept)s)
    )
    INSERT INTO rehearsals (campaign_id, requested_by, started_at, total)
    SELECT %(campaign_id)s, %(by)s, CASE WHEN %(started)s THEN now() END,
           coalesce((SELECT sum(pending + claimed + retrying + in_doubt + cancelled + sent + failed + delivered + read)
                     FROM campaign_counters WHERE campaign_id = %(campaign_id)s), 0)
    ON CONFLICT (campaign_id) WHERE state = 'running' DO NOTHING
    RETURNING id
"""

_TAKE_NEXT = """
    UPDATE rehearsals SET started_at = now()
    WHERE id = (SELECT id FROM rehearsals WHERE state = 'running' AND started_at IS NULL
                ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, campaign_id
"""

_BURY = """
    WITH old AS MATERIALIZED (
        SELECT id FROM rehearsals
        WHERE state = 'running' AND started_at < now() - make_interval(secs => %(boot_s)s)
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE rehearsals AS rehearsal SET state = 'failed', finished_at = now(),
        error = 'The process that ran it ended before it was done. Ask for another one.'
    FROM old WHERE rehearsal.id = old.id AND pg_try_advisory_xact_lock(%(lock)s, old.id)
    RETURNING rehearsal.id
"""


def create(db: Database, campaign_id: int, *, by: str, started: bool) -> int | None:
    """Ask for a rehearsal. started: the caller runs it itself. Returns its id; None if one runs already.

    Old ones go: the latest _KEPT of a campaign stay.
    """
    row = fetch_one(db, _CREATE, {"campaign_id": campaign_id, "by": by, "started": started, "kept": _KEPT})
    return int(row["id"]) if row else None


def get(db: Database, campaign_id: int, rehearsal_id: int) -> dict[str, Any] | None:
    """Return a rehearsal as the API shows it."""
    return fetch_one(
        db,
        f"SELECT {_COLUMNS} FROM rehearsals WHERE id = %(id)s AND campaign_id = %(campaign_id)s",  # noqa: S608
        {"id": rehearsal_id, "campaign_id": campaign_id},
    )


def running(db: Database, campaign_id: int) -> dict[str, Any] | None:
    """Return the campaign's rehearsal that is not finished."""
    return fetch_one(
        db,
        f"SELECT {_COLUMNS} FROM rehearsals WHERE campaign_id = %(campaign_id)s AND state = 'running'",  # noqa: S608
        {"campaign_id": campaign_id},
    )


def page(db: Database, campaign_id: int, *, before: int, limit: int) -> list[dict[str, Any]]:
    """Return a campaign's rehearsals without their results, newest first, each with the count of all as `total`."""
    return fetch_all(
        db,
        "SELECT (SELECT count(*) FROM rehearsals WHERE campaign_id = %(campaign_id)s) AS total, id, campaign_id, state,"
        " checked, error, requested_by, created_at, started_at, finished_at FROM rehearsals"
        " WHERE campaign_id = %(campaign_id)s AND id < %(before)s ORDER BY id DESC LIMIT %(limit)s",
        {"campaign_id": campaign_id, "before": before, "limit": limit},
    )


def end(db: Database, rehearsal_id: int, *, state: str, error: str) -> bool:
    """End a rehearsal without a result. Returns False if it had ended already."""
    with db.connection() as connection:
        return bool(
            connection.execute(
                "UPDATE rehearsals SET state = %s, error = %s, finished_at = now() WHERE id = %s AND state = 'running'",
                [state, error, rehearsal_id],
            ).rowcount
        )


def is_running(db: Database, rehearsal_id: int) -> bool:
    """True while a rehearsal is wanted: nobody ended it."""
    row = fetch_one(db, "SELECT FROM rehearsals WHERE id = %(id)s AND state = 'running'", {"id": rehearsal_id})
    return row is not None


def take_next(db: Database) -> dict[str, Any] | None:
    """Take the oldest rehearsal that nobody works on yet. Returns its id and campaign_id."""
    return fetch_one(db, _TAKE_NEXT, {})


def bury(db: Database) -> list[int]:
    """Fail the rehearsals whose process is dead. Returns their ids."""
    return [row["id"] for row in fetch_all(db, _BURY, {"lock": _LOCK, "boot_s": _BOOT_S})]


@dataclass(frozen=True, slots=True)
class Template:
    """One of the campaign's templates, in order."""

    id: int
    meta_template_id: str | None
    waba_id: str
    name: str
    language: str
    status: str
    category: str
    parameter_format: str
    components: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Number:
    """One of the campaign's numbers. shared_with: other campaigns that run on it and still have somebody to send to.

    tier: as the number has it; tier_limit counts if its portfolio is known (None: no limit). throughput: Meta's level.
    slowed_until: when it is back at its own rate after Meta throttled it, None if it is.
    """

    phone_number_id: str
    display_phone_number: str
    waba_id: str
    portfolio_id: str
    portfolio_known: bool
    tier_limit: int | None
    max_mps: int
    tier: str
    throughput: str
    slowed_until: datetime | None
    quality: str
    state: str
    state_reason: str | None
    paused_until: datetime | None
    shared_with: list[str]


@dataclass(frozen=True, slots=True)
class Used:
    """A person who counts for a portfolio with a limit, and since when."""

    portfolio_id: str
    phone: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a rehearsal knows before it reads the contacts. excluded: reason -> people; rejected: import's lines."""

    now: datetime
    templates: list[Template]
    numbers: list[Number]
    used: list[Used]
    excluded: dict[str, int]
    rejected: dict[str, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A contact that is not excluded. suppressed: what the claim excludes it for; state: of its message, if any."""

    id: int
    phone: str
    variables: str
    suppressed: str | None
    state: str | None


_TEMPLATES = """
    SELECT template.id, meta_template_id, waba_id, name, language, status, category, parameter_format, components
    FROM campaign_templates AS link JOIN templates AS template ON template.id = link.template_id
    WHERE link.campaign_id = %(campaign_id)s ORDER BY link.position
"""

_NUMBERS = """
    SELECT number.phone_number_id, number.display_phone_number, number.waba_id,
           coalesce(number.portfolio_id, number.waba_id) AS portfolio_id, portfolio.id IS NOT NULL AS portfolio_known,
           portfolio.tier_limit, number.max_mps, number.tier, number.throughput, number.quality,
           number.shown_state AS state, number.shown_reason AS state_reason, number.paused_until,
           CASE WHEN number.slowed_mps < number.max_mps THEN number.speeds_up_at + make_interval(
               secs => number.full_speed_in_s * (1 - number.slowed_mps / number.max_mps)) END AS slowed_until,
           ARRAY(SELECT other.name FROM campaign_numbers AS shared
                 JOIN campaigns AS other ON other.id = shared.campaign_id AND other.state = 'running'
                 WHERE shared.number_id = number.id AND other.id <> link.campaign_id
                   AND (SELECT sum(pending) FROM campaign_counters WHERE campaign_id = other.id) > 0
                 ORDER BY other.id) AS shared_with
    FROM campaign_numbers AS link JOIN phone_numbers AS number ON number.id = link.number_id
    LEFT JOIN portfolios AS portfolio ON portfolio.id = coalesce(number.portfolio_id, number.waba_id)
    WHERE link.campaign_id = %(campaign_id)s ORDER BY number.id
"""

_USED = """
    SELECT person.portfolio_id, person.phone, person.counted_at AS at
    FROM portfolios AS portfolio JOIN portfolio_people AS person ON person.portfolio_id = portfolio.id
    WHERE portfolio.tier_limit IS NOT NULL AND person.counted_at > now() - interval '24 hours 1 minute'
      AND portfolio.id IN (SELECT coalesce(number.portfolio_id, number.waba_id) FROM campaign_numbers AS link
                           JOIN phone_numbers AS number ON number.id = link.number_id
                           WHERE link.campaign_id = %(campaign_id)s)
    ORDER BY person.counted_at
"""

_EXCLUDED = """
    SELECT excluded_reason, count(*) FROM contacts
    WHERE campaign_id = %(campaign_id)s AND excluded_reason IS NOT NULL GROUP BY excluded_reason
"""

_REJECTED = """
    SELECT reason, sum(count)::bigint FROM (
        SELECT 'duplicate' AS reason, duplicates AS count FROM imports
        WHERE campaign_id = %(campaign_id)s AND state = 'done' AND duplicates > 0
        UNION ALL
        SELECT one.key, one.value::bigint FROM imports, jsonb_each_text(by_reason) AS one
        WHERE campaign_id = %(campaign_id)s AND state = 'done'
    ) AS line GROUP BY reason
"""

# The claim's own question: is the person suppressed at this moment? Whoever has a message that isn't `retrying` is
# past it.
_CANDIDATES = """
    SELECT contact.id, contact.phone, contact.variables::text AS variables, suppression.reason AS suppressed,
           message.state::text AS state
    FROM contacts AS contact
    LEFT JOIN suppressions AS suppression
        ON suppression.phone = contact.phone
        AND (suppression.expires_at IS NULL OR suppression.expires_at > now())
    LEFT JOIN message_logs AS message
        ON message.campaign_id = contact.campaign_id AND message.contact_id = contact.id
    WHERE contact.campaign_id = %(campaign_id)s AND contact.excluded_reason IS NULL AND contact.id > %(after)s
    ORDER BY contact.id LIMIT %(limit)s
"""


class Session:
    """One rehearsal's session: it holds the lock, reads, tells how far it is, and writes the result."""

    def __init__(self, connection: Connection, rehearsal_id: int, campaign_id: int) -> None:
        self._connection, self._id, self.campaign_id = connection, rehearsal_id, campaign_id

    def facts(self) -> Facts:
        """Read what is known before the contacts."""
        parameters = {"campaign_id": self.campaign_id}
        connection = self._connection
        with connection.cursor(row_factory=class_row(Template)) as templates:
            template_rows = templates.execute(_TEMPLATES, parameters).fetchall()
        with connection.cursor(row_factory=class_row(Number)) as numbers:
            number_rows = numbers.execute(_NUMBERS, parameters).fetchall()
        with connection.cursor(row_factory=class_row(Used)) as used:
            used_rows = used.execute(_USED, parameters).fetchall()
        now = connection.execute("SELECT now()").fetchone()
        assert now is not None
        return Facts(
            now=now[0],
            templates=template_rows,
            numbers=number_rows,
            used=used_rows,
            excluded=dict(connection.execute(_EXCLUDED, parameters).fetchall()),
            rejected=dict(connection.execute(_REJECTED, parameters).fetchall()),
        )

    def campaign(self) -> dict[str, Any]:
        """The campaign's own row."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute("SELECT * FROM campaigns WHERE id = %s", [self.campaign_id]).fetchone()
        assert row is not None  # the rehearsal's row would be gone with it
        return row

    def candidates(self, *, batch: int) -> Iterator[list[Candidate]]:
        """Yield the contacts that are not excluded, by id, in batches."""
        after = 0
        while True:
            parameters = {"campaign_id": self.campaign_id, "after": after, "limit": batch}
            with self._connection.cursor(row_factory=class_row(Candidate)) as cursor:
                rows = cursor.execute(_CANDIDATES, parameters).fetchall()
            if not rows:
                return
            after = rows[-1].id
            yield rows

    def tell(self, checked: int) -> bool:
        """Show progress. Returns False if nobody wants the rehearsal any more."""
        statement = "UPDATE rehearsals SET checked = %s WHERE id = %s AND state = 'running'"
        return bool(self._connection.execute(statement, [checked, self._id]).rowcount)

    def finish(self, checked: int, result: dict[str, Any]) -> None:
        """Write the result, unless it was cancelled meanwhile."""
        self._connection.execute(
            "UPDATE rehearsals SET state = 'done', checked = %s, result = %s, finished_at = now()"
            " WHERE id = %s AND state = 'running'",
            [checked, orjson.dumps(result, option=orjson.OPT_UTC_Z).decode(), self._id],
        )

    def fail(self, error: str) -> None:
        """End it with the reason."""
        self._connection.execute(
            "UPDATE rehearsals SET state = 'failed', error = %s, finished_at = now()"
            " WHERE id = %s AND state = 'running'",
            [error, self._id],
        )


@contextmanager
def session(url: str, rehearsal_id: int) -> Iterator[Session | None]:
    """Open a rehearsal's session; None if it has ended, or another process has it."""
    with connect(url, options="-c statement_timeout=120000 -c timezone=UTC") as connection:
        locked = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCK, rehearsal_id]).fetchone()
        row = connection.execute(
            "SELECT campaign_id FROM rehearsals WHERE id = %s AND state = 'running'", [rehearsal_id]
        ).fetchone()
        yield Session(connection, rehearsal_id, row[0]) if locked == (True,) and row is not None else None
