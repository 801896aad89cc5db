"""The sabotages: which text is replaced by which, and the disasters that show it."""

from dataclasses import dataclass

from tests.chaos.plan import Event, Plan


@dataclass(frozen=True, slots=True)
class Change:
    """Replace `right` by `wrong`, wherever it stands in a file of titanflow/."""

    file: str
    right: str
    wrong: str


@dataclass(frozen=True, slots=True)
class Sabotage:
    """One safeguard taken out. breaks: the promise that must be seen broken. plan: the round that shows it."""

    name: str
    breaks: str
    changes: tuple[Change, ...]
    plan: Plan
    sql: tuple[str, ...] = ()


def _plan(
    *kinds: str,
    profile: str = "clean",
    contacts: int = 600,
    numbers: int = 1,
    mps: int = 250,
    latency_ms: float = 60,
    after_s: float = 0.6,
    amount: float = 0.0,
    hold_s: float = 0.0,
    deadline_s: float = 20.0,
) -> Plan:
    """hold_s: webhooks are held back for so long, since a quick report would resolve a doubt before it can do harm."""
    hidden = (Event("hold_webhooks", 0.0, hold_s, 0.5),) if hold_s else ()
    events = hidden + tuple(Event(kind, after_s, amount, 0.5) for kind in kinds)
    return Plan(20261125, contacts, numbers, mps, latency_ms, profile, events, deadline_s)


_BOOKS, _TWICE, _FORGOTTEN = "the books balance", "nobody gets it twice", "nobody is forgotten"
_KILLS = ("kill_server",) * 2
_LATER = "__import__('threading').Timer"  # patched by gevent: a greenlet

