"""kill -9 while webhooks come in: `python -m tests.promises.webhook_rounds [--rounds 50] [--seed S] [--outage-s 30]`.

Each round brings a campaign whose every message waits for word, and delivers that word as Meta does, until each got
its 200: statuses of all kinds with echo and without, bundled at random, beside messages of people. Meanwhile the
server is killed at random moments, in some rounds PostgreSQL too. Then every update that got a 200 must be in the
rows, with its time, and counters, reasons, roll-ups and unread counts must equal a recount. Nothing that got a 200 is
delivered again before that, so nothing lost can be healed by a repetition; some of it is afterwards, and must change
nothing. --outage-s: one more round in which PostgreSQL is away for so long.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from bench import sent_messages
from bench.sent_messages import NUMBER, SentMessages
from tests.promises.redelivery import Delivery, Meta
from tests.support.servers import short_folder
from titanflow.cli.stage import Stage
from titanflow.storage import counters
from titanflow.storage.database import Database, connect

_SECRET = "of the rounds"
_MESSAGES = 400
_PEOPLE = 60
_LONGEST_S = 120.0
_RANK = {"sent": 0, "failed": 1, "delivered": 2, "read": 3}
_CODES = (131026, 131053, 130472)


@dataclass
class Found:
    """What a round has shown."""

    updates: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    kills: int = 0
    slowest_s: float = 0.0
    without_retry_after: int = 0


@dataclass(frozen=True, slots=True)
class Word:
    """One status of the n-th message."""

    n: int
    kind: str
    at: int
    code: int | None


def stage_of(folder: Path, *, source: Path | None = None) -> Stage:
    """A running stage for rounds. source: whose code the server runs."""
    stage = Stage(folder / "data", environment={"META_APP_SECRET": _SECRET})
    if source is not None:
        stage.source = source
    stage.start()
    sent_messages.prepare(stage)
    return stage


def play(stage: Stage, rng: random.Random, *, kill_postgres: bool) -> Found:
    """One round."""

    def disturb(found: Found) -> None:
        for _ in range(rng.choice((1, 1, 2))):
            time.sleep(rng.uniform(0.02, 0.6))  # the moment is the point, not a wait for something
            if kill_postgres:
                stage.servers.restart_postgres("immediate")
                time.sleep(rng.uniform(0.0, 0.1))
            stage.kill_server()
            found.kills += 1
            stage.start_server()

    return _round(stage, rng, disturb)


def outage(stage: Stage, rng: random.Random, *, seconds: float) -> Found:
    """One round in which PostgreSQL is away for so long, and the server lives."""

    def disturb(_: Found) -> None:
        time.sleep(0.2)
        stage.servers.kill_postgres()
        time.sleep(seconds)
        stage.servers.restart_postgres()

    return _round(stage, rng, disturb)


def _round(stage: Stage, rng: random.Random, disturb: Callable[[Found], None]) -> Found:
    made = sent_messages.make(stage.database_url, _MESSAGES, state="in_doubt")
    words = list(_words(rng))
    people = [f"wamid.in.{made.campaign_id}.{n}" for n in range(_PEOPLE)]
    deliveries = list(_deliveries(rng, made, words, people))
    meta = Meta(stage.port, _SECRET, deliveries, seed=rng.randrange(2**30), rate=rng.choice((300, 600, 1200)))
    found = Found(updates=len(words) + len(people))
    meta.start()
    disturb(found)
    if not meta.finished(within_s=_LONGEST_S):
        found.lost.append(f"not everything was taken within {_LONGEST_S:.0f} s")
    found.acknowledged, found.answers, found.slowest_s = len(meta.acknowledged), meta.answers, meta.slowest_s
    found.without_retry_after = meta.without_retry_after
    _judge(stage, made, words, people, meta, found)
    again = Meta(stage.port, _SECRET, rng.sample(deliveries, len(deliveries) // 5), seed=rng.randrange(2**30))
    again.start()
    if not again.finished(within_s=_LONGEST_S):
        found.lost.append("what came again was not taken")
    _judge(stage, made, words, people, meta, found)
    return found


def _words(rng: random.Random) -> Iterable[Word]:
    """About each message some of what Meta can say; about many one thing alone, which nothing else could stand for."""
    now = int(time.time())
    for n in range(_MESSAGES):
        kinds = rng.choice((("sent",), ("delivered",), ("read",), ("failed",), ("sent", "delivered", "read"),
                            ("sent", "delivered"), ("sent", "failed"), ("delivered", "read")))  # fmt: skip
        for kind in kinds:
            at = now + 10 * _RANK[kind] + rng.randrange(5)
            yield Word(n, kind, at, rng.choice(_CODES) if kind == "failed" else None)


def _deliveries(rng: random.Random, made: SentMessages, words: list[Word], people: list[str]) -> Iterable[Delivery]:
    updates: list[tuple[Any, dict[str, Any], dict[str, Any]]] = []
    for word in words:
        status: dict[str, Any] = {"id": f"{made.wamid_prefix}{word.n}", "status": word.kind, "timestamp": str(word.at)}
        if rng.random() < 0.8:
            status["biz_opaque_callback_data"] = f"m:{made.first_log_id + word.n}:1"
        if word.code is not None:
            status["errors"] = [{"code": word.code, "title": "x"}]
        updates.append((word, status, {}))
    for n, wamid in enumerate(people):
        message = {"from": f"49170{n % 20:07d}", "id": wamid, "timestamp": str(int(time.time())), "type": "text"}
        if n % 2:
            message |= {"context": {"id": f"{made.wamid_prefix}{n % 7}"}}  # type: ignore[dict-item]
        updates.append((wamid, {}, {**message, "text": {"body": "hello"}}))
    rng.shuffle(updates)
    while updates:
        size = rng.choice((1, 1, 1, 2, 3, 10))
        taken, updates = updates[:size], updates[size:]
        value = {
            "metadata": {"phone_number_id": NUMBER},
            "statuses": [status for _, status, _ in taken if status],
            "messages": [message for _, _, message in taken if message],
        }
        body = orjson.dumps({"entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]})
        yield Delivery(body, tuple(name for name, _, _ in taken))


_ROWS = """
    SELECT id - %(first)s, state::text, sent_at, delivered_at, read_at, failed_at, error_code
    FROM message_logs WHERE campaign_id = %(campaign)s
