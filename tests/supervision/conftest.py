"""Every test of the kernel must leave no actor behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from titanflow.supervision import VirtualClock
from titanflow.supervision.testing import no_leaked_actors, virtual_clock


@pytest.fixture(autouse=True)
def tree() -> Iterator[None]:
    """Fails on leaked actors."""
    with no_leaked_actors():
        yield


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    """Time that the test moves."""
    with virtual_clock() as clock:
        yield clock
