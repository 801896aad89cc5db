"""Promise 5: a reply is counted once, for the message that it answers, however often and in whatever order it comes."""

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import webhooks
from tests.support.builders import ACampaign, a_campaign, a_sender, claimed
from tests.support.webhooks import now, webhook
from titanflow.domain.replies import WITHIN_S
from titanflow.storage.campaigns import change_state
from titanflow.storage.counters import heal
from titanflow.storage.database import Database
from titanflow.storage.replies import _ATTRIBUTE
from titanflow.storage.retention import delete
from titanflow.storage.settlements import Settlement, settle

NOW = now()  # claims are moved to it


def says(text: str, *, wamid: str, at: int = NOW, **more: Any) -> dict[str, Any]:
    return webhooks.says(text, wamid=wamid, at=at, **more)


def _sent(db: Database, *, hours_ago: float = 0.0, state: str = "sent", **more: Any) -> tuple[ACampaign, int]:
    """A campaign whose one person was sent to, with wamid `out.<log id>`."""
    campaign = a_campaign(db, contacts=1, **more)
    [one] = claimed(db, campaign, a_sender(db, campaign.number_id))
    assert one.log_id is not None
    if state == "sent":
        settle(db, [Settlement(one.log_id, 1, "sent", wamid=f"out.{one.log_id}")], node_id=1)
    with db.connection() as connection:
        connection.execute(
            "UPDATE message_logs SET claimed_at = to_timestamp(%s) - make_interval(secs => %s), state = %s"
            " WHERE id = %s",
            [NOW, hours_ago * 3600, state, one.log_id],
        )
    return campaign, one.log_id


def _attributed(db: Database) -> dict[str, int | None]:
    with db.connection() as connection:
        rows = connection.execute(
            "SELECT wamid, message_log_id FROM inbox_messages WHERE direction = 'inbound'"
        ).fetchall()
    return dict(rows)


def _replies(db: Database) -> dict[int, int]:
    """Seconds until the first reply, by log."""
    with db.connection() as connection:
        return dict(connection.execute("SELECT log_id, seconds FROM replies ORDER BY log_id").fetchall())


def _assert_exact(db: Database) -> None:
    """Every roll-up equals a recount of the rows."""
    where = "campaign_id, date_bin('15 minutes', at, 'epoch'), number_id, template_id"
    with db.connection() as connection:
        replies = connection.execute(f"SELECT {where}, seconds FROM replies".encode()).fetchall()
        hourly = connection.execute(
            "SELECT campaign_id, hour, number_id, template_id, replied FROM stats_hourly WHERE replied <> 0"
        ).fetchall()
        times = connection.execute(
            "SELECT campaign_id, hour, number_id, template_id, within_s, replied, seconds FROM reply_times"
            " WHERE (replied, seconds) <> (0, 0)"
        ).fetchall()
        answered = connection.execute(
            "SELECT count(DISTINCT message_log_id) FROM inbox_messages"
            " WHERE intent IS NULL AND message_log_id IS NOT NULL"
        ).fetchone()
    groups = [(*group, min(bound for bound in WITHIN_S if bound >= seconds)) for *group, seconds in replies]
    assert dict(Counter(tuple(row[:4]) for row in replies)) == {row[:4]: row[4] for row in hourly}
    assert dict(Counter(groups)) == {row[:5]: row[5] for row in times}
    assert sum(row[4] for row in replies) == sum(row[6] for row in times)
    assert answered == (len(replies),)


def test_a_reply_that_quotes_a_message_counts_for_it_and_a_later_one_no_more(db: Database) -> None:
    old, old_log = _sent(db, hours_ago=30 * 24)
    _sent(db, hours_ago=1, template="other")

    webhook(db, says("yes", wamid="a", at=NOW + 40, context={"id": f"out.{old_log}"}))
    webhook(db, says("really", wamid="b", at=NOW + 90, context={"id": f"out.{old_log}"}))

    assert _attributed(db) == {"a": old_log, "b": old_log}
    assert _replies(db) == {old_log: 30 * 24 * 3600 + 40}
    with db.connection() as connection:
        row = connection.execute("SELECT campaign_id, template_id, replied FROM stats_hourly WHERE replied > 0")
        assert row.fetchall() == [(old.id, old.template_id, 1)]
    _assert_exact(db)


