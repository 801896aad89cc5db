"""The sandbox judges fairly: what it has accepted it reports, whatever else goes wrong."""

import random

import pytest

from titanflow.sandbox.lives import fate
from titanflow.sandbox.profiles import PROFILES
from titanflow.sandbox.users import user_of, wa_id


@pytest.mark.parametrize("name", PROFILES)
def test_every_accepted_message_is_reported_at_least_once(name: str) -> None:
    """An offline person whose `sent` went missing was never reported: nobody could have resolved that doubt."""
    profile, rng = PROFILES[name], random.Random(3)
    for n in range(20_000):
        user = user_of(f"+4915{n:09d}", 1, profile)
        events = fate(profile, rng, user, 1.0)
        assert events
        assert (user.failure is not None) == (events[0][1] == "failed")


def test_a_person_is_the_same_in_every_run() -> None:
    profile = PROFILES["clean"]
    assert user_of("+491510000001", 1, profile) == user_of("+491510000001", 1, profile)


def test_brazil_and_mexico_are_known_by_another_number() -> None:
    assert wa_id("+5511987654321") == "551187654321"
    assert wa_id("+5215512345678") == "525512345678"
    assert wa_id("+491510000001") == "491510000001"
