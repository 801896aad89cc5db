"""Promises 4 and 5: what Meta and the sender say of a message, in any order, split over any commits, ends the same.

docs/decisions/0014-what-webhooks-say.md has the rules that make it so.
"""

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.builders import a_campaign, a_sender, claimed, counts
from tests.support.servers import fresh_database
from titanflow import embedded
from titanflow.storage import statuses
from titanflow.storage.counters import heal
from titanflow.storage.database import Database
from titanflow.storage.rows import fetch_all
from titanflow.storage.settlements import Settlement, settle
from titanflow.storage.statuses import StatusRow

_CLAIMED_AT = datetime(2026, 11, 24, 12, 0, 0, 700_000, tzinfo=UTC)
_RANK = {"sent": 1, "failed": 2, "delivered": 3, "read": 4}
_phones = itertools.count(491530000000)


class Word(NamedTuple):
    """What one webhook says. after_s: Meta's time, since the claim's second. echo: it names our log id."""

    status: str
    after_s: int
    echo: bool
    priced: bool = False


@pytest.fixture(scope="module")
def books(servers: embedded.EmbeddedServers, migrated_template: str) -> Iterator[Database]:
    """One database for all examples: each has a campaign of its own."""
    with fresh_database(servers, template=migrated_template) as url:
        database = Database(url, pool_size=2)
        yield database
        database.close()