def test_a_reply_without_a_quote_answers_the_last_message_from_that_number(db: Database) -> None:
    """Weakness C8 of the Elixir system: any number, any age, failed messages too."""
    _sent(db, hours_ago=50)
    _, last = _sent(db, hours_ago=2)
    _sent(db, hours_ago=1, state="failed")
    _sent(db, hours_ago=1, phone_number_id="1002")
    _sent(db, hours_ago=-1)  # later than the reply

    webhook(db, says("hi", wamid="a"))

    assert _attributed(db) == {"a": last}
    assert _replies(db) == {last: 7200}
    _assert_exact(db)


def test_the_window_is_a_setting(db: Database) -> None:
    _, log_id = _sent(db, hours_ago=71)
    with db.connection() as connection:
        connection.execute("UPDATE inbox_settings SET reply_window_hours = 70")
    webhook(db, says("hi", wamid="a"))
    with db.connection() as connection:
        connection.execute("UPDATE inbox_settings SET reply_window_hours = 72")

    webhook(db, says("hi", wamid="b"))

    assert _attributed(db) == {"a": None, "b": log_id}


@pytest.mark.parametrize("state", ["claimed", "in_doubt", "delivered", "read"])
def test_a_reply_may_be_faster_than_metas_answer(db: Database, state: str) -> None:
    """What may have been sent may be answered: the end is the same whenever its status comes."""
    _, log_id = _sent(db, state=state)
    webhook(db, says("hi", wamid="a", at=NOW + 2, context={"id": "out.not-known-yet"}))
    assert _replies(db) == {log_id: 2}


@pytest.mark.parametrize("state", ["failed", "retrying", "cancelled"])
def test_nobody_answers_what_was_not_sent(db: Database, state: str) -> None:
    _sent(db, state=state)
    webhook(db, says("hi", wamid="a"))
    assert _replies(db) == {}


def test_a_completed_campaign_is_answered_while_its_window_lasts(db: Database) -> None:
    campaign, log_id = _sent(db, hours_ago=10)
    with db.connection() as connection:
        connection.execute(
            "UPDATE campaigns SET state = 'completed', completed_at = to_timestamp(%s) - interval '9 hours'"
            " WHERE id = %s",
            [NOW, campaign.id],
        )
    webhook(db, says("hi", wamid="a"))
    assert _replies(db) == {log_id: 36_000}


def test_stop_is_noted_for_its_campaign_but_is_no_reply(db: Database) -> None:
    """An opt-out in the reply rate would praise the worst campaign most."""
    _, log_id = _sent(db)
    webhook(db, says("STOP", wamid="a", at=NOW + 1))
    assert (_attributed(db), _replies(db)) == ({"a": log_id}, {})

    webhook(db, says("thanks anyway", wamid="b", at=NOW + 7))

    assert _replies(db) == {log_id: 7}
    _assert_exact(db)


def _reaction(log_id: int | str, emoji: str, wamid: str) -> dict[str, Any]:
    reaction = {"message_id": f"out.{log_id}", "emoji": emoji}
    return {"from": "491510000000", "id": wamid, "timestamp": str(NOW), "type": "reaction", "reaction": reaction}


def test_a_reaction_is_a_reply_to_the_message_it_is_stuck_to_alone(db: Database) -> None:
    _, log_id = _sent(db)
    webhook(db, _reaction("unknown", "👍", "a"), _reaction(log_id, "", "b"))
    assert _replies(db) == {}

    webhook(db, _reaction(log_id, "👍", "c"))

    assert _replies(db) == {log_id: 0}
    assert _attributed(db) == {"a": None, "b": None, "c": log_id}


def test_who_quotes_another_message_of_the_inbox_answers_that_one(db: Database) -> None:
    _sent(db, hours_ago=1)
    webhook(db, says("hello", wamid="early", at=NOW - 7200))
    webhook(db, says("this one", wamid="a", context={"id": "early"}))
    assert _attributed(db) == {"a": None, "early": None}


def test_news_of_the_account_is_no_reply(db: Database) -> None:
    _sent(db)
    webhook(db, {**says("", wamid="a"), "type": "system", "system": {"type": "user_changed_number"}})
    assert _attributed(db) == {"a": None}


