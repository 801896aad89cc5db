"""The echo survives Meta and nothing else is taken for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titanflow.domain import echo


@given(log_id=st.integers(0, 2**63 - 1), attempt=st.integers(1, 2**15 - 1))
def test_what_is_encoded_is_decoded(log_id: int, attempt: int) -> None:
    assert echo.decode(echo.encode(log_id, attempt)) == (log_id, attempt)


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "m:",
        "m:1",
        "m:1:",
        "m::1",
        "x:1:1",
        "m:1:0",
        "m:-1:1",
        "m:1:1:1",
        "m:٣:1",
        "m:9223372036854775808:1",
    ],
)
def test_what_is_not_ours_is_not_decoded(text: object) -> None:
    assert echo.decode(text) is None