"""
_ROLLED_UP = """
    SELECT 'roll-up of ' || name, rolled_up, counted FROM (
        SELECT sum(sent)::int AS sent, sum(delivered)::int AS delivered, sum(read)::int AS read,
               sum(failed)::int AS failed, sum(replied)::int AS replied
        FROM stats_hourly WHERE campaign_id = %(campaign)s
    ) AS hourly, (
        SELECT count(sent_at) AS sent, count(*) FILTER (WHERE state IN ('delivered', 'read')) AS delivered,
               count(*) FILTER (WHERE state = 'read') AS read, count(*) FILTER (WHERE state = 'failed') AS failed
        FROM message_logs WHERE campaign_id = %(campaign)s
    ) AS message, (SELECT count(*) AS replied FROM replies WHERE campaign_id = %(campaign)s) AS reply,
    LATERAL (VALUES ('sent', hourly.sent, message.sent), ('delivered', hourly.delivered, message.delivered),
                    ('read', hourly.read, message.read), ('failed', hourly.failed, message.failed),
                    ('replied', hourly.replied, reply.replied)) AS one (name, rolled_up, counted)
    WHERE rolled_up IS DISTINCT FROM counted
"""
_REASONS = """
    SELECT 'reason ' || reason, kept.count, counted.count FROM (
        SELECT reason, sum(count) AS count FROM campaign_reasons
        WHERE campaign_id = %(campaign)s AND state = 'failed' GROUP BY reason
    ) AS kept FULL JOIN (
        SELECT error_code::text AS reason, count(*) AS count FROM message_logs
        WHERE campaign_id = %(campaign)s AND state = 'failed' GROUP BY 1
    ) AS counted USING (reason)
    WHERE coalesce(kept.count, 0) <> coalesce(counted.count, 0)
