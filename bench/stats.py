"""How fast figures and lists are with millions of messages: over HTTP, on the real server and PostgreSQL, here.

`python -m bench.stats [--rows 10000000] [--calls 200] [--explain FILE.md] [--json FILE]`. The messages are made by SQL
(bench/many_messages.py). Each query is asked by one client, one call after the other, with other arguments each time.
"""

import argparse
import http.client
import itertools
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import machine
from bench.many_messages import fill
from bench.plans import Plan, explained
from titanflow.cli.stage import Stage
from titanflow.domain.periods import period_of
from titanflow.domain.vault import Vault
from titanflow.services import people, stats, tokens
from titanflow.storage import counters, message_lists, reports
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.storage.message_lists import Filters

_WARM = 10
_PAGE = 50


@dataclass(frozen=True)
class Query:
    """One thing that is asked. path: for the n-th call; call: what the server does for it; goal_ms: of the median."""

    name: str
    path: Callable[[int], str]
    call: Callable[[Database, FastCopy], object]
    goal_ms: float = 20.0


@dataclass(frozen=True)
class Made:
    """What there is to ask for. middle: a contact id half-way through the biggest campaign."""

    campaign_ids: list[int]
    phones: list[str]
    middle: int
    rows: int

    def campaign(self, n: int) -> int:
        """One campaign after the other."""
        return self.campaign_ids[n % len(self.campaign_ids)]


def queries(made: Made) -> list[Query]:
    """Return what is measured. What goes over all time is asked for as much as the API allows."""
    big, last = made.campaign_ids[0], made.campaign_ids[-1]
    now = datetime.now(UTC)
    month = period_of(None, None, "Asia/Kolkata", now=now, default_days=30, most_days=400)
    week = period_of(None, None, "Asia/Kolkata", now=now, default_days=7, most_days=31)
    ten = made.campaign_ids[:10]

    def listed(name: str, text: str, filters: Filters, *, campaign_id: int = big, after: int = 0) -> Query:
        path = f"/campaigns/{campaign_id}/messages?limit={_PAGE}{text}" + (f"&cursor={after}" if after else "")
        return Query(
            f"messages, {name}",
            lambda _: path,
            lambda db, _: message_lists.messages(db, campaign_id, filters, after=after, limit=_PAGE),
        )

    return [
        Query("stats", lambda n: f"/campaigns/{made.campaign(n)}/stats", lambda db, _: reports.stats(db, big), 10.0),
        Query(
            "dashboard",
            lambda _: "/stats/dashboard?timezone=Asia/Kolkata",
            lambda db, redis: stats.dashboard(db, redis, month.zone, now),
            10.0,
        ),
        Query(
            "hourly, 7 days",
            lambda _: f"/stats/hourly?timezone=Asia/Kolkata&from={week.days()[0][0]}",
            lambda db, _: stats.hourly(db, week, None),
        ),
        Query(
            "daily, 30 days",
            lambda _: "/stats/daily?timezone=Asia/Kolkata",
            lambda db, _: stats.daily(db, month, None),
        ),
        Query(
            "daily, one campaign",
            lambda n: f"/stats/daily?timezone=Asia/Kolkata&campaign_id={made.campaign(n)}",
            lambda db, _: stats.daily(db, month, big),
        ),
        Query("phone numbers", lambda _: "/stats/phone-numbers", lambda db, _: stats.by_number(db, month, None)),
        Query("templates", lambda _: "/stats/templates", lambda db, _: stats.by_template(db, month, None)),
        Query("failures", lambda _: "/stats/failures", lambda db, _: stats.failures(db, month, None)),
        Query("replies", lambda _: "/stats/replies", lambda db, _: stats.replies(db, month, None)),
        Query(
            "compare ten",
            lambda _: f"/campaigns/compare?ids={','.join(str(one) for one in ten)}",
            lambda db, _: stats.compare(db, ten),
        ),
        listed("first page", "", Filters()),
        listed("deep page", "", Filters(), after=made.middle),
        Query(
            "messages, pages in turn",
            lambda n: f"/campaigns/{made.campaign(n)}/messages?limit={_PAGE}&cursor={made.middle if n % 2 else 0}",
            lambda db, _: message_lists.messages(db, last, Filters(), after=0, limit=_PAGE),
        ),
        *[
            listed(f"state={state}", f"&state={state}", Filters(state))
            for state in ("read", "failed", "in_doubt", "retrying", "excluded", "sent")
        ],
        listed("state=failed, deep", "&state=failed", Filters("failed"), after=made.middle),
        listed("state=sent (rare), deep", "&state=sent", Filters("sent"), after=made.middle),
        listed("state=pending", "&state=pending", Filters("pending"), campaign_id=last),
        listed("code=131026", "&code=131026", Filters(code=131026)),
        listed("code=131026, deep", "&code=131026", Filters(code=131026), after=made.middle),
        Query(
            "messages, phone",
            lambda n: f"/campaigns/{big}/messages?phone=%2B{made.phones[n % len(made.phones)][1:]}",
            lambda db, _: message_lists.messages(db, big, Filters(phone=made.phones[0]), after=0, limit=_PAGE),
        ),
        Query(
            "contact timeline",
            lambda n: f"/contacts/%2B{made.phones[n % len(made.phones)][1:]}",
            lambda db, redis: people.timeline(db, redis, Vault(["none"]), made.phones[0], before=2**63 - 1, limit=50),
        ),
    ]


