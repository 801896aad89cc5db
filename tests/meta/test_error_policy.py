"""The policy against the reference's table, row by row, and against its own rules."""

import itertools
from pathlib import Path

import pytest

from tests.meta.reference_table import MESSAGE_CODES, OTHER_CODES
from titanflow.cli import error_table
from titanflow.domain.suppression import BY_CODE
from titanflow.meta.error_policy import FAMILIES, RULES, rule_for

_DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("code", MESSAGE_CODES)
def test_each_code_of_the_table_means_what_the_table_says(code: int) -> None:
    rule = rule_for(code)
    assert (rule.code, rule.verdict, rule.scope) == (code, *MESSAGE_CODES[code])


def test_no_code_is_in_the_policy_and_not_in_the_table() -> None:
    assert {code for code in RULES if code >= 0} <= set(MESSAGE_CODES)


@pytest.mark.parametrize("code", OTHER_CODES)
def test_codes_of_other_calls_are_known_and_never_sent_again(code: int) -> None:
    rule = rule_for(code)
    assert rule.verdict == "final"
    assert "not known" not in rule.sentence
    assert rule.breaker > 0


def test_families_hold_one_another_apart() -> None:
    """No code means two things, but for single rows, which come first."""
    spans = sorted((family.first, family.last) for family in FAMILIES)
    assert all(first <= last for first, last in spans)
    assert all(left[1] < right[0] for left, right in itertools.pairwise(spans))


@pytest.mark.parametrize(("http_status", "verdict"), [(400, "final"), (404, "final"), (500, "doubt"), (200, "doubt")])
def test_an_unknown_code_is_never_sent_again_and_raises_an_alarm(http_status: int, verdict: str) -> None:
    rule = rule_for(987654, http_status=http_status)
    assert (rule.verdict, rule.alarm, rule.action, rule.breaker) == (verdict, True, "breaker", 3)
    assert "987654" in rule.reason


@pytest.mark.parametrize(
    "rule", [*RULES.values(), *(family.rule for family in FAMILIES)], ids=lambda one: str(one.code)
)
def test_each_rule_can_be_read_and_is_whole(rule: object) -> None:
    known = rule_for(rule.code)  # type: ignore[attr-defined]  # parametrised with rules
    assert known.sentence[0].isupper()
    assert not known.sentence.endswith(".")
    assert known.fix.endswith(".")
    pauses = known.action in ("pause", "slow_down", "suppress") or known.code == 131056  # whose message alone waits
    assert pauses == (known.pause_s > 0)
    assert known.pause_s <= known.max_pause_s
    assert known.action in ("breaker", "pause") or known.breaker == 0
    assert known.action != "breaker" or known.breaker > 0
    assert known.recover_s == 0 or known.action in ("pause", "slow_down")
    assert known.action != "block" or known.scope in ("number", "account", "app")
    assert known.action != "suppress" or known.code in BY_CODE


def test_the_throttles_of_the_table_slow_down() -> None:
    assert {code for code, rule in RULES.items() if rule.recover_s} == {4, 17, 32, 613, 80007, 130429, 131048}


def test_docs_errors_is_what_the_generator_prints() -> None:
    """If it fails: `titanflow doctor --errors --markdown > docs/errors.md`."""
    assert (_DOCS / "errors.md").read_text() == error_table.markdown()


def test_the_terminal_table_has_a_line_a_code() -> None:
    lines = error_table.text().splitlines()
    assert len(lines) == 1 + len(RULES) + len(FAMILIES) + 1
    assert any(line.startswith("131048") and "60 s to 24 h" in line and "alarm" in line for line in lines)