"""
_UNREAD = """
    SELECT 'unread of conversation ' || id, unread, counted FROM conversations, LATERAL (
        SELECT count(*) AS counted FROM inbox_messages WHERE conversation_id = conversations.id
    ) AS message WHERE unread <> counted
"""


def _judge(stage: Stage, made: SentMessages, words: list[Word], people: list[str], meta: Meta, found: Found) -> None:
    """Add to `found` what was lost or counted twice."""
    told: dict[int, list[Word]] = {}
    for word in words:
        if word in meta.acknowledged:
            told.setdefault(word.n, []).append(word)
    parameters = {"campaign": made.campaign_id, "first": made.first_log_id}
    with connect(stage.database_url) as connection:
        for n, *row in connection.execute(_ROWS, parameters).fetchall():
            wanted, name = _wanted(told.get(n, [])), f"message {n}"
            if row != wanted:
                found.lost.append(f"{name} is {row}, not {wanted}")
        kept = connection.execute("SELECT wamid FROM inbox_messages WHERE wamid = ANY(%s)", [people]).fetchall()
        found.lost += [f"message {one}" for one in set(people) & meta.acknowledged - {row[0] for row in kept}]
        for statement in (_ROLLED_UP, _REASONS, _UNREAD):
            for what, shown, true in connection.execute(statement.encode(), parameters).fetchall():
                found.double.append(f"{what} is {shown}, not {true}")
    db = Database(stage.database_url, pool_size=1)
    try:
        found.double += [
            f"counter {state} is off by {-delta}" for state, delta in counters.heal(db, made.campaign_id).items()
        ]
    finally:
        db.close()


def _wanted(told: list[Word]) -> list[Any]:
    """The row that these words make, in whatever order they came."""
    if not told:
        return ["in_doubt", None, None, None, None, None]
    highest = max(told, key=lambda one: _RANK[one.kind]).kind

    def earliest(*kinds: str) -> datetime | None:
        times = [one.at for one in told if one.kind in kinds]
        return datetime.fromtimestamp(min(times), UTC) if times else None

    code = next((one.code for one in told if one.code is not None), None)
    return [highest, earliest("sent", "delivered", "read"), earliest("delivered", "read"), earliest("read"),
            earliest("failed"), code]  # fmt: skip


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.promises.webhook_rounds", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--outage-s", type=float, default=0.0)
    given = parser.parse_args(arguments)
    print(f"seed {given.seed}")
    total = Found()
    with short_folder() as folder:
        stage = stage_of(folder)
        try:
            for n in range(given.rounds + (given.outage_s > 0)):
                rng = random.Random(given.seed + n)
                if n < given.rounds:
                    found = play(stage, rng, kill_postgres=n % 4 == 3)
                else:
                    found = outage(stage, rng, seconds=given.outage_s)
                    print(f"PostgreSQL away for {given.outage_s} s: no answer took longer than {found.slowest_s:.1f} s")
                total.updates += found.updates
                total.acknowledged += found.acknowledged
                total.kills += found.kills
                total.lost += found.lost
                total.double += found.double
                total.answers += found.answers
                print(f"round {n + 1}: {found.updates} updates, answers {dict(found.answers)},"
                      f" lost {found.lost[:3]}, double {found.double[:3]}", flush=True)  # fmt: skip
        finally:
            stage.stop()
    print(
        f"{given.rounds} rounds, {total.kills} kills, {total.updates} updates, {total.acknowledged} acknowledged,"
        f" {len(total.lost)} lost, {len(total.double)} counted wrongly"
    )
    return 1 if total.lost or total.double or total.acknowledged < total.updates else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
