"""Fault rules: any code at the door or by webhook, any ambiguous answer, for whom and how often one wants."""

import http.client
import urllib.error

import pytest

from tests.sandbox.fake_meta import FakeMeta
from titanflow.sandbox.errors import ERRORS


@pytest.fixture(autouse=True)
def _no_rules_left(sandbox: FakeMeta) -> None:
    sandbox.control("DELETE", "rules")


def test_every_code_can_be_answered_and_comes_with_its_status(sandbox: FakeMeta) -> None:
    for n, (code, (status, title)) in enumerate(ERRORS.items()):
        sandbox.rule(where="answer", code=code, next=1)
        answer = sandbox.send(f"+49152{n:07d}")
        assert (answer.code, answer.status) == (code, status), answer
        assert title in answer.body["error"]["message"]


def test_every_code_can_fail_a_message_after_it_was_accepted(sandbox: FakeMeta) -> None:
    wamids = {}
    for n, code in enumerate(ERRORS):
        sandbox.rule(where="status", code=code, next=1)
        wamids[code] = sandbox.send(f"+49153{n:07d}", echo=f"m:{n}:1").wamid
    for n, (code, wamid) in enumerate(wamids.items()):
        failed = sandbox.receiver.status_of(wamid, "failed")
        assert failed["errors"][0]["code"] == code
        assert failed["biz_opaque_callback_data"] == f"m:{n}:1"


def test_a_throttle_can_say_when_to_come_back(sandbox: FakeMeta) -> None:
    sandbox.rule(where="answer", code=80007, retry_after_s=7, regain_minutes=3, http_status=429)

    answer = sandbox.send("+491540000001")

    assert answer.status == 429
    assert answer.headers["retry-after"] == "7"
    assert '"estimated_time_to_regain_access":3' in answer.headers["x-business-use-case-usage"]


def test_a_rule_hits_whom_it_names_as_often_as_it_says_and_counts(sandbox: FakeMeta) -> None:
    one = sandbox.rule(where="answer", code=131026, match={"to": "491550000001"})
    two = sandbox.rule(where="answer", code=131056, match={"echo": "m:77:"}, next=1)
    three = sandbox.rule(where="answer", code=4, match={"number": "103"}, every=3, after=1)

    assert sandbox.send("+491550000001").code == 131026
    assert sandbox.send("+491550000002").code is None
    assert [sandbox.send("+491550000003", echo="m:77:1").code for _ in range(2)] == [131056, None]
    codes = [sandbox.send(f"+49156000{n:04d}", number="103").code for n in range(7)]
    assert codes == [None, None, None, 4, None, None, 4]
    assert [sandbox.hits(one), sandbox.hits(two), sandbox.hits(three)] == [1, 1, 2]


def test_a_share_of_the_people_is_always_the_same_people(sandbox: FakeMeta) -> None:
    sandbox.rule(where="answer", code=131026, match={"people": 0.5})
    people = [f"+49157000{n:04d}" for n in range(60)]

    first = [sandbox.send(to).code for to in people]

    assert 10 < sum(code == 131026 for code in first) < 50
    assert [sandbox.send(to).code for to in people] == first


def test_authentication_errors_are_never_masked_by_a_rule(sandbox: FakeMeta) -> None:
    sandbox.rule(where="answer", code=131026)
    without = sandbox.call("POST", "/v25.0/101/messages", {}, {"Authorization": ""})
    assert (without.status, without.code) == (401, 190)


@pytest.mark.parametrize(("kind", "taken"), [("code_2_before", 0), ("code_131000_after", 1), ("html_503_after", 1)])
def test_an_ambiguous_answer_hides_whether_the_message_was_taken(sandbox: FakeMeta, kind: str, taken: int) -> None:
    before = sandbox.summary()["accepted"]
    sandbox.rule(where="doubt", kind=kind, next=1)

    answer = sandbox.send("+491580000001")

    assert answer.status >= 500
    assert sandbox.summary()["accepted"] - before == taken


@pytest.mark.parametrize("kind", ["reset_before", "reset_after", "close_after", "cut_after"])
def test_an_answer_can_be_lost_on_its_way(sandbox: FakeMeta, kind: str) -> None:
    before = sandbox.summary()["accepted"]
    sandbox.rule(where="doubt", kind=kind, next=1)
    with pytest.raises((OSError, urllib.error.URLError, http.client.HTTPException)):
        sandbox.send("+491580000002")
    assert sandbox.summary()["accepted"] - before == kind.endswith("_after")


@pytest.mark.parametrize("kind", ["chunked_after", "text_type_after", "extra_fields_after", "close_after_answer_after"])
def test_an_odd_answer_still_says_that_it_was_accepted(sandbox: FakeMeta, kind: str) -> None:
    sandbox.rule(where="doubt", kind=kind, next=1)
    assert sandbox.send("+491580000003").wamid in [row["wamid"] for row in sandbox.ledger()]


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"where": "answer"}, "needs a code"),
        ({"where": "everywhere"}, "where is"),
        ({"where": "doubt", "kind": "reset_sometimes"}, "kind is"),
        ({"where": "answer", "code": 4, "shares": 1}, "unknown keys shares"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(sandbox: FakeMeta, rule: object, complaint: str) -> None:
    answer = sandbox.call("POST", "/_sandbox/rules", rule)
    assert answer.status == 422
    assert complaint in answer.body["error"]


def test_a_message_sent_twice_shows_in_the_ledger(sandbox: FakeMeta) -> None:
    """The judge can find the sender guilty: otherwise its silence would prove nothing."""
    before = sandbox.summary()
    sandbox.send("+491590000001", echo="m:4711:1")
    sandbox.send("+491590000001", echo="m:4711:2")
    after = sandbox.summary()
    assert after["accepted_twice"] == before["accepted_twice"] + 1
    assert after["accepted_twice_by_person"] == before["accepted_twice_by_person"] + 1
