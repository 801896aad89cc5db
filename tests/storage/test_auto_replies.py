"""What is answered by itself, through the webhook's door: once, in the message's own commit, and never on and on."""

import threading
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.builders import a_campaign, a_number, a_sender, claimed
from tests.support.webhooks import body_of, now, says, webhook
from titanflow.domain.opt_out import BUILT_IN, Language
from titanflow.domain.webhooks import parse
from titanflow.storage import faqs, inbox_settings, outbox
from titanflow.storage.database import Connection, Database
from titanflow.storage.settlements import Settlement, settle
from titanflow.storage.webhook_batches import store

_GERMAN = next(one for one in BUILT_IN if one.language == "de")
_ENGLISH = next(one for one in BUILT_IN if one.language == "en")


def _outbox(db: Database) -> list[tuple[str, str]]:
    """Who wrote it, and what, in order."""
    with db.connection() as connection:
        return connection.execute(
            "SELECT source, content->'text'->>'body' FROM inbox_messages WHERE direction = 'outbound' ORDER BY id"
        ).fetchall()


def _a_faq(db: Database, *keywords: str, answer: str = "9 to 5", on: bool = True) -> int:
    made = faqs.add(db, {"name": "", "keywords": list(keywords), "answer": answer, "on": on})
    assert made is not None
    return int(made["id"])


def _suppressed(db: Database) -> list[str]:
    with db.connection() as connection:
        return [row[0] for row in connection.execute("SELECT phone FROM suppressions ORDER BY phone")]


def test_stop_is_confirmed_once_a_day_whatever_follows(db: Database) -> None:
    """At most one confirmation a person and day: two machines never opt each other out and in for long."""
    a_number(db)
    for n, word in enumerate(["stop", "start", "stop", "start", "STOP"]):
        webhook(db, says(word, wamid=f"w{n}", at=now() - 60 + n))
        webhook(db, says(word, wamid=f"w{n}", at=now() - 60 + n))

    assert _outbox(db) == [("opt_out:stop", _ENGLISH.stop_reply)]
    assert _suppressed(db) == ["+491510000000"]


def test_start_is_confirmed_only_if_it_has_lifted_a_stop(db: Database) -> None:
    a_number(db)
    with db.connection() as connection:
        connection.execute("INSERT INTO suppressions (phone, source) VALUES ('+491510000009', 'manual')")
        connection.execute(
            "INSERT INTO suppressions (phone, source, created_at) VALUES ('+491510000000', 'stop_word', '2020-01-01')"
        )

    webhook(db, says("start", wamid="a"), *[says("start", wamid=n, sender=f"49151000000{n}") for n in "89"])

    assert _outbox(db) == [("opt_out:start", _ENGLISH.start_reply)]


def test_the_last_word_of_a_batch_is_the_one_confirmed(db: Database) -> None:
    a_number(db)
    webhook(db, says("start", wamid="a", at=now() - 9), says("stop", wamid="b", at=now() - 5))
    assert _outbox(db) == [("opt_out:stop", _ENGLISH.stop_reply)]


def test_a_confirmation_speaks_the_campaigns_language(db: Database) -> None:
    campaign = a_campaign(db, contacts=1)
    with db.connection() as connection:
        connection.execute("UPDATE templates SET language = 'de'")
    [one] = claimed(db, campaign, a_sender(db, campaign.number_id))
    settle(db, [Settlement(one.log_id or 0, 1, "sent", wamid="out")], node_id=1)

    webhook(db, says("stop", wamid="a", context={"id": "out"}))

    assert _outbox(db) == [("opt_out:stop", _GERMAN.stop_reply)]


def test_confirmations_can_be_switched_off_and_the_opt_out_holds_all_the_same(db: Database) -> None:
    a_number(db)
    inbox_settings.write_languages(db, None, confirm=False)
    webhook(db, says("stop", wamid="a"))
    assert (_outbox(db), _suppressed(db)) == ([], ["+491510000000"])


def test_a_stop_too_old_for_the_service_window_is_kept_and_not_confirmed(db: Database) -> None:
    a_number(db)
    webhook(db, says("stop", wamid="a", at=now() - 23 * 3600 - 60))
    assert (_outbox(db), _suppressed(db)) == ([], ["+491510000000"])


