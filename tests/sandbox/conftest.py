"""One sandbox process a module; each test uses people, templates or numbers of its own."""

from collections.abc import Iterator

import pytest

from tests.sandbox.fake_meta import FakeMeta, running_sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[FakeMeta]:
    """A sandbox whose people are all reachable."""
    with running_sandbox() as meta:
        yield meta
