"""docs/porting-from-otp.md answers for every weakness of the Elixir system, and names tests and files that exist."""

import ast
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_IDS = [f"{group}{n}" for group, last in (("L", 22), ("D", 13), ("C", 14), ("R", 16)) for n in range(1, last + 1)]


def _answers() -> dict[str, str]:
    section = (_ROOT / "docs/porting-from-otp.md").read_text().split("## 5. ", 1)[1]
    return dict(re.findall(r"^\| ([LDCR]\d+) \| .+? \| (.+) \|$", section, re.MULTILINE))


def _tests_in(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_each_weakness_is_answered_for_once() -> None:
    assert list(_answers()) == _IDS


@pytest.mark.parametrize("weakness", _IDS)
def test_the_answer_is_a_test_or_a_place_that_exists(weakness: str) -> None:
    answer = _answers()[weakness]
    named = re.findall(r"`([\w./-]+)(?:::(\w+))?`", answer)

    assert named or answer.startswith("not built: ")
    for path, test in named:
        assert (_ROOT / path).is_file(), path
        assert not test or test in _tests_in(_ROOT / path), f"{path}::{test}"
        assert test or not path.startswith("tests/"), f"{path} names no test"
    if not any(test for _, test in named):
        assert answer.startswith(("impossible: ", "not built: "))
