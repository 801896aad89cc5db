"""Every recorded scenario as a test of its own, and the checker's test of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance import check_trace
from tests.conformance.scenarios import scenario_files, violations_of

_FILES = scenario_files()


@pytest.mark.parametrize("file", _FILES, ids=[f"{file.parent.name}/{file.stem}" for file in _FILES])
def test_the_kernel_does_what_otp_did(file: Path) -> None:
    """The trace was recorded from Erlang/OTP 25 and Elixir 1.14."""
    assert violations_of(file) == []


def test_the_checker_rejects_wrong_traces() -> None:
    """It accepts each recorded trace in any valid order, and refuses every mutation of it."""
    assert check_trace.self_test(Path(__file__).parent / "scenarios" / "links") == 0
