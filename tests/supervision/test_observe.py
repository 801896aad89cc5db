"""observe(), the graveyard, the log and the test kit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from tests.supervision.servers import Add, Ask, Counter, Do, Get, WaitFor
from titanflow.supervision import (
    Agent,
    ChildSpec,
    DynamicSupervisor,
    Event,
    PartitionSupervisor,
    Pid,
    Supervisor,
    VirtualClock,
    agent_get,
    agent_update,
    call,
    cast,
    exit_process,
    observe,
    partition_of,
    send_after,
    sleep_ms,
    spawn_plain,
    start,
    start_child,
    stop,
    via,
    whereis,
)
from titanflow.supervision.events import log_every_start_and_end
from titanflow.supervision.testing import LeakedActors, crash, eventually, no_leaked_actors


@dataclass(frozen=True, slots=True)
class _Account:
    phone_number_id: str
    access_token: str


class _Secretive(Counter):
    def init(self) -> None:
        self._access_token = "EAAG-very-secret"
        self._account = _Account("1055", "EAAG-very-secret")
        self._accounts = {"a": {"password": "hunter2"}}


def _tree() -> Pid:
    return start(
        Supervisor(
            [
                ChildSpec("counter", Counter, name=via("counter")),
                ChildSpec("numbers", DynamicSupervisor, type="supervisor", name=via("numbers")),
            ],
            max_restarts=5,
        ),
        name=via("root"),
    )


def test_observe_shows_the_tree_with_its_figures() -> None:
    root = _tree()
    start_child(via("numbers"), ChildSpec("n1", Counter))
    for _ in range(10):
        cast(via("counter"), Add())
    call(via("counter"), Get())

    info = observe(via("root"))

    assert info is not None
    assert [(child.child_id, child.kind) for child in info.children] == [
        ("counter", "Counter"),
        ("numbers", "DynamicSupervisor"),
    ]
    counter, numbers = info.children
    assert (counter.handled, counter.mailbox, counter.status, counter.name) == (11, 0, "waiting", "counter")
    assert counter.state["count"] == "10"
    assert counter.memory_bytes > 0
    assert counter.links == [root.number]
    assert [child.child_id for child in numbers.children] == ["n1"]
    assert info.restarts is not None
    assert (info.restarts.in_window, info.restarts.max_restarts) == (0, 5)
    json.dumps(info.as_dict())
    stop(root)


def test_observe_shows_a_stuck_actor_without_waiting_for_it() -> None:
    pid, go = start(Counter()), Event()
    cast(pid, WaitFor(go))
    cast(pid, Add())
    sleep_ms(2)

    info = observe(pid)

    assert info is not None
    assert (info.status, info.mailbox) == ("running", 1)
    assert info.busy_s > 0
    go.set()
    stop(pid)


def test_secrets_are_left_out() -> None:
    pid = start(_Secretive())

    info = observe(pid)

    assert info is not None
    text = json.dumps(info.as_dict())
    assert "very-secret" not in text
    assert "hunter2" not in text
    assert "1055" in text
    stop(pid)


def test_a_crash_is_counted_in_the_window_and_buried_with_traceback_and_message() -> None:
    root = _tree()

    def divide(server: Counter) -> None:
        server.count //= 0

    first = whereis(via("counter"))
    cast(via("counter"), Do(divide))
    eventually(lambda: whereis(via("counter")) not in (None, first))

    info = observe(root)
    assert info is not None
    assert info.restarts is not None
    assert info.restarts.in_window == 1
    grave = info.graves[-1]
    assert (grave.kind, grave.name) == ("Counter", "counter")
    assert "ZeroDivisionError" in grave.reason
    assert "in divide" in (grave.traceback or "")
    assert "Do(" in (grave.message or "")
    stop(root)


def test_a_failure_and_what_follows_from_it_share_one_incident() -> None:
    sup = start(Supervisor([ChildSpec("a", Counter, name=via("a"))], max_restarts=1))
    with structlog.testing.capture_logs() as logs:
        first = whereis(via("a"))
        cast(via("a"), Do(lambda _: [][1]))
        eventually(lambda: whereis(via("a")) not in (None, first))
        cast(via("a"), Do(lambda _: [][1]))
        eventually(lambda: not sup.alive)

    incidents: dict[Any, list[str]] = {}
    for line in logs:
        incidents.setdefault(line["incident"], []).append(line["event"])
    assert list(incidents.values()) == [
        ["actor.crashed", "actor.restarted"],
        ["actor.crashed", "actor.escalated"],
    ]


def test_ordinary_starts_and_ends_are_logged_only_when_asked_for() -> None:
    with structlog.testing.capture_logs() as quiet:
        stop(start(Counter()))
    log_every_start_and_end(True)
    with structlog.testing.capture_logs() as chatty:
        stop(start(Counter()))
    log_every_start_and_end(False)

    assert quiet == []
    assert [line["event"] for line in chatty] == ["actor.started", "actor.stopped"]


def test_the_kit_fails_a_test_that_leaks_an_actor() -> None:
    with pytest.raises(LeakedActors, match="Counter"), no_leaked_actors(timeout_s=0.01):
        start(Counter())


def test_the_kit_crashes_an_actor_and_waits_until_it_is_dead() -> None:
    pid = start(Counter())

    crash(pid)

    assert not pid.alive


def test_the_virtual_clock_fires_timers_in_order_and_only_when_moved(clock: VirtualClock) -> None:
    pid = start(Counter())
    send_after(pid, 300, "third")
    send_after(pid, 100, "first")
    send_after(pid, 200, "second")

    clock.advance(250)
    seen = call(pid, Ask(lambda server: list(server.seen)))
    clock.advance(50)

    assert seen == ["first", "second"]
    assert call(pid, Ask(lambda server: server.seen)) == ["first", "second", "third"]
    stop(pid)


def test_a_virtual_sleep_takes_no_real_time(clock: VirtualClock) -> None:
    done = []

    def sleep_an_hour() -> None:
        sleep_ms(3_600_000)
        done.append(1)

    sleeper = spawn_plain(sleep_an_hour)

    clock.advance(3_600_000)

    assert sleeper.join(1)
    assert done == [1]


def test_an_agent_holds_a_value() -> None:
    agent = start(Agent(lambda: 1))

    agent_update(agent, lambda value: value + 41)

    assert agent_get(agent, lambda value: value) == 42
    stop(agent)


def test_a_partition_supervisor_keeps_serving_a_key_after_a_crash() -> None:
    sup = start(PartitionSupervisor(lambda _: Counter(), 3))
    first = partition_of(sup, 4)
    assert first is partition_of(sup, 1)

    exit_process(first, "oops")
    eventually(lambda: partition_of(sup, 4).alive and partition_of(sup, 4) is not first)

    assert call(partition_of(sup, "any hashable"), Get()) == 0
    stop(sup)
