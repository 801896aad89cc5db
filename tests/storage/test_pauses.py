"""Pauses and lowered rates as rows: whom they hit, how they grow, that one incident counts once."""

import pytest

from tests.support.builders import a_number
from titanflow.meta.error_policy import RULES, rule_for
from titanflow.storage import alarms, pauses, phone_numbers
from titanflow.storage.database import Database


def _numbers(db: Database) -> tuple[int, int, int]:
    """Two numbers of one account, one of another."""
    return (
        a_number(db, phone_number_id="1001", waba_id="A", max_mps=80),
        a_number(db, phone_number_id="1002", waba_id="A", max_mps=80),
        a_number(db, phone_number_id="2001", waba_id="B", max_mps=1000),
    )


def _pass(db: Database, seconds: float) -> None:
    """Let time go by: every row's moments move into the past."""
    with db.transaction() as transaction:
        transaction.execute("UPDATE pauses SET paused_until = paused_until - make_interval(secs => %s)", [seconds])
        transaction.execute(
            "UPDATE phone_numbers SET paused_until = paused_until - make_interval(secs => %(s)s),"
            " speeds_up_at = speeds_up_at - make_interval(secs => %(s)s)",
            {"s": seconds},
        )


def _state(db: Database, number_id: int) -> tuple[str, int | None]:
    """State, and the seconds of its pause still to go."""
    with db.connection() as connection:
        row = connection.execute(
            "SELECT shown_state, round(extract(epoch FROM paused_until - now()))::int FROM phone_numbers WHERE id = %s",
            [number_id],
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def _hold_s(db: Database, code: int, number_id: int, **more: float) -> float | None:
    brakes = pauses.pause(db, RULES[code], number_id, **more)
    return round(brakes[0].hold_s, 1) if brakes else None


@pytest.mark.parametrize(("code", "hit"), [(131048, {0}), (80007, {0, 1}), (4, {0, 1, 2}), (131064, {0, 1})])
def test_a_pause_hits_its_scope_and_nobody_else(db: Database, code: int, hit: set[int]) -> None:
    numbers = _numbers(db)

    brakes = pauses.pause(db, RULES[code], numbers[0])

    assert {brake.number_id for brake in brakes} == {numbers[n] for n in hit}
    assert {n for n in range(3) if _state(db, numbers[n])[0] == "paused"} == hit
    assert {brake.number_id for brake in pauses.brakes(db, numbers)} == {numbers[n] for n in hit}


@pytest.mark.parametrize(("code", "hit"), [(133010, {0}), (190, {0, 1}), (131042, {0, 1})])
def test_a_block_hits_its_scope_and_raises_one_alarm(db: Database, code: int, hit: set[int]) -> None:
    numbers = _numbers(db)

    first, again = pauses.block(db, RULES[code], numbers[0]), pauses.block(db, RULES[code], numbers[0])

    assert (set(first), again) == ({numbers[n] for n in hit}, [])
    [alarm] = alarms.page(db, state="open", before=10**9, limit=9)
    assert (alarm["count"], alarm["sentence"]) == (1, RULES[code].sentence_and_code)


def test_in_flight_answers_of_one_incident_count_once(db: Database) -> None:
    number = _numbers(db)[0]

    holds = [_hold_s(db, 131048, number) for _ in range(5)]

    assert holds == [60.0, None, None, None, None]


def test_pauses_double_while_the_trouble_goes_on_up_to_the_longest(db: Database) -> None:
    number = _numbers(db)[0]
    holds = []
    for _ in range(6):
        holds.append(_hold_s(db, 4, number))
        _pass(db, 901)

    assert holds == [60, 120, 240, 480, 900, 900]


def test_repetitions_are_forgotten_after_a_quiet_day_not_before(db: Database) -> None:
    number = _numbers(db)[0]
    _hold_s(db, 131048, number)
    _pass(db, 60 + 23 * 3600)
    second = _hold_s(db, 131048, number)
    _pass(db, 120 + 25 * 3600)

    assert second == 120
    assert _hold_s(db, 131048, number) == 60


def test_a_lone_throttle_is_forgotten_at_once_and_one_right_after_the_hold_is_not(db: Database) -> None:
    number = _numbers(db)[0]
    first = _hold_s(db, 130429, number)
    _pass(db, 2)
    going_on = _hold_s(db, 130429, number)
    _pass(db, 2 + 3)

    assert (first, going_on, _hold_s(db, 130429, number)) == (1, 2, 1)


def test_a_shorter_pause_never_replaces_a_longer_one(db: Database) -> None:
    number = _numbers(db)[0]
    pauses.pause(db, RULES[131064], number)
    before = _state(db, number)

    pauses.pause(db, RULES[131048], number)

    assert _state(db, number) == before == ("paused", 6 * 3600)
    assert pauses.brakes(db, [number])[0].hold_s == pytest.approx(6 * 3600, abs=5)


def test_an_operators_pause_and_a_block_stay(db: Database) -> None:
    first, second, _ = _numbers(db)
    phone_numbers.set_state(db, "1001", state="paused", reason="Paused by an operator")
    pauses.block(db, RULES[133010], second)

    pauses.pause(db, RULES[80007], first)

    assert (_state(db, first), _state(db, second)[0]) == (("paused", None), "blocked")


def test_metas_own_time_to_wait_is_obeyed_and_only_lengthens(db: Database) -> None:
    number = _numbers(db)[0]

    assert _hold_s(db, 80007, number) == 60
    assert _hold_s(db, 80007, number, told_s=720) == 720
    assert _hold_s(db, 80007, number, told_s=720) is None
    assert _hold_s(db, 80007, number, told_s=60) is None


def test_a_throttle_halves_the_rate_once_an_incident_down_to_a_64th(db: Database) -> None:
    number = _numbers(db)[0]
    rates = []
    for _ in range(8):
        [brake] = pauses.pause(db, RULES[130429], number)
        pauses.pause(db, RULES[130429], number)
        rates.append(brake.slowed_mps)
        _pass(db, brake.hold_s)

    assert rates == pytest.approx([40, 20, 10, 5, 2.5, 1.25, 1.25, 1.25], rel=0.1)


def test_the_rate_recovers_evenly_and_the_next_throttle_halves_what_it_is_by_then(db: Database) -> None:
    number = _numbers(db)[0]
    pauses.pause(db, RULES[130429], number)
    _pass(db, 1 + 5)  # a quarter of 20 s: 40 + 20

    [brake] = pauses.pause(db, RULES[130429], number)

    assert brake.slowed_mps == pytest.approx(30, rel=0.05)
    _pass(db, 1 + 20)
    assert pauses.brakes(db, [number]) == []


def test_reports_of_spam_slow_the_number_for_longer_than_they_pause_it(db: Database) -> None:
    number = _numbers(db)[0]
    pauses.pause(db, RULES[131048], number)
    _pass(db, 60)

    [brake] = pauses.brakes(db, [number])

    assert (round(brake.hold_s), brake.slowed_mps, brake.full_speed_in_s) == (0, 40, 3600)


def test_pauses_for_doubt_are_spread_and_short_ones_leave_the_state_alone(db: Database) -> None:
    number = _numbers(db)[0]
    holds = []
    for _ in range(3):
        [brake] = pauses.pause(db, RULES[131016], number)
        assert _state(db, number)[0] == "active"
        holds.append(brake.hold_s)
        _pass(db, brake.hold_s)

    for hold_s, least_s in zip(holds, (5, 10, 20), strict=True):
        assert least_s <= hold_s <= least_s * 1.25 + 0.01
    pauses.pause(db, RULES[131016], number)
    assert _state(db, number)[0] == "paused"


def test_an_operators_resume_lifts_the_pause(db: Database) -> None:
    number = _numbers(db)[0]
    pauses.pause(db, RULES[131048], number)

    phone_numbers.set_state(db, "1001", state="active", reason=None)

    assert _state(db, number) == ("active", None)
    assert all(brake.hold_s == 0 for brake in pauses.brakes(db, [number]))
    assert _hold_s(db, 131048, number) == 120  # but it is not forgotten


def test_every_rule_that_pauses_or_blocks_can_be_carried_out(db: Database) -> None:
    """The scopes of the policy are those that the SQL knows."""
    for rule in [*RULES.values(), rule_for(200)]:
        number = _numbers(db)[0]
        if rule.action in ("pause", "slow_down"):
            assert pauses.pause(db, rule, number), rule
            _pass(db, 10**6)
        elif rule.action == "block":
            assert pauses.block(db, rule, number), rule
            with db.connection() as connection:
                connection.execute("UPDATE phone_numbers SET state = 'active', meta_block = NULL")