def measure(stage: Stage, query: Query, calls: int) -> dict[str, float]:
    """Ask a query so often, with a token of its own, since each token has a rate limit. Returns milliseconds."""
    database = Database(stage.database_url, pool_size=1)
    token = tokens.create(database, f"bench: {query.name}", "read")
    database.close()
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=60)
    taken: list[float] = []
    try:
        for n in range(-_WARM, calls):
            begun = time.perf_counter()
            connection.request("GET", f"/api/v1{query.path(abs(n))}", headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 429:
                raise RuntimeError(f"{query.name}: asked faster than a token may; use fewer --calls")
            if answer.status != 200:
                raise RuntimeError(f"{query.name}: {answer.status} {body[:300]!r}")
            if n >= 0:
                taken.append((time.perf_counter() - begun) * 1000)
    finally:
        connection.close()
    taken.sort()
    return {
        "p50_ms": round(statistics.median(taken), 2),
        "p99_ms": round(taken[min(len(taken) - 1, int(len(taken) * 0.99))], 2),
    }


def export(stage: Stage, campaign_id: int) -> dict[str, float]:
    """Stream an export to its end. Returns rows a second and megabytes a second."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=600)
    begun = time.perf_counter()
    connection.request(
        "GET",
        f"/api/v1/campaigns/{campaign_id}/export?format=csv",
        headers={"Authorization": f"Bearer {stage.token}"},
    )
    answer = connection.getresponse()
    lines = size = 0
    while piece := answer.read(1 << 16):
        lines += piece.count(b"\n")
        size += len(piece)
    seconds = time.perf_counter() - begun
    connection.close()
    rows = lines - 1
    return {
        "rows": rows,
        "seconds": round(seconds, 2),
        "rows_per_second": round(rows / seconds),
        "mib_per_second": round(size / seconds / 2**20, 1),
    }


def _known(stage: Stage, campaign_ids: list[int]) -> Made:
    database = Database(stage.database_url, pool_size=1)
    try:
        half = counters.read(database, campaign_ids[0]).total // 2
        with database.connection() as connection:
            row = connection.execute(
                "SELECT (SELECT id FROM contacts WHERE campaign_id = %(id)s AND excluded_reason IS NULL"
                "        ORDER BY id OFFSET %(half)s LIMIT 1),"
                " (SELECT array_agg(phone) FROM (SELECT phone FROM contacts WHERE campaign_id = %(id)s"
                "  AND excluded_reason IS NULL ORDER BY id LIMIT 100000) AS one),"
                " (SELECT reltuples::bigint FROM pg_class WHERE relname = 'message_logs')",
                {"id": campaign_ids[0], "half": half},
            ).fetchone()
        assert row is not None
        return Made(campaign_ids, row[1][:: max(1, len(row[1]) // 400)], int(row[0]), int(row[2]))
    finally:
        database.close()


def _markdown(stage: Stage, asked: list[Query]) -> Iterator[str]:
    """Yield the plans as Markdown: every statement that the server runs for a query, each once."""
    shown: set[str] = set()
    redis = FastCopy(stage.servers.urls.redis_url)
    try:
        for query in asked:
            plans: list[Plan] = explained(stage.database_url, lambda db, query=query: query.call(db, redis))  # type: ignore[misc]
            yield f"### {query.name}\n"
            for plan in plans:
                if plan.statement in shown:
                    continue
                shown.add(plan.statement)
                text = re.sub(r"'\{\"[^}]{200,}\}'", "'{...}'", plan.text)  # the bounds of days and hours
                yield f"```\n{text}\n```\n"
    finally:
        redis.close()


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="titanflow bench stats", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--campaigns", type=int, default=40)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--exports", type=int, default=3)
    parser.add_argument("--explain", type=Path, default=None, help="write the plans as Markdown")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--data-dir", type=Path, default=Path(".data/bench-stats"))
    given = parser.parse_args(arguments)
    stage = Stage(given.data_dir)
    try:
        stage.start()
        begun = time.monotonic()
        ids = fill(stage.database_url, given.rows, campaigns=given.campaigns, say=lambda text: print(text, flush=True))
        made = _known(stage, ids)
        seconds = round(time.monotonic() - begun)
        print(f"{made.rows:,} messages in {seconds} s", flush=True)
        asked = queries(made)
        figures: dict[str, Any] = {}
        for query in asked:
            figures[query.name] = {**measure(stage, query, given.calls), "goal_ms": query.goal_ms}
            one = figures[query.name]
            verdict = "" if one["p50_ms"] < query.goal_ms else f"   SLOWER THAN {query.goal_ms:.0f} ms"
            print(f"{query.name:28} {one['p50_ms']:8.2f} ms  p99 {one['p99_ms']:8.2f} ms{verdict}", flush=True)
        exports = [export(stage, ids[0]) for _ in range(given.exports)]
        for one in exports:
            print(f"export {one}", flush=True)
        if given.explain:
            given.explain.write_text("\n".join(itertools.chain(_markdown(stage, asked))))
    finally:
        stage.stop()
    report = {
        "rows": made.rows,
        "fill_seconds": seconds,
        "calls": given.calls,
        "queries": figures,
        "export_rows_per_second": statistics.median(one["rows_per_second"] for one in exports) if exports else None,
        "exports": exports,
        **machine(),
    }
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n")
    slow = [name for name, one in figures.items() if one["p50_ms"] >= one["goal_ms"]]
    if slow:
        print(f"slower than their goal: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
