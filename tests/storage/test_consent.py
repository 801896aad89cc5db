"""Promise 6: a STOP that came by webhook is decisive at the claim, whoever sends, however far the campaign is."""

from typing import Any

import orjson
import pytest

from tests.support.builders import a_campaign, a_number, a_sender, claimed, counts
from titanflow.domain.phones import same_person
from titanflow.domain.webhooks import parse
from titanflow.storage.database import Database
from titanflow.storage.settlements import Settlement, settle
from titanflow.storage.webhook_batches import store

_AT = 1_750_000_000


def _webhook(db: Database, *messages: dict[str, Any], number: str = "1001", field: str = "messages") -> None:
    value: dict[str, Any] = {"metadata": {"phone_number_id": number}, "messages": list(messages)}
    if field == "user_preferences":
        value = {"user_preferences": list(messages)}
    body = {"entry": [{"id": "9001", "changes": [{"field": field, "value": value}]}]}
    store(db, parse(orjson.dumps(body)), node_id=3)


def _says(text: str, *, sender: str = "491510000000", wamid: str = "wamid.in.1", at: int = _AT, **more: Any) -> Any:
    return {"from": sender, "id": wamid, "timestamp": str(at), "type": "text", "text": {"body": text}, **more}


def _suppressed(db: Database) -> dict[str, str]:
    with db.connection() as connection:
        return dict(connection.execute("SELECT phone, source FROM suppressions ORDER BY phone").fetchall())


def test_a_stop_is_in_the_inbox_and_decides_the_claim(db: Database) -> None:
    """Weaknesses S2 and S4 of the Elixir system: STOP was no opt-out, and what stood in the list was sent anyway."""
    campaign = a_campaign(db, contacts=3)

    _webhook(db, _says("Stop!"))

    taken = claimed(db, campaign, a_sender(db, campaign.number_id))
    assert [one.contact_id for one in taken] == campaign.contact_ids[1:]
    assert counts(db, campaign.id) == {"excluded": 1, "claimed": 2}
    with db.connection() as connection:
        assert connection.execute("SELECT count(*) FROM inbox_messages").fetchone() == (1,)


def test_a_stop_between_two_attempts_decides_too(db: Database) -> None:
    campaign = a_campaign(db, contacts=1)
    sender = a_sender(db, campaign.number_id)
    [one] = claimed(db, campaign, sender)
    assert one.log_id is not None
    settle(db, [Settlement(one.log_id, 1, "retrying", error_code=131056, error_detail="", due_in_s=0)], node_id=1)

    _webhook(db, _says("SAIR"))

    assert claimed(db, campaign, sender, again=True) == []
    assert counts(db, campaign.id) == {"excluded": 1}


def test_a_sentence_with_stop_in_it_changes_nothing(db: Database) -> None:
    a_number(db)
    _webhook(db, _says("Don't stop sending these"))
    assert _suppressed(db) == {}


def test_start_lifts_only_what_a_stop_word_has_set(db: Database) -> None:
    a_number(db)
    with db.connection() as connection:
        connection.execute("INSERT INTO suppressions (phone, source) VALUES ('+491510000009', 'manual')")
    _webhook(db, _says("stop"), _says("stop", sender="491510000009", wamid="wamid.in.2"))
    assert _suppressed(db) == {"+491510000000": "stop_word", "+491510000009": "manual"}

    start = _says("start", wamid="wamid.in.3", at=_AT + 5)
    _webhook(db, start, _says("start", sender="491510000009", wamid="wamid.in.4", at=_AT + 5))

    assert _suppressed(db) == {"+491510000009": "manual"}


def test_a_stop_delivered_again_after_a_start_is_no_new_stop(db: Database) -> None:
    a_number(db)
    stop = _says("stop")
    _webhook(db, stop)
    _webhook(db, _says("start", wamid="wamid.in.2", at=_AT + 5))
    _webhook(db, stop)
    assert _suppressed(db) == {}


def test_an_old_start_lifts_no_later_stop(db: Database) -> None:
    a_number(db)
    _webhook(db, _says("stop"))
    _webhook(db, _says("start", wamid="wamid.in.2", at=_AT - 5))
    assert _suppressed(db) == {"+491510000000": "stop_word"}


def test_the_latest_word_of_one_batch_decides(db: Database) -> None:
    a_number(db)
    _webhook(db, _says("start", wamid="wamid.in.2", at=_AT + 1), _says("stop"))
    assert _suppressed(db) == {}


def test_a_stop_outlasts_what_would_have_ended_by_itself(db: Database) -> None:
    a_number(db)
    with db.connection() as connection:
        connection.execute(
            "INSERT INTO suppressions (phone, source, expires_at) VALUES ('+491510000000', '131026', now() + '1 day')"
        )
    _webhook(db, _says("stop"))
    with db.connection() as connection:
        row = connection.execute("SELECT source, reason, expires_at FROM suppressions").fetchone()
    assert row == ("stop_word", "opted_out", None)


def test_metas_switch_is_not_undone_by_a_stop_word_nor_the_other_way_round(db: Database) -> None:
    a_number(db)
    switch = {"wa_id": "491510000000", "value": "stop", "timestamp": _AT}
    _webhook(db, switch, field="user_preferences")
    _webhook(db, _says("stop", at=_AT + 1))
    _webhook(db, {**switch, "value": "resume", "timestamp": _AT + 2}, field="user_preferences")
    assert _suppressed(db) == {"+491510000000": "stop_word"}


def test_a_person_under_whatsapps_own_form_of_the_number(db: Database) -> None:
    """Brazil's ninth digit: the reply comes from a number that isn't in the list."""
    campaign = a_campaign(db, contacts=1, first_phone=5511987654321)
    _webhook(db, _says("parar", sender="551187654321"))
    assert claimed(db, campaign, a_sender(db, campaign.number_id)) == []


def test_a_person_without_a_phone_is_found_by_the_message_that_was_answered(db: Database) -> None:
    campaign = a_campaign(db, contacts=1)
    [one] = claimed(db, campaign, a_sender(db, campaign.number_id))
    assert one.log_id is not None
    settle(db, [Settlement(one.log_id, 1, "sent", wamid="wamid.out")], node_id=1)
    stop = _says("stop", context={"id": "wamid.out"})
    del stop["from"]

    _webhook(db, {**stop, "from_user_id": "US.123"})

    assert _suppressed(db)["+491510000000"] == "stop_word"


@pytest.mark.parametrize(
    "forms",
    [("+5511987654321", "+551187654321"), ("+5215512345678", "+525512345678"), ("+541112345678", "+5491112345678")],
)
def test_all_forms_of_one_person(forms: tuple[str, str]) -> None:
    assert same_person(forms[0]) == same_person(forms[1])
    assert set(forms) == set(same_person(forms[0]))
    assert same_person("+491510000000") == ("+491510000000",)
    assert same_person("+551132345678") == ("+551132345678",)  # a landline has no ninth digit


def test_many_in_one_batch_cost_one_statement_and_are_all_kept(db: Database) -> None:
    a_number(db)
    _webhook(db, *[_says("stop", sender=f"4915100{n:05d}", wamid=f"wamid.{n}") for n in range(200)])
    assert len(_suppressed(db)) == 200
