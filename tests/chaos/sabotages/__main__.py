"""`python -m tests.chaos.sabotages [NAME...]`: each sabotage must turn the suite red. Exit 1 if one stays green."""

import signal
import sys
import time
from dataclasses import replace

from tests.chaos.play import Verdict, play
from tests.chaos.sabotages.catalogue import SABOTAGES, Sabotage
from tests.chaos.sabotages.copies import sabotaged_copy
from tests.chaos.world import a_world

_ROUNDS = 4


def main(names: list[str]) -> int:
    """Try those whose name contains one of the words; all without words."""
    chosen = [one for name, one in SABOTAGES.items() if not names or any(word in name for word in names)]
    green = 0
    print(f"{'sabotage':34} {'red after':>10} {'seconds':>8}  broken")
    for sabotage in chosen:
        began = time.monotonic()
        verdicts = try_it(sabotage)
        last = verdicts[-1]
        as_expected = sabotage.breaks in last.broken
        green += not as_expected
        rounds = f"{len(verdicts)} rounds" if as_expected else "GREEN"
        seconds = time.monotonic() - began
        print(f"{sabotage.name:34} {rounds:>10} {seconds:8.1f}  {'; '.join(last.broken) or '-'}", flush=True)
    print(f"{len(chosen) - green} of {len(chosen)} sabotages were seen")
    return 1 if green or not chosen else 0


def try_it(sabotage: Sabotage, rounds: int = _ROUNDS) -> list[Verdict]:
    """Play the sabotage's round until its promise is seen broken, at most so often. Returns what was seen."""
    verdicts: list[Verdict] = []
    with sabotaged_copy(sabotage) as source, a_world(source=source, sql=sabotage.sql) as world:
        for n in range(rounds):
            verdicts.append(play(world, replace(sabotage.plan, seed=sabotage.plan.seed + n)))
            if sabotage.breaks in verdicts[-1].broken:
                break
    return verdicts


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `finally` runs
    sys.exit(main(sys.argv[1:]))
