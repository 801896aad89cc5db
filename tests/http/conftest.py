"""Every answer that the tests of this folder get is held against the OpenAPI document."""

from collections.abc import Iterator

import pytest

from tests.support import conformance


@pytest.fixture(autouse=True)
def _answers_are_as_described(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    judge = conformance.watch(monkeypatch)
    yield
    assert not judge.faults, "answers that differ from what @operation says:\n" + "\n".join(judge.faults[:20])
