"""A hub that stands still is noticed and blamed; a forked child runs no actor of its parent."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from tests.supervision.servers import Add, Counter, Do, Get
from titanflow.supervision import (
    ChildSpec,
    Supervisor,
    Watchdog,
    call,
    cast,
    is_alive,
    sleep_ms,
    start,
    stop,
    via,
    whereis,
)
from titanflow.supervision.testing import eventually, living


def _hold_the_hub(_: Counter) -> None:
    until = time.monotonic() + 0.25
    while time.monotonic() < until:
        pass


def test_the_watchdog_names_the_actor_that_never_yields() -> None:
    watchdog = Watchdog(threshold_ms=60).start()
    sleep_ms(50)
    pid = start(Counter())

    cast(pid, Do(_hold_the_hub))
    eventually(lambda: len(watchdog.stalls) > 0)

    stall = watchdog.stalls[0]
    assert (stall.actor, stall.pid) == ("Counter", pid.number)
    assert stall.blocked_ms >= 150
    assert "_hold_the_hub" in stall.stack
    assert watchdog.lag().max >= 150
    watchdog.stop()
    stop(pid)


def test_the_watchdog_says_when_it_was_plain_code() -> None:
    watchdog = Watchdog(threshold_ms=60).start()
    sleep_ms(50)

    time_was_wasted = time.monotonic() + 0.2
    while time.monotonic() < time_was_wasted:
        pass
    eventually(lambda: len(watchdog.stalls) > 0)

    assert watchdog.stalls[0].actor is None
    watchdog.stop()


def test_a_forked_child_runs_none_of_its_parents_actors_and_can_start_its_own() -> None:
    """Two processes that tick the same limiter would send everything twice."""
    ticks: list[int] = []

    class Ticker(Counter):
        def init(self) -> None:
            self.send_after(1, "tick")

        def handle_info(self, message: Any) -> None:
            ticks.append(1)
            self.send_after(1, "tick")

    sup = start(Supervisor([ChildSpec("t", Ticker, name=via("ticker"))]))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover  # judged from outside
        before = len(ticks)
        own = start(Counter(), name=via("ticker"))
        cast(own, Add(5))
        sleep_ms(60)
        report = {
            "ticked": len(ticks) - before,
            "parents_tree": is_alive(sup),
            "own": call(own, Get()),
            "living": len(living()),
        }
        os.write(writer, json.dumps(report).encode())
        os._exit(0)
    os.close(writer)

    report = json.loads(os.read(reader, 4096))
    os.waitpid(child, 0)
    os.close(reader)

    assert report == {"ticked": 0, "parents_tree": False, "own": 5, "living": 1}
    assert whereis(via("ticker")) is not None
    count = len(ticks)
    assert eventually(lambda: len(ticks) > count)
    stop(sup)
