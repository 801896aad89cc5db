"""Imports: their rows, and the one transaction that merges a staged file into a campaign."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from titanflow.domain.erased import pads
from titanflow.storage import erasures
from titanflow.storage.database import Connection, Database, connect
from titanflow.storage.rows import fetch_all, fetch_one


def create(db: Database, campaign_id: int, *, file: str, default_country: str | None) -> dict[str, Any] | None:
    """Begin an import: the campaign becomes `importing`. Returns None unless it was draft or ready."""
    row = fetch_one(
        db,
        "WITH campaign AS (UPDATE campaigns SET state = 'importing', state_by = 'import', updated_at = now()"
        " WHERE id = %(id)s AND state IN ('draft', 'ready') RETURNING id, default_country)"
        " INSERT INTO imports (campaign_id, file, default_country)"
        " SELECT id, %(file)s, coalesce(%(country)s, default_country) FROM campaign RETURNING id",
        {"id": campaign_id, "file": file, "country": default_country},
    )
    return get(db, campaign_id, row["id"]) if row else None


def get(db: Database, campaign_id: int, import_id: int) -> dict[str, Any] | None:
    """Return an import as the API shows it."""
    return fetch_one(
        db,
        "SELECT id, campaign_id, state, rows, accepted, duplicates, rejected, by_reason, first_errors, error,"
        " created_at, finished_at FROM imports WHERE id = %(id)s AND campaign_id = %(campaign_id)s",
        {"id": import_id, "campaign_id": campaign_id},
    )


def rejects(db: Database, import_id: int, *, after: int, limit: int) -> list[dict[str, Any]]:
    """Return rejected lines in order, those behind `after`."""
    return fetch_all(
        db,
        "SELECT line, reason, value FROM import_rejects WHERE import_id = %(id)s AND line > %(after)s"
        " ORDER BY line LIMIT %(limit)s",
        {"id": import_id, "after": after, "limit": limit},
    )


def running(db: Database) -> list[dict[str, Any]]:
    """Return the imports that are not finished."""
    return fetch_all(db, "SELECT id, campaign_id, file FROM imports WHERE state = 'running' ORDER BY id", {})


def fail(db: Database, import_id: int, *, error: str, state: str = "failed") -> None:
    """End an import without any of its contacts; its campaign is what it was before."""
    with db.transaction() as transaction:
        _end(transaction, import_id, error=error, state=state)


def _end(transaction: Connection, import_id: int, *, error: str, state: str) -> None:
    row = transaction.execute(
        "UPDATE imports SET state = %s, error = %s, finished_at = now() WHERE id = %s AND state = 'running'"
        " RETURNING campaign_id",
        [state, error, import_id],
    ).fetchone()
    if row:
        transaction.execute(
            "UPDATE campaigns SET state = CASE WHEN EXISTS (SELECT FROM contacts WHERE campaign_id = %(id)s)"
            " THEN 'ready' ELSE 'draft' END WHERE id = %(id)s AND state = 'importing'",
            {"id": row[0]},
        )


class Staging:
    """A session of the import worker: a temporary table, then one merge."""

    def __init__(self, connection: Connection, progress: Connection, job: dict[str, Any]) -> None:
        self._connection, self._progress, self.job = connection, progress, job

    def copy(self, blocks: Iterator[str]) -> None:
        """Copy blocks of text rows (line, phone, variables) into the staging table."""
        with (
            self._connection.cursor() as cursor,
            cursor.copy("COPY staged (line, phone, variables) FROM STDIN") as copy,
        ):
            for block in blocks:
                copy.write(block)

    def tell(self, rows: int) -> None:
        """Show progress."""
        self._progress.execute("UPDATE imports SET rows = %s WHERE id = %s", [rows, self.job["id"]])

    def give_up(self, error: str) -> None:
        """End the import for good: its file can't be used."""
        with self._connection.transaction():
            _end(self._connection, self.job["id"], error=error, state="failed")

    def merge(
        self,
        *,
        rows: int,
        rejected: list[tuple[int, str, str]],
        by_reason: dict[str, int],
        open_key: Callable[[bytes], bytes],
    ) -> None:
        """Make the staged rows contacts, with counters, in one transaction.

        open_key: decrypts the key by which erased people are known; asked only if there are any.
        """
        parameters = {
            "id": self.job["id"],
            "campaign_id": self.job["campaign_id"],
            "rows": rows,
            "rejected": len(rejected),
            "by_reason": orjson.dumps(by_reason).decode(),
            "first_errors": orjson.dumps(
                [{"line": line, "reason": reason, "value": value} for line, reason, value in rejected[:20]]
            ).decode(),
        }
        with self._connection.transaction():
            with self._connection.cursor().copy(
                "COPY import_rejects (import_id, line, reason, value) FROM STDIN"
            ) as copy:
                for line, reason, value in rejected:
                    copy.write_row((self.job["id"], line, reason, value))
            self._find_erased(open_key)
            self._connection.execute(_MERGE, parameters)
            self._connection.execute(_FINISH, parameters)

    def _find_erased(self, open_key: Callable[[bytes], bytes]) -> None:
        erasures.hold(self._connection)
        self._connection.execute("CREATE TEMPORARY TABLE erased (phone text) ON COMMIT DROP")
        sealed = self._connection.execute(
            "SELECT sealed FROM erasure_key WHERE EXISTS (SELECT FROM erased_people)"
        ).fetchone()
        if sealed is not None:
            inner, outer = pads(open_key(bytes(sealed[0])))
            self._connection.execute(_ERASED, {"inner": inner, "outer": outer})