def test_a_person_under_whatsapps_own_form_of_the_number_and_one_without_a_phone(db: Database) -> None:
    _, brazil = _sent(db, first_phone=5511987654321)
    _, german = _sent(db)
    webhook(db, says("oi", wamid="a", sender="551187654321", at=NOW + 1))
    quoted = says("hi", wamid="b", at=NOW + 1, context={"id": f"out.{german}"})
    del quoted["from"]
    webhook(db, {**quoted, "from_user_id": "DE.123"})
    assert _attributed(db) == {"a": brazil, "b": german}


def test_impossible_times_cost_nothing(db: Database) -> None:
    _, log_id = _sent(db)
    context = {"id": f"out.{log_id}"}
    webhook(db, says("hi", wamid="a", at=0, context=context), says("hi", wamid="b", at=253402300799, context=context))
    assert _replies(db) == {log_id: 0}
    _assert_exact(db)


def test_statuses_and_messages_of_one_webhook_are_both_kept(db: Database) -> None:
    _, log_id = _sent(db)
    read = {"id": f"out.{log_id}", "status": "read", "timestamp": str(NOW), "biz_opaque_callback_data": f"m:{log_id}:1"}
    webhook(db, says("hi", wamid="a", at=NOW + 1), statuses=[read])
    with db.connection() as connection:
        row = connection.execute("SELECT sum(read)::int, sum(replied)::int FROM stats_hourly").fetchone()
    assert row == (1, 1)


_SAID = ("hi", "STOP", "quoting", "reaction", "much later", "from another number")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_the_end_is_the_same_in_whatever_order_and_however_often_they_come(db: Database, data: st.DataObject) -> None:
    _forget(db)
    _, first = _sent(db, hours_ago=5)
    _, second = _sent(db, hours_ago=1, template="other")
    _sent(db, hours_ago=1, phone_number_id="1002", first_phone=491529999999)
    chosen = data.draw(st.lists(st.sampled_from(_SAID), min_size=1, max_size=5))
    messages = [_message(kind, n, first) for n, kind in enumerate(chosen)]
    straight = _end(db, [[one] for one in messages])
    order = data.draw(st.permutations([*messages, *data.draw(st.lists(st.sampled_from(messages), max_size=3))]))
    cuts = data.draw(st.lists(st.booleans(), min_size=len(order), max_size=len(order)))
    batches: list[list[dict[str, Any]]] = [[]]
    for one, cut in zip(order, cuts, strict=True):
        batches[-1].append(one)
        if cut:
            batches.append([])

    assert _end(db, batches) == straight
    assert set(straight[1]) <= {first, second}


_EVENTS = ("settle", "delivered", "read", "failed")


@pytest.mark.parametrize("names", list(itertools.combinations(_EVENTS, 3)))
def test_a_quoting_reply_counts_the_same_before_and_after_all_that_meta_reports(
    db: Database, names: tuple[str, ...]
) -> None:
    ends = set()
    for number, order in enumerate(itertools.permutations((*names, "reply"))):
        campaign = a_campaign(db, contacts=1, first_phone=491530000000 + number)
        [one] = claimed(db, campaign, a_sender(db, campaign.number_id))
        wamid, context = f"out.{one.log_id}", {"id": f"out.{one.log_id}"}
        for event in (*order, "reply"):
            if event == "settle":
                settle(db, [Settlement(one.log_id or 0, 1, "sent", wamid=wamid)], node_id=1)
            elif event == "reply":
                webhook(db, says("hi", wamid=f"in.{number}", sender=campaign.phones[0], at=now(), context=context))
            else:
                echo = {"biz_opaque_callback_data": f"m:{one.log_id}:1"}
                webhook(db, statuses=[{"id": wamid, "status": event, "timestamp": str(now()), **echo}])
        ends.add((heal(db, campaign.id) == {}, one.log_id in _replies(db), _replied(db, campaign.id)))

    assert ends == {(True, True, 1)}


def _replied(db: Database, campaign_id: int) -> int:
    with db.connection() as connection:
        row = connection.execute("SELECT sum(replied) FROM stats_hourly WHERE campaign_id = %s", [campaign_id])
        found = row.fetchone()
    assert found is not None
    return int(found[0])