def test_own_words_hold_from_the_next_message_on(db: Database) -> None:
    a_number(db)
    webhook(db, says("fino", wamid="a"))
    inbox_settings.write_languages(db, [Language("eo", ("Fino",), ("ek",), "Bone.", None)], confirm=True)

    webhook(db, says("FINO!", wamid="b"), says("stop", wamid="c", sender="491510000001"))

    assert (_outbox(db), _suppressed(db)) == ([("opt_out:stop", "Bone.")], ["+491510000000"])
    inbox_settings.write_languages(db, None, confirm=True)
    webhook(db, says("stop", wamid="d", sender="491510000001"))
    assert _suppressed(db) == ["+491510000000", "+491510000001"]


def test_a_confirmation_leaves_although_the_person_is_suppressed_now(db: Database) -> None:
    number_id = a_number(db)
    webhook(db, says("stop", wamid="a"))
    [reply] = outbox.claim(db, sender=a_sender(db, number_id), limit=10).claims
    assert reply.content == {"type": "text", "text": {"body": _ENGLISH.stop_reply}}


def test_the_first_rule_that_matches_answers_and_says_so(db: Database) -> None:
    a_number(db)
    _a_faq(db, "hours", on=False)
    first = _a_faq(db, "open", "hours")
    _a_faq(db, "hours", answer="never")

    webhook(db, says("Your HOURS?", wamid="a"), says("hello", wamid="b"))

    assert _outbox(db) == [(f"faq:{first}", "9 to 5")]
    with db.connection() as connection:
        content = connection.execute("SELECT content FROM inbox_messages WHERE direction = 'outbound'").fetchone()
        assert connection.execute("SELECT kind, faq_id FROM auto_replies").fetchall() == [("faq", first)]
    assert content == ({"type": "text", "text": {"body": "9 to 5"}, "context": {"message_id": "a"}},)


def test_a_webhook_that_comes_again_is_not_answered_again(db: Database) -> None:
    a_number(db)
    _a_faq(db, "hours")
    for _ in range(3):
        webhook(db, says("hours", wamid="a"))
    assert len(_outbox(db)) == 1


def test_answers_are_bounded_by_hour_within_one_batch_too(db: Database) -> None:
    a_number(db)
    _a_faq(db, "hours")
    inbox_settings.change(db, {"faq_per_hour": 3})
    webhook(db, *[says("hours", wamid=f"a{n}") for n in range(2)])
    webhook(db, *[says("hours", wamid=f"b{n}") for n in range(5)], says("hours", wamid="c", sender="491510000001"))
    assert len(_outbox(db)) == 4


def test_answers_are_bounded_by_day(db: Database) -> None:
    a_number(db)
    _a_faq(db, "hours")
    inbox_settings.change(db, {"faq_per_day": 2})
    for n in range(4):
        webhook(db, says("hours", wamid=f"a{n}"))
        with db.connection() as connection:
            connection.execute("UPDATE auto_replies SET at = at - interval '2 hours'")
    assert len(_outbox(db)) == 2


def test_an_old_message_is_not_answered(db: Database) -> None:
    """After an outage Meta delivers what people wrote hours ago: they have found out by now."""
    a_number(db)
    _a_faq(db, "hours")
    webhook(db, says("hours", wamid="a", at=now() - 3600))
    inbox_settings.change(db, {"faq_max_age_minutes": 120})
    webhook(db, says("hours", wamid="b", at=now() - 3600))
    assert len(_outbox(db)) == 1


@pytest.mark.parametrize("switch", ["everything", "conversation", "rule"])
def test_each_switch_keeps_it_silent_and_back_on_it_speaks(db: Database, switch: str) -> None:
    a_number(db)
    faq_id = _a_faq(db, "hours")
    webhook(db, says("hello", wamid="a"))

    def turn(on: bool) -> None:
        match switch:
            case "everything":
                inbox_settings.change(db, {"faqs_on": on})
            case "conversation":
                assert faqs.switch(db, ["+491510000000"], on=on)
            case _:
                assert faqs.change(db, faq_id, {"on": on})

    turn(False)
    webhook(db, says("hours", wamid="b"))
    assert _outbox(db) == []
    turn(True)
    webhook(db, says("hours", wamid="c"))
    assert len(_outbox(db)) == 1


def test_a_button_may_ask_and_a_stop_is_no_question(db: Database) -> None:
    a_number(db)
    faq_id = _a_faq(db, "stop", "hours")
    button = {"payload": "REPLY:1:0", "text": "Opening hours"}
    webhook(db, {**says("", wamid="a"), "type": "button", "button": button}, says("stop", wamid="b", sender="4915100"))
    assert sorted(one for one, _ in _outbox(db)) == [f"faq:{faq_id}", "opt_out:stop"]