# An HMAC, as domain/erased.py makes it.
_ERASED = """
    INSERT INTO erased
    SELECT phone FROM (SELECT DISTINCT phone FROM staged) AS one
    WHERE sha256(%(outer)s::bytea || sha256(%(inner)s::bytea || convert_to(phone, 'UTF8')))
          IN (SELECT hash FROM erased_people)
"""

# First line wins; a phone the campaign has already is a duplicate too. Who must not be sent to is kept, with reason.
_MERGE = """
    WITH campaign AS (
        SELECT id, dedupe_days, audience_cap FROM campaigns WHERE id = %(campaign_id)s FOR UPDATE
    ), first AS (
        SELECT DISTINCT ON (phone) line, phone, variables FROM staged ORDER BY phone, line
    ), ranked AS (
        SELECT first.*, CASE
            WHEN suppression.phone IS NOT NULL THEN suppression.reason
            WHEN erased.phone IS NOT NULL THEN 'opted_out'
            WHEN campaign.dedupe_days > 0 AND EXISTS (
                SELECT FROM contacts AS other
                JOIN message_logs AS message
                    ON message.campaign_id = other.campaign_id AND message.contact_id = other.id
                WHERE other.phone = first.phone AND other.campaign_id <> campaign.id
                  AND message.state IN ('claimed', 'in_doubt', 'sent', 'delivered', 'read')
                  AND coalesce(message.sent_at, message.claimed_at)
                      > now() - make_interval(days => campaign.dedupe_days)) THEN 'recently_messaged'
            END AS reason, campaign.audience_cap
        FROM first CROSS JOIN campaign
        -- A suppression with an end may be over when the campaign starts: the claim asks again.
        LEFT JOIN suppressions AS suppression ON suppression.phone = first.phone AND suppression.expires_at IS NULL
        LEFT JOIN erased ON erased.phone = first.phone
    ), capped AS (
        SELECT line, phone, variables, CASE WHEN reason IS NULL AND audience_cap IS NOT NULL
            AND row_number() OVER (PARTITION BY reason IS NULL ORDER BY line) > audience_cap
            THEN 'over_cap' ELSE reason END AS reason
        FROM ranked
    ), inserted AS (
        INSERT INTO contacts (campaign_id, phone, variables, excluded_reason)
        SELECT %(campaign_id)s, phone, variables, reason FROM capped ORDER BY line
        ON CONFLICT (phone, campaign_id) DO NOTHING
        RETURNING excluded_reason
    ), counted AS (
        INSERT INTO campaign_counters AS counter (campaign_id, node_id, pending, excluded)
        SELECT %(campaign_id)s, 0, count(*) FILTER (WHERE excluded_reason IS NULL),
               count(*) FILTER (WHERE excluded_reason IS NOT NULL) FROM inserted
        ON CONFLICT (campaign_id, node_id) DO UPDATE
        SET pending = counter.pending + EXCLUDED.pending, excluded = counter.excluded + EXCLUDED.excluded
    ), reasoned AS (
        INSERT INTO campaign_reasons AS counter (campaign_id, node_id, state, reason, count)
        SELECT %(campaign_id)s, 0, 'excluded', excluded_reason, count(*) FROM inserted
        WHERE excluded_reason IS NOT NULL GROUP BY excluded_reason
        ON CONFLICT (campaign_id, node_id, state, reason) DO UPDATE SET count = counter.count + EXCLUDED.count
    )
    UPDATE imports SET accepted = (SELECT count(*) FROM inserted),
        duplicates = (SELECT count(*) FROM staged) - (SELECT count(*) FROM inserted)
    WHERE id = %(id)s
"""

_FINISH = """
    WITH done AS (
        UPDATE imports SET state = 'done', rows = %(rows)s, rejected = %(rejected)s,
            by_reason = %(by_reason)s::jsonb, first_errors = %(first_errors)s::jsonb, finished_at = now()
        WHERE id = %(id)s AND state = 'running' RETURNING campaign_id
    )
    UPDATE campaigns SET state = CASE WHEN EXISTS (SELECT FROM contacts WHERE campaign_id = %(campaign_id)s)
        THEN 'ready' ELSE 'draft' END, state_by = 'import', updated_at = now()
    WHERE id IN (SELECT campaign_id FROM done) AND state = 'importing'
"""


@contextmanager
def staging(url: str, import_id: int) -> Iterator[Staging | None]:
    """Open a worker's session; None if the import is finished, or another worker has it."""
    with connect(url, options="-c statement_timeout=600000") as connection, connect(url) as progress:
        locked = connection.execute("SELECT pg_try_advisory_lock(771301, %s)", [import_id]).fetchone()
        row = connection.execute(
            "SELECT id, campaign_id, file, default_country FROM imports WHERE id = %s AND state = 'running'",
            [import_id],
        ).fetchone()
        if locked != (True,) or row is None:
            yield None
            return
        connection.execute("CREATE TEMPORARY TABLE staged (line bigint, phone text, variables jsonb)")
        job = dict(zip(("id", "campaign_id", "file", "default_country"), row, strict=True))
        yield Staging(connection, progress, job)
