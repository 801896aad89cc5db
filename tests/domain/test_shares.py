"""Percentages have a base, and medians of groups lie where they should."""

import pytest

from titanflow.domain.shares import median_of_groups, percent, with_shares


def test_each_percentage_is_of_its_base() -> None:
    found = with_shares({"sent": 200, "delivered": 150, "read": 60, "failed": 50, "replied": 3})

    assert (found["delivered_pct"], found["read_pct"], found["failed_pct"], found["replied_pct"]) == (75, 40, 25, 2)
    assert found["of"]["read_pct"] == "delivered"


def test_a_percentage_of_nothing_is_none() -> None:
    assert percent(0, 0) is None
    assert with_shares({})["delivered_pct"] is None
    assert percent(1, 3) == 33.33


@pytest.mark.parametrize(
    ("groups", "median"),
    [
        ({}, None),
        ({10: 0}, None),
        ({10: 4}, 5),
        ({10: 1, 30: 2, 60: 1}, 20),
        ({60: 3, 2**31 - 1: 1}, 40),
        ({60: 1, 2**31 - 1: 9}, 60),
    ],
)
def test_the_median_of_groups(groups: dict[int, int], median: float | None) -> None:
    assert median_of_groups(groups) == median