class _Crash(Exception):
    """The process dies here."""


def test_a_crash_before_the_commit_loses_no_reply_and_sends_none_twice(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_number(db)
    _a_faq(db, "hours")
    from titanflow.storage import conversation_rules

    def crash(transaction: Connection, replies: Any) -> list[int]:
        outbox.enqueue(transaction, replies)
        raise _Crash

    with monkeypatch.context() as patched:
        patched.setattr(conversation_rules, "enqueue", crash)
        with pytest.raises(_Crash):
            webhook(db, says("hours", wamid="a"))
    assert _outbox(db) == []

    webhook(db, says("hours", wamid="a"))

    assert len(_outbox(db)) == 1


def test_without_rules_a_message_costs_no_look_at_any(db: Database) -> None:
    a_number(db)
    webhook(db, says("hours", wamid="a"))
    with db.connection() as connection:
        connection.execute("ALTER TABLE auto_replies RENAME TO moved_away")  # any look at it would fail
        connection.execute("ALTER TABLE faqs RENAME TO faqs_moved_away")
    webhook(db, says("hours", wamid="b"))  # their version is known: nothing was chosen since
    assert _outbox(db) == []


def test_stops_to_two_numbers_at_once_are_confirmed_once(db: Database) -> None:
    """The suppression's row makes them wait for each other."""
    a_number(db)
    a_number(db, phone_number_id="1002")
    webhook(db, says("hello", wamid="x"))
    bodies = [body_of(says("stop", wamid=f"a{n}"), number=number) for n, number in enumerate(["1001", "1002"] * 4)]
    threads = [threading.Thread(target=store, args=(db, parse(one)), kwargs={"node_id": 3}) for one in bodies]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(_outbox(db)) == 1


def test_one_webhook_delivered_many_times_at_once_is_answered_once(db: Database) -> None:
    a_number(db)
    _a_faq(db, "hours")
    batch = parse(body_of(says("hours", wamid="a"), says("stop", wamid="b", sender="491510000001")))
    threads = [threading.Thread(target=store, args=(db, batch), kwargs={"node_id": n}) for n in range(6)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(_outbox(db)) == 2


def test_statuses_alone_read_no_rule(db: Database) -> None:
    """The hot path: nothing here costs a webhook that has no message."""
    a_number(db)
    status = {"id": "out", "status": "read", "timestamp": str(now())}
    with db.connection() as connection:
        connection.execute("ALTER TABLE inbox_settings RENAME TO moved_away")  # any look at it would fail
    webhook(db, statuses=[status])
    with pytest.raises(psycopg.errors.UndefinedTable):
        webhook(db, says("hello", wamid="a"))


_SAID = ("hours", "price and hours", "stop", "start", "hello")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_however_often_and_in_whatever_batches_messages_come_each_is_answered_once(
    db: Database, data: st.DataObject
) -> None:
    a_number(db)
    _forget(db)
    first, second = _a_faq(db, "price"), _a_faq(db, "hours", answer="always")
    texts = data.draw(st.lists(st.sampled_from(_SAID), min_size=1, max_size=6))
    messages = [says(text, wamid=f"w{n}", at=now() - 50 + n, sender=f"4915{n % 2}") for n, text in enumerate(texts)]
    sent = data.draw(st.permutations([*messages, *data.draw(st.lists(st.sampled_from(messages), max_size=4))]))
    cut = data.draw(st.integers(0, len(sent)))

    for batch in (sent[:cut], sent[cut:], messages):
        webhook(db, *batch)

    expected = {
        f"w{n}": f"faq:{first if 'price' in text else second}" for n, text in enumerate(texts) if "hours" in text
    }
    with db.connection() as connection:
        answered = connection.execute(
            "SELECT content->'context'->>'message_id', source FROM inbox_messages"
            " WHERE direction = 'outbound' AND source LIKE 'faq:%'"
        ).fetchall()
        confirmed = connection.execute(
            "SELECT conversation_id, count(*) FROM inbox_messages WHERE source LIKE 'opt_out:%' GROUP BY 1"
        ).fetchall()
    assert sorted(answered) == sorted(expected.items())
    assert all(count == 1 for _, count in confirmed)


def _forget(db: Database) -> None:
    with db.connection() as connection:
        connection.execute("TRUNCATE conversations, inbox_messages, auto_replies, faqs, suppressions CASCADE")
