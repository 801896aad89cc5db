"""The plans of the queries that must stay quick with 100 million messages, on a table big enough for a choice.

They read what they return and not much more, by the index that is there for them; statistics read no message at all.
The first half is the list of the review that this project began with: stats by campaign and status, time-based stats,
unsent contacts, de-duplication; reply attribution by recipient and time is in test_replies.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from bench.many_messages import fill
from bench.plans import Plan, explained
from tests.support.servers import fresh_database
from titanflow import embedded
from titanflow.domain.periods import period_of
from titanflow.storage import buffers, counters, imports, message_lists, people, reports, retries, stats
from titanflow.storage.database import Database
from titanflow.storage.message_lists import Filters

_PAGE = 50
_BIG = ("contacts", "message_logs", "message_attempts", "replies", "inbox_messages")


@dataclass(frozen=True)
class _Many:
    url: str
    campaign_ids: list[int]

    def plans(self, call: Callable[[Database], object]) -> list[Plan]:
        return explained(self.url, call)

    def one(self, statement: str) -> int:
        with psycopg.connect(self.url) as connection:
            row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture(scope="module")
def many(servers: embedded.EmbeddedServers, migrated_template: str) -> Iterator[_Many]:
    with fresh_database(servers, template=migrated_template) as url:
        yield _Many(url, fill(url, 50_000, campaigns=10))


def _reads(plans: list[Plan], table: str) -> set[tuple[str, str]]:
    return {one for plan in plans for one in plan.read(table)}


def _touched(plans: list[Plan]) -> float:
    return sum(plan.rows_touched(*_BIG) for plan in plans)


def _of_an_index(plans: list[Plan], *tables: str) -> None:
    for table in tables:
        assert "Seq Scan" not in {kind for kind, _ in _reads(plans, table)}, "\n".join(plan.text for plan in plans)


# What the review asks for.


def test_stats_by_campaign_and_status_are_counters(many: _Many) -> None:
    plans = many.plans(lambda db: (counters.read(db, many.campaign_ids[0]), reports.stats(db, many.campaign_ids[0])))

    assert all(_reads(plans, table) == set() for table in _BIG)
    _of_an_index(plans, "stats_hourly")


def _periods() -> tuple[list[datetime], datetime]:
    period = period_of(None, None, "Asia/Kolkata", now=datetime.now(UTC), default_days=2, most_days=400)
    return [begin for _, begin in period.days()], period.end


def test_time_based_stats_are_roll_ups_by_hour(many: _Many) -> None:
    starts, end = _periods()
    some = many.campaign_ids[3]

    for call in (
        lambda db: stats.series(db, starts, end),
        lambda db: stats.series(db, starts, end, some),
        lambda db: stats.by_number(db, starts[0], end),
        lambda db: stats.by_template(db, starts[0], end),
        lambda db: stats.failures(db, starts[0], end),
        lambda db: stats.replies(db, starts[0], end),
        lambda db: stats.replies(db, starts[0], end, some),
        lambda db: stats.compare(db, many.campaign_ids[:3]),
    ):
        plans = many.plans(call)
        assert len(plans) == 1
        assert all(_reads(plans, table) == set() for table in _BIG)
        _of_an_index(plans, "stats_hourly", "reply_times")


def test_the_dashboard_is_one_query_on_roll_ups(many: _Many) -> None:
    now = datetime.now(UTC)
    bounds = {
        "today": now - timedelta(hours=9),
        "tomorrow": now,
        "quarter": now,
        "week_before": now - timedelta(days=7),
    }

    plans = many.plans(lambda db: stats.dashboard(db, {**bounds, "week_before_end": now - timedelta(days=6.9)}))

    assert len(plans) == 1
    assert all(_reads(plans, table) == set() for table in _BIG)


def test_unsent_contacts_are_read_by_keyset(many: _Many) -> None:
    plans = many.plans(lambda db: buffers.refill(db, many.campaign_ids[-1], limit=_PAGE))

    assert _reads(plans, "contacts") == {("Index Scan", "contacts_to_send")}
    assert _reads(plans, "message_logs") == set()
    assert _touched(plans) < 3 * _PAGE


def test_deduplication_asks_by_phone(many: _Many) -> None:
    """A list of 300 people is held against all campaigns: not by reading them."""
    with psycopg.connect(many.url, autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE staged (line bigint, phone text, variables jsonb)")
        connection.execute("CREATE TEMPORARY TABLE erased (phone text)")
        connection.execute(
            "INSERT INTO staged SELECT row_number() OVER (), phone, '{}'"
            " FROM (SELECT phone FROM contacts LIMIT 300) AS one"
        )
        row = connection.execute(
            "INSERT INTO campaigns (name, dedupe_days) VALUES ('deduplicated', 365) RETURNING id"
        ).fetchone()
        assert row is not None
        with connection.transaction(force_rollback=True):
            rows = connection.execute(
                b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + imports._MERGE.encode(),
                {"id": 0, "campaign_id": row[0], "rows": 300, "rejected": 0, "by_reason": "{}", "first_errors": "[]"},
            ).fetchone()
        connection.execute("DELETE FROM campaigns WHERE id = %s", [row[0]])
    assert rows is not None
    plan = Plan("", rows[0][0]["Plan"], str(rows[0]))

    _of_an_index([plan], "contacts", "message_logs")
    assert plan.rows_touched(*_BIG) < 300 * 20


# Lists.


@pytest.mark.parametrize(
    "filters",
    [
        Filters(), Filters("sent"), Filters("delivered"), Filters("read"), Filters("failed"), Filters("in_doubt"),
        Filters("retrying"), Filters("claimed"), Filters("excluded"), Filters("pending"), Filters("cancelled"),
        Filters(code=131026), Filters("failed", 131008), Filters(code=99),
    ],
    ids=str,
)  # fmt: skip
def test_a_page_reads_little_more_than_it_shows(many: _Many, filters: Filters, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the begin and from deep inside, of the first campaign and of the last one."""
    monkeypatch.setattr(message_lists, "_WALKS", (200, 1_000))
    for campaign_id in (many.campaign_ids[0], many.campaign_ids[-1]):
        middle = many.one(f"SELECT (min(id) + max(id)) / 2 FROM contacts WHERE campaign_id = {campaign_id}")
        for after in (0, middle):
            plans = many.plans(
                lambda db, id_=campaign_id, after=after: message_lists.page(db, id_, filters, after=after, limit=_PAGE)  # type: ignore[misc]
            )
            _of_an_index(plans, "contacts", "message_logs")
            # A walk for a rare state, its end, and what is shown; of common states only what is shown.
            rare = filters.state in ("sent", "pending", "cancelled", "excluded")
            assert _touched(plans) < (4_000 if rare else 12 * _PAGE), "\n".join(plan.text for plan in plans)


