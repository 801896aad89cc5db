"""What Meta's answer proves: shared reference "What an outcome proves"."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from titanflow.domain.outcomes import Accepted, Rejected, Uncertain
from titanflow.meta import answers
from titanflow.meta.error_policy import RULES, rule_for


def _error(code: object, **more: object) -> bytes:
    return orjson.dumps({"error": {"message": "(#1) no", "type": "OAuthException", "code": code, **more}})


def test_200_with_a_wamid_is_accepted() -> None:
    body = orjson.dumps({"messages": [{"id": "wamid.X", "message_status": "accepted"}]})
    assert answers.read(200, body) == Accepted("wamid.X")


def test_a_held_message_is_accepted_too() -> None:
    body = orjson.dumps({"messages": [{"id": "wamid.X", "message_status": "held_for_quality_assessment"}]})
    assert answers.read(200, body) == Accepted("wamid.X", held=True)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"messages": []}'),
        (200, b'{"messages": [{"id": ""}]}'),
        (200, b'{"messages": [{"id": 5}]}'),
        (302, b"<html>"),
        (403, b"<html>forbidden"),
        (502, b"bad gateway"),
        (500, b'{"error": "x"}'),
        (400, b'{"error": {}}'),
        (500, _error(987654)),
    ],
)
def test_everything_unclear_is_uncertain(status: int, body: bytes) -> None:
    assert isinstance(answers.read(status, body), Uncertain)


@pytest.mark.parametrize("code", [1, 2, 131000, 131016, 133004])
@pytest.mark.parametrize("status", [400, 500, 503])
def test_ambiguous_codes_are_uncertain_whatever_the_status(code: int, status: int) -> None:
    outcome = answers.read(status, _error(code))
    assert isinstance(outcome, Uncertain)
    assert outcome.rule == RULES[code]


@pytest.mark.parametrize("code", [4, 80007, 130429, 131048, 131056, 131057, 190, 132015, 133010])
def test_what_was_refused_at_the_door_may_go_again(code: int) -> None:
    outcome = answers.read(400, _error(code))
    assert isinstance(outcome, Rejected)
    assert outcome.rule.verdict == "again"


@pytest.mark.parametrize("code", [100, 131009, 131026, 131049, 131050, 132000, 132012])
def test_what_is_wrong_with_this_message_is_final(code: int) -> None:
    outcome = answers.read(400, _error(code))
    assert isinstance(outcome, Rejected)
    assert outcome.rule.verdict == "final"


def test_code_as_string_and_error_data_as_string_are_read() -> None:
    outcome = answers.read(400, _error("131026", error_data="nobody there", fbtrace_id="A1"))
    assert isinstance(outcome, Rejected)
    assert outcome.detail == "131026: nobody there (trace A1)"


def test_subcode_33_of_100_is_the_number() -> None:
    assert rule_for(100, 33).scope == "number"


def test_an_unknown_code_is_never_sent_again() -> None:
    refused, unclear = answers.read(400, _error(987654)), answers.read(500, _error(987654))
    assert isinstance(refused, Rejected)
    assert refused.rule.verdict == "final"
    assert isinstance(unclear, Uncertain)


@given(status=st.integers(100, 599), body=st.binary(max_size=200))
def test_no_answer_makes_it_raise(status: int, body: bytes) -> None:
    assert isinstance(answers.read(status, body), Accepted | Rejected | Uncertain)


@pytest.mark.parametrize(
    ("usage", "waits_s"),
    [
        ('{"102290129340398": [{"type": "messages", "estimated_time_to_regain_access": 12}]}', 720),
        ('{"1": [{"estimated_time_to_regain_access": 0}], "2": [{"estimated_time_to_regain_access": 3}]}', 180),
        ('{"1": [{"estimated_time_to_regain_access": 99999}]}', 24 * 3600),
        ('{"1": [{"estimated_time_to_regain_access": -5}]}', 7),
        ('{"1": [{"call_count": 90}, 3], "2": 4}', 7),
        ("[1]", 7),
        ("no JSON", 7),
        (None, 7),
    ],
)
def test_the_time_to_regain_access_is_in_minutes_and_goes_before_retry_after(usage: str | None, waits_s: float) -> None:
    outcome = answers.read(400, _error(80007), retry_after="7", usage=usage)
    assert isinstance(outcome, Rejected)
    assert outcome.retry_after_s == waits_s
