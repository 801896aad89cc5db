"""What the tests of use cases share."""

from collections.abc import Iterator

import pytest

from titanflow.storage.fast_copy import FastCopy


@pytest.fixture
def fast_copy(redis_url: str) -> Iterator[FastCopy]:
    """The fast copy on the session's Redis."""
    made = FastCopy(redis_url)
    yield made
    made.close()
