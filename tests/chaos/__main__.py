"""`python -m tests.chaos`: rounds of disasters on real processes; exit 1 if a promise was broken.

Round n of a run has the seed SEED + n, so any round is repeated by `--rounds 1 --seed` and its own seed.
"""

import argparse
import json
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.plan import KINDS, Plan, make_plan
from tests.chaos.play import Verdict, play
from tests.chaos.sabotages.catalogue import SABOTAGES
from tests.chaos.sabotages.copies import sabotaged_copy
from tests.chaos.world import World, a_world, why_no_small_disk

_KEPT_LOGS = Path("out") / "chaos"


@dataclass
class Run:
    """A run of many rounds on one world, and another one with a small disk when a round needs it."""

    options: argparse.Namespace
    verdicts: list[Verdict] = field(default_factory=list)

    def go(self) -> int:
        """Play the rounds. Returns the exit code."""
        options = self.options
        no_disk = why_no_small_disk()
        without = frozenset({"full_disk"} if no_disk else ())
        if no_disk:
            print(f"no full disk in this run: {no_disk}")
            if options.only == "full_disk":
                return 0
        began = time.monotonic()
        try:
            self._play_all(began, without)
        finally:  # also when somebody has had enough
            self._sum_up(time.monotonic() - began)
        return 0 if self.verdicts and all(verdict.kept for verdict in self.verdicts) else 1

    def _play_all(self, began: float, without: frozenset[str]) -> None:
        options = self.options
        with ExitStack() as stack:
            where: dict[str, Any] = {}
            if options.sabotage:
                sabotage = SABOTAGES[options.sabotage]
                where = {"source": stack.enter_context(sabotaged_copy(sabotage)), "sql": sabotage.sql}
            worlds = stack.enter_context(ExitStack())
            world: World | None = None
            for n in range(options.rounds):
                if options.minutes and time.monotonic() - began > options.minutes * 60:
                    break
                plan = make_plan(options.seed + n, only=options.only, without=without)
                if plan.on_small_disk:
                    with a_world(small_disk=True, **where) as small:
                        verdict = self._play(small, plan)
                else:
                    world = world or worlds.enter_context(a_world(**where))
                    verdict = self._play(world, plan)
                if not verdict.kept:
                    if not options.keep_going:
                        break
                    worlds.close()  # who knows what is left in there
                    world = None

    def _play(self, world: World, plan: Plan) -> Verdict:
        log_from = _size(world.stage.data_dir / "server.log")
        verdict = play(world, plan)
        self.verdicts.append(verdict)
        print(_line(len(self.verdicts), verdict), flush=True)
        if not verdict.kept:
            kept = _keep_logs(world, plan, log_from)
            only = f" --only {self.options.only}" if self.options.only else ""
            sabotage = f" --sabotage '{self.options.sabotage}'" if self.options.sabotage else ""
            print(f"    BROKEN: {'; '.join(verdict.broken)}")
            print(f"    {plan.line()}")
            print(f"    logs: {kept}")
            print(f"    again: python -m tests.chaos --rounds 1 --seed {plan.seed}{only}{sabotage}", flush=True)
        return verdict

    def _sum_up(self, seconds: float) -> None:
        totals = _totals(self.verdicts, seconds)
        print(", ".join(f"{name} {value:,}" for name, value in totals.items()))
        if self.options.json:
            report = {**totals, "seed": self.options.seed, "verdicts": [one.as_dict() for one in self.verdicts]}
            self.options.json.write_text(json.dumps(report, indent=2) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Run. Ends everything it has started, however it ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="begin no round after so many")
    parser.add_argument("--only", choices=sorted(KINDS), metavar="KIND", help=f"one of {', '.join(sorted(KINDS))}")
    parser.add_argument("--sabotage", choices=sorted(SABOTAGES), metavar="NAME", help="break the server first")
    parser.add_argument("--keep-going", action="store_true", help="go on after a broken promise")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `finally` runs
    return Run(options).go()


def _line(n: int, one: Verdict) -> str:
    happened = " ".join(f"{event.kind}+{event.after_s:.1f}" for event in one.plan.events)
    notes = f" ({', '.join(one.notes)})" if one.notes else ""
    return (
        f"{n:4} seed {one.plan.seed} {one.plan.profile}: {happened}{notes} | {one.messages} messages,"
        f" {one.in_doubt} in doubt, {one.seconds:.1f} s, {'kept' if one.kept else 'BROKEN'}"
    )


def _totals(verdicts: list[Verdict], seconds: float) -> dict[str, float]:
    return {
        "rounds": len(verdicts),
        "broken": sum(not one.kept for one in verdicts),
        "events": sum(len(one.plan.events) for one in verdicts),
        "kills": sum(one.killed for one in verdicts),
        "actors_crashed": sum(one.crashed for one in verdicts),
        "messages": sum(one.messages for one in verdicts),
        "suppressed": sum(one.suppressed for one in verdicts),
        "duplicates": sum(one.duplicates for one in verdicts),
        "forgotten": sum(one.forgotten for one in verdicts),
        "drift": sum(one.drift for one in verdicts),
        "webhooks_lost": sum(one.lost for one in verdicts),
        "in_doubt_never_sent": sum(one.in_doubt for one in verdicts),
        "seconds": round(seconds),
    }


def _keep_logs(world: World, plan: Plan, log_from: int) -> Path:
    """Copy what was logged in the round to a folder that stays."""
    kept = _KEPT_LOGS / f"seed-{plan.seed}"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    data = world.stage.data_dir
    with (data / "server.log").open("rb") as log:
        log.seek(log_from)
        (kept / "server.log").write_bytes(log.read())
    for file in (data / "sandbox.log", *(data / "logs").glob("*.log")):
        shutil.copy(file, kept)
    return kept


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


if __name__ == "__main__":
    sys.exit(main())