_words = st.lists(
    st.builds(
        Word,
        st.sampled_from(["sent", "delivered", "read", "failed"]),
        st.integers(-2, 4),  # their clock may be behind ours, and wrong about what came first
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=_words, settled=st.sampled_from([None, "sent", "in_doubt", "failed"]), data=st.data())
def test_any_order_in_any_batches_ends_the_same(
    books: Database, words: list[Word], settled: str | None, data: st.DataObject
) -> None:
    repeated = words + data.draw(st.lists(st.sampled_from(words), max_size=3), label="repeated by Meta")
    orders = [data.draw(st.permutations([*repeated, settled]), label="an order") for _ in range(2)]
    cuts = [data.draw(st.sets(st.integers(1, 8)), label="commits after") for _ in orders]

    straight = _outcome(books, [settled, *words], set(range(9)))
    for order, cut in zip(orders, cuts, strict=True):
        assert _outcome(books, order, cut) == straight
    assert straight["state"] == _expected(words, settled)


def _expected(words: Sequence[Word], settled: str | None) -> str:
    """The highest of all that was told; an echo is needed as long as nobody has told the wamid."""
    known = settled == "sent" or any(word.echo for word in words)
    told = [word.status for word in words if known]
    told += [settled] if settled in ("sent", "failed") else []
    return max(told, key=lambda one: _RANK[one]) if told else settled or "claimed"


def _outcome(db: Database, order: Sequence[Word | str | None], cuts: set[int]) -> dict[str, Any]:
    """Play one order and return all that is left of it: the row, the counters, the reasons, both roll-ups."""
    phone = next(_phones)
    campaign = a_campaign(db, contacts=1, first_phone=phone)
    [one] = claimed(db, campaign, a_sender(db, campaign.number_id))
    log_id, wamid = one.log_id or 0, f"wamid.{one.log_id}"
    with db.connection() as connection:
        connection.execute("UPDATE message_logs SET claimed_at = %s WHERE id = %s", [_CLAIMED_AT, log_id])
    batch: list[StatusRow] = []
    for n, event in enumerate(order):
        if isinstance(event, Word):
            batch.append(_row(event, wamid, log_id))
        elif event is not None:
            _flush(db, batch)
            settle(db, [_settlement(event, log_id, wamid)], node_id=1)
        if n in cuts:
            _flush(db, batch)
    _flush(db, batch)
    with db.transaction() as transaction:
        statuses.unpark(transaction, node_id=3)

    assert heal(db, campaign.id) == {}
    [row] = fetch_all(
        db,
        "SELECT state::text AS state, sent_at, delivered_at, read_at, failed_at > '2026-11-25' AS failed_by_answer,"
        " CASE WHEN failed_at < '2026-11-25' THEN failed_at END AS failed_at, error_code, pricing"
        " FROM message_logs WHERE id = %(id)s",
        {"id": log_id},
    )
    for name, query in _LEFT.items():
        row[name] = fetch_all(db, query, {"campaign_id": campaign.id, "phone": f"+{phone}"})
    return {**row, "counts": counts(db, campaign.id)}


_LEFT = {
    "reasons": "SELECT reason, sum(count)::int AS count FROM campaign_reasons WHERE campaign_id = %(campaign_id)s"
    " GROUP BY reason HAVING sum(count) <> 0",
    "rolled_up": "SELECT sum(sent)::int AS sent, sum(delivered)::int AS delivered, sum(read)::int AS read,"
    " sum(failed)::int AS failed FROM stats_hourly WHERE campaign_id = %(campaign_id)s HAVING count(*) > 0",
    "priced": "SELECT pricing, sum(count)::int AS count FROM stats_pricing WHERE campaign_id = %(campaign_id)s"
    " GROUP BY pricing",
    "suppressed": "SELECT reason, repeats FROM suppressions WHERE phone = %(phone)s",
}


def _row(word: Word, wamid: str, log_id: int) -> StatusRow:
    failed = word.status == "failed"
    return StatusRow(
        wamid,
        word.status,
        _CLAIMED_AT.replace(microsecond=0) + timedelta(seconds=word.after_s),
        log_id if word.echo else None,
        1 if word.echo else None,
        131050 if failed else None,
        "stopped" if failed else None,
        "marketing" if word.priced else None,
    )


def _settlement(state: str, log_id: int, wamid: str) -> Settlement:
    match state:
        case "sent":
            return Settlement(log_id, 1, "sent", wamid=wamid)
        case "failed":
            return Settlement(log_id, 1, "failed", error_code=131050, error_detail="stopped")
        case _:
            return Settlement(log_id, 1, "in_doubt", error_code=131000)


def _flush(db: Database, batch: list[StatusRow]) -> None:
    if batch:
        with db.transaction() as transaction:
            statuses.apply(transaction, batch, node_id=3)
        batch.clear()


_ALL = [Word("sent", 1, True), Word("delivered", 2, True, True), Word("read", 3, True), Word("failed", 2, True)]


@pytest.mark.parametrize("early", [False, True], ids=["with echo", "by wamid alone, before it is known"])
def test_every_permutation_of_all_words_ends_the_same(books: Database, early: bool) -> None:
    """All 120 orders of sent, delivered, read, failed and the answer to the POST, each word told twice."""
    words: list[Word | str] = [word._replace(echo=not early) for word in _ALL]
    every = set(range(20))

    ends = [
        _outcome(books, [said for said in order for _ in range(2)], every)
        for order in itertools.permutations([*words, "sent"])
    ]

    assert all(end == ends[0] for end in ends)
    assert (ends[0]["state"], ends[0]["error_code"], ends[0]["pricing"]) == ("read", 131050, "marketing")
    assert ends[0]["rolled_up"] == [{"sent": 1, "delivered": 1, "read": 1, "failed": 0}]
    assert ends[0]["sent_at"] == _CLAIMED_AT.replace(microsecond=0)
    assert ends[0]["suppressed"] == [{"reason": "opted_out", "repeats": 1}]


def test_a_parked_status_is_found_behind_any_number_of_strangers(books: Database) -> None:
    """Another tool on the account parks thousands a minute: ours is looked at in its turn."""
    campaign = a_campaign(books, contacts=1, first_phone=next(_phones))
    [one] = claimed(books, campaign, a_sender(books, campaign.number_id))
    _flush(books, [StatusRow("wamid.late", "delivered", _CLAIMED_AT)])
    _flush(books, [StatusRow(f"wamid.stranger.{n}", "sent", _CLAIMED_AT) for n in range(40)])
    settle(books, [Settlement(one.log_id or 0, 1, "sent", wamid="wamid.late")], node_id=1)

    after, rounds = 0, 0
    while after or not rounds:
        with books.transaction() as transaction:
            _, after = statuses.unpark(transaction, node_id=1, after=after, limit=5)
        rounds += 1

    assert rounds > 8
    assert counts(books, campaign.id) == {"delivered": 1}


def test_another_environments_message_with_our_echo_is_not_ours(books: Database) -> None:
    """Two systems on one account get each other's webhooks, and both count their messages from 1."""
    campaign = a_campaign(books, contacts=1, first_phone=next(_phones))
    [one] = claimed(books, campaign, a_sender(books, campaign.number_id))
    settle(books, [Settlement(one.log_id or 0, 1, "sent", wamid="wamid.ours")], node_id=1)

    _flush(books, [StatusRow("wamid.theirs", "failed", _CLAIMED_AT, one.log_id, 1, 131026)])

    assert counts(books, campaign.id) == {"sent": 1}