_ALL = [
    Sabotage(
        "claim after send",
        _TWICE,
        (
            Change(
                "storage/claims.py",
                "    with db.connection() as connection, connection.cursor(row_factory=class_row(Claim)) as cursor:\n"
                "        claims = cursor.execute(_CLAIM_AGAIN if again else _CLAIM, parameters).fetchall()\n",
                "    lent = db._pool.getconn()\n"
                "    lent.execute('BEGIN')\n"
                "    with lent.cursor(row_factory=class_row(Claim)) as cursor:\n"
                "        claims = cursor.execute(_CLAIM_AGAIN if again else _CLAIM, parameters).fetchall()\n"
                "    def commit() -> None:\n"
                "        lent.execute('COMMIT')\n"
                "        db._pool.putconn(lent)\n"
                f"    {_LATER}(0.15, commit).start()\n",
            ),
        ),
        _plan(*_KILLS, contacts=300),
    ),
    Sabotage(
        "asynchronous claim",
        _TWICE,
        (
            Change(
                "storage/claims.py",
                "    with db.connection() as connection, connection.cursor(row_factory=class_row(Claim)) as cursor:\n"
                "        claims = cursor",
                "    with db.transaction() as connection, connection.cursor(row_factory=class_row(Claim)) as cursor:\n"
                "        connection.execute('SET LOCAL synchronous_commit = off')\n"
                "        claims = cursor",
            ),
        ),
        _plan(*("kill_postgres",) * 6, contacts=900, mps=300, latency_ms=240, after_s=0.4),
    ),
    Sabotage(
        "resend on time-out",
        _TWICE,
        (
            Change(
                "actors/number/recorder.py",
                '                "in_doubt",\n',
                '                "retrying",\n',
            ),
        ),
        _plan(profile="ambiguous", contacts=900, hold_s=6.0),
    ),
    Sabotage(
        "dead claims are sent again",
        _TWICE,
        (
            Change("storage/claims.py", "AND epoch = %(epoch)s\n", "\n"),
            Change("storage/claims.py", "AND node_id = %(node_id)s AND expires_at > clock_timestamp()", ""),
            Change(
                "storage/claims.py", "SET state = 'in_doubt', due_at = now()", "SET state = 'retrying', due_at = now()"
            ),
            Change(
                "storage/claims.py",
                "(campaign_id, node_id, claimed, in_doubt)",
                "(campaign_id, node_id, claimed, retrying)",
            ),
            Change(
                "storage/claims.py",
                "in_doubt = counter.in_doubt + EXCLUDED.in_doubt",
                "retrying = counter.retrying + EXCLUDED.retrying",
            ),
        ),
        _plan(*_KILLS, latency_ms=200, after_s=1.2, hold_s=15.0),
    ),
    Sabotage(
        "no fence",
        _TWICE,
        (
            Change(
                "storage/claims.py",
                "        ON CONFLICT (campaign_id, contact_id) DO NOTHING\n        RETURNING id",
                "        RETURNING id",
            ),
        ),
        # Slow numbers hold contacts for seconds, unclaimed: the sweep after a kill hands the same people out again.
        _plan(*_KILLS, contacts=400, numbers=2, mps=40),
        sql=(
            "DROP INDEX message_logs_fence",
            "CREATE INDEX message_logs_fence ON message_logs (campaign_id, contact_id)",
        ),
    ),
    Sabotage(
        "lost echo",
        "in doubt only what Meta never took",
        (
            Change(
                "storage/webhook_batches.py",
                "        status.log_id,\n        status.attempt,\n",
                "        None,\n        None,\n",
            ),
        ),
        _plan(profile="ambiguous"),
    ),
    Sabotage(
        "suppression only at import",
        "no means no",
        (Change("storage/claims.py", "ON suppression.phone = contact.phone\n", "ON false\n"),),
        _plan("suppress", amount=20),
    ),
    Sabotage(
        "counters outside the transaction",
        "counters are exact",
        (
            Change(
                "storage/claims.py",
                "        SELECT %(campaign_id)s, %(shard)s, -count(*), count(*) FROM claimed HAVING count(*) > 0\n",
                "        SELECT %(campaign_id)s, %(shard)s, 0, 0 FROM claimed HAVING count(*) > 0\n",
            ),
            Change(
                "storage/claims.py",
                "    suppressed = [claim.contact_id",
                "    def count() -> None:\n"
                "        with db.connection() as connection:\n"
                "            connection.execute('UPDATE campaign_counters SET pending = pending - %s, claimed ='\n"
                "                ' claimed + %s WHERE campaign_id = %s AND node_id = %s',\n"
                "                [len(claims), len(claims), campaign_id, -sender.number_id])\n"
                f"    {_LATER}(0.02, count).start()\n"
                "    suppressed = [claim.contact_id",
            ),
        ),
        _plan(*_KILLS),
    ),
    Sabotage(
        "200 before the commit",
        "no acknowledged webhook is lost",
        (
            Change(
                "actors/node/webhook_ingestor.py",
                "                self._waiting.append(sender)\n",
                "                self._waiting.append(sender)\n                reply(sender, True)\n",
            ),
        ),
        _plan(*("kill_postgres",) * 4, after_s=1.0, amount=0.3),
    ),
    Sabotage(
        "no rate gate",
        "limits are kept",
        (
            Change(
                "actors/number/gate.py", "        self.plan = plan\n        return at_ns\n", "        return now_ns\n"
            ),
            Change(
                "actors/number/gate.py",
                "        return len(left) >= max(1.0, self.plan.mps)\n",
                "        return False\n",
            ),
        ),
        _plan(mps=120, contacts=300),
    ),
    Sabotage(
        "a late status lowers",
        "no acknowledged webhook is lost",
        (Change("storage/statuses.py", "greatest(message.state, news.status)", "news.status"),),
        _plan(profile="chaos-webhooks", contacts=300),
    ),
    Sabotage(
        "no sweep behind the cursor",
        _FORGOTTEN,
        (
            Change(
                "storage/buffers.py",
                '    parameters = {"campaign_id": campaign_id, "after": after, "limit": limit}\n    with',
                '    parameters = {"campaign_id": campaign_id, "after": 2**62, "limit": limit}\n    with',
            ),
        ),
        _plan("kill_server"),
    ),
]

SABOTAGES = {sabotage.name: sabotage for sabotage in _ALL}
