"""The short form for every `make test`: a fixed seed, every kind of disaster, and two sabotages that must be seen."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.plan import FAULTS, KINDS, PROFILES, Event, make_plan
from tests.chaos.play import play
from tests.chaos.sabotages.__main__ import try_it
from tests.chaos.sabotages.catalogue import SABOTAGES
from tests.chaos.sabotages.copies import sabotaged_copy
from tests.chaos.world import SHIM, a_world, why_no_small_disk
from titanflow.sandbox.profiles import PROFILES as SANDBOX_PROFILES
from titanflow.sandbox.rules import rule_of

_SEED = 7_000
_ALONE = "full_disk"


def test_the_same_seed_plans_the_same_round() -> None:
    assert make_plan(_SEED) == make_plan(_SEED)
    assert len({make_plan(_SEED + n).line() for n in range(50)}) == 50


def test_a_few_hundred_seeds_plan_everything() -> None:
    plans = [make_plan(seed) for seed in range(300)]

    assert {event.kind for plan in plans for event in plan.events} == set(KINDS)
    assert {plan.profile for plan in plans} == set(PROFILES)
    assert all(200 <= plan.contacts <= 1_000 for plan in plans)
    assert any(event.kind == "freeze_server" and event.amount > 10 for plan in plans for event in plan.events)


def test_every_profile_of_the_sandbox_is_used_and_every_fault_known_to_it() -> None:
    assert set(PROFILES) == set(SANDBOX_PROFILES)
    for fault in FAULTS:
        rule_of({**fault, "share": 0.1, "for_s": 1.0})  # raises BadRule for what makes no sense


def test_the_clock_shim_moves_the_wall_clock_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "clock").write_text("-86400")
    ask = "import datetime, time; print(time.time(), datetime.datetime.now().timestamp(), time.monotonic())"
    environment = {**os.environ, "PYTHONPATH": str(SHIM), "CHAOS_CLOCK_FILE": str(tmp_path / "clock")}
    before = time.monotonic()

    told = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True)

    seconds, from_datetime, monotonic = map(float, told.stdout.split())
    assert time.time() - seconds == pytest.approx(86_400, abs=60)
    assert from_datetime == pytest.approx(seconds, abs=1)
    assert before <= monotonic <= time.monotonic()


@pytest.mark.timeout(420)
def test_every_kind_of_disaster_keeps_every_promise() -> None:
    """Two or three kinds a round, each kind once; nothing that takes minutes by its nature (a long freeze)."""
    kinds = [kind for kind in KINDS if kind != _ALONE]
    with a_world() as world:
        for n, profile in enumerate(PROFILES):
            plan = make_plan(_SEED + n)
            mine = kinds[n :: len(PROFILES)]
            events = tuple(_mild(kind, 0.4) for kind in mine)
            plan = replace(plan, contacts=380, numbers=2, mps=150, latency_ms=40, profile=profile, events=events)
            verdict = play(world, plan)
            assert verdict.kept, (plan.line(), verdict)


@pytest.mark.timeout(240)
def test_a_full_disk_keeps_every_promise() -> None:
    why_not = why_no_small_disk()
    if why_not:
        pytest.skip(why_not)
    plan = replace(make_plan(_SEED), contacts=500, numbers=1, mps=200, profile="clean", events=(_mild(_ALONE, 0.6),))
    with a_world(small_disk=True) as world:
        verdict = play(world, plan)

    assert verdict.kept, (plan.line(), verdict)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["no fence", "suppression only at import"])
def test_the_suite_goes_red_without_a_safeguard(name: str) -> None:
    """Kills at random moments fail the suite if the fence is taken out."""
    sabotage = SABOTAGES[name]

    verdicts = try_it(sabotage)

    assert sabotage.breaks in verdicts[-1].broken, verdicts


def test_every_sabotage_still_finds_its_place() -> None:
    for sabotage in SABOTAGES.values():
        with sabotaged_copy(sabotage):
            pass


def _mild(kind: str, after_s: float) -> Event:
    _, least, most = KINDS[kind]
    return Event(kind, after_s, least + min(0.3, (most - least) / 2) if kind != "change_rate" else 300.0, 0.4)