def test_a_page_of_one_person_is_a_look_at_one_row(many: _Many) -> None:
    phone = "+" + str(many.one("SELECT ltrim(phone, '+')::bigint FROM contacts WHERE id = 30000"))

    plans = many.plans(
        lambda db: [message_lists.page(db, one, Filters(phone=phone), after=0, limit=9) for one in many.campaign_ids]
    )

    assert _touched(plans) < 30 * len(many.campaign_ids)


def test_a_persons_timeline_goes_by_phone(many: _Many) -> None:
    phone = "+" + str(many.one("SELECT ltrim(phone, '+')::bigint FROM contacts WHERE id = 30000"))

    plans = many.plans(lambda db: people.campaigns(db, [phone], before=2**63 - 1, limit=50))

    _of_an_index(plans, "contacts", "message_logs")
    assert _touched(plans) < 100


# What the engine asks again and again.


def test_what_is_due_is_found_by_when_it_is(many: _Many) -> None:
    for call in (
        lambda db: buffers.due(db, many.campaign_ids[0], limit=_PAGE),
        lambda db: buffers.waiting(db, many.campaign_ids[0]),
    ):
        plans = many.plans(call)
        _of_an_index(plans, "contacts", "message_logs")
        assert _touched(plans) < 200


def test_a_retry_finds_failures_by_their_code(many: _Many) -> None:
    failed = many.one(
        f"SELECT count(*) FROM message_logs WHERE campaign_id = {many.campaign_ids[1]} AND error_code = 130472"
    )

    plans = many.plans(lambda db: retries.retry(db, many.campaign_ids[1], {"130472": 0.0}, by="x"))

    assert failed > 10
    _of_an_index(plans, "message_logs")
    assert "message_logs_by_code" in "".join(plan.text for plan in plans)