def _message(kind: str, n: int, log_id: int) -> dict[str, Any]:
    wamid, at = f"in.{n}", NOW + 10 * n
    match kind:
        case "quoting":
            return says("yes", wamid=wamid, at=at, context={"id": f"out.{log_id}"})
        case "reaction":
            return {**_reaction(log_id, "👍", wamid), "timestamp": str(at)}
        case "much later":
            return says("hm", wamid=wamid, at=NOW + 90 * 3600)
        case "from another number":
            return says("hi", wamid=wamid, at=at, sender="491520000001")
        case text:
            return says(text, wamid=wamid, at=at)


def _end(db: Database, batches: list[list[dict[str, Any]]]) -> tuple[dict[str, int | None], dict[int, int]]:
    with db.connection() as connection:
        connection.execute("DELETE FROM conversations")
        connection.execute("DELETE FROM replies")
        connection.execute("DELETE FROM reply_times")
        connection.execute("UPDATE stats_hourly SET replied = 0")
    for batch in batches:
        webhook(db, *batch)
    _assert_exact(db)
    return _attributed(db), _replies(db)


def _forget(db: Database) -> None:
    with db.connection() as connection:
        connection.execute("TRUNCATE message_logs, contacts, campaigns, suppressions CASCADE")


def test_a_deleted_campaign_takes_its_replies_along_and_leaves_the_roll_ups(db: Database) -> None:
    campaign, _ = _sent(db)
    webhook(db, says("hi", wamid="a"))
    change_state(db, campaign.id, to="completed", allowed=["running"], by="engine")
    assert delete(db, campaign.id)
    assert _replies(db) == {}
    with db.connection() as connection:
        assert connection.execute("SELECT sum(replied)::int FROM reply_times").fetchone() == (1,)


def test_the_plan_of_reply_attribution(db: Database) -> None:
    """By person and time: three index look-ups a campaign the person is in, and none of them in an index of its own."""
    with db.connection() as connection:
        connection.execute(
            "INSERT INTO campaigns (name, state, completed_at) SELECT 'c', 'completed', now() - interval '9 days'"
            " FROM generate_series(1, 60)"
        )
        connection.execute(
            "INSERT INTO contacts (campaign_id, phone) SELECT campaign.id, '+49151' || lpad(n::text, 7, '0')"
            " FROM campaigns AS campaign, generate_series(1, 500) AS n"
        )
        connection.execute(
            "INSERT INTO message_logs (campaign_id, contact_id, number_id, template_id, incarnation, state, wamid)"
            " SELECT campaign_id, id, 1, 1, 1, 'sent', 'w' || id FROM contacts"
        )
        connection.execute("ANALYZE campaigns, contacts, message_logs")
        parameters = {
            "message_ids": [1], "number_ids": [1], "ats": ["2026-11-24"], "quoted": ["w1"], "by_time": [True],
            "intents": [None], "phones": ["+491510000001 +49151"], "within_s": [10, 2**31 - 1],
        }  # fmt: skip
        [(plan,)] = connection.execute("EXPLAIN (FORMAT JSON) " + _ATTRIBUTE, parameters).fetchall()

    nodes = list(_nodes(plan[0]["Plan"]))
    assert {"contacts_by_phone", "message_logs_fence", "message_logs_by_wamid"} <= {
        one.get("Index Name") for one in nodes
    }
    assert not [one for one in nodes if one["Node Type"] == "Seq Scan" and one["Relation Name"] in _BIG]


_BIG = ("message_logs", "contacts", "inbox_messages", "replies")


def _nodes(plan: dict[str, Any]) -> Any:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def test_how_fast_people_answer_is_kept_in_groups(db: Database) -> None:
    _sent(db, hours_ago=1)
    webhook(db, says("hi", wamid="a", at=NOW + 1))
    webhook(db, says("hello", wamid="b", at=NOW - 3598))
    with db.connection() as connection:
        rows = connection.execute(
            "SELECT within_s, sum(replied)::int, sum(seconds)::int FROM reply_times GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert rows == [(10, 1, 2), (7200, 0, 0)]
