"""Breakers: what several failures in a row mean, and that a single one means nothing."""

from titanflow.actors.number.consequences import Breakers
from titanflow.meta.error_policy import RULES

_CAMPAIGN, _NUMBER = 7, 3


def test_a_success_starts_the_count_anew() -> None:
    breakers = Breakers()

    before = [breakers.failure(_CAMPAIGN, _NUMBER, RULES[132000]) for _ in range(19)]
    breakers.success(_CAMPAIGN, _NUMBER)

    assert before[-1] == 19
    assert breakers.failure(_CAMPAIGN, _NUMBER, RULES[132000]) == 1


def test_another_code_starts_the_count_anew() -> None:
    breakers = Breakers()

    breakers.failure(_CAMPAIGN, _NUMBER, RULES[132000])

    assert breakers.failure(_CAMPAIGN, _NUMBER, RULES[100]) == 1


def test_doubtful_answers_count_by_number_whatever_code_and_campaign() -> None:
    """In an outage codes 2, 131016 and 133004 come mixed, and for every campaign on the number."""
    breakers = Breakers()

    breakers.failure(1, _NUMBER, RULES[2])
    breakers.failure(2, _NUMBER, RULES[131016])

    assert breakers.failure(1, _NUMBER, RULES[133004]) == 3 == RULES[133004].breaker


def test_a_refusal_does_not_lengthen_a_run_of_doubts() -> None:
    breakers = Breakers()

    breakers.failure(_CAMPAIGN, _NUMBER, RULES[132000])

    assert breakers.failure(_CAMPAIGN, _NUMBER, RULES[2]) == 1


def test_a_breaker_that_tripped_begins_anew_for_the_resumed_campaign() -> None:
    breakers = Breakers()

    runs = [breakers.failure(_CAMPAIGN, _NUMBER, RULES[132000]) for _ in range(21)]

    assert runs[-2:] == [20, 1]
