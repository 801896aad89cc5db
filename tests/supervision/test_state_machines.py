"""Random walks of the kernel beside small pure models: GenServer, Supervisor, DynamicSupervisor, Registry.

Each ends with nothing left behind: no process, greenlet, name, monitor or timer.
"""

from __future__ import annotations

import gc
import logging
import random
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.supervision.models import ModelChild, ModelSupervisor, ModelWindow, Peer, Peers
from tests.supervision.servers import Add, Ask, Counter, Do, Get
from titanflow.supervision import (
    KILL,
    AlreadyRegistered,
    ChildError,
    ChildSpec,
    Down,
    DynamicSupervisor,
    Exit,
    ExitSignal,
    Pid,
    Registry,
    StartError,
    Supervisor,
    VirtualClock,
    call,
    cast,
    count_children,
    delete_child,
    exit_process,
    install_clock,
    restart_child,
    start,
    start_child,
    stop,
    terminate_child,
    which_children,
)
from titanflow.supervision import link as link_processes
from titanflow.supervision import monitor as monitor_process
from titanflow.supervision import unlink as unlink_processes
from titanflow.supervision.process import _ActorGreenlet, processes
from titanflow.supervision.testing import kill_everybody

ENDS = st.sampled_from(["normal", "shutdown", "killed", "oops"])
RESTARTS = st.sampled_from(["permanent", "transient", "temporary"])
SMALL = st.integers(0, 5)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


def _end(pid: Pid, how: str) -> None:
    """End a process from within, or by a kill."""
    if how == "killed":
        exit_process(pid, KILL)
    else:

        def leave(_: Counter) -> None:
            raise Exit(how)

        cast(pid, Do(leave))


def _monitor(other: Pid, _: Counter) -> None:
    monitor_process(other)


def _link(other: Pid, _: Counter) -> None:
    if other.alive:
        link_processes(other)


class _OnVirtualTime(RuleBasedStateMachine):
    """Installs a virtual clock, and checks at the end that nothing is left."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self._former = install_clock(self.clock)

    def teardown(self) -> None:
        kill_everybody()
        self.clock.settle()
        install_clock(self._former)
        assert not processes
        assert self.clock.pending == 0


class GenServerMachine(_OnVirtualTime):
    """Six servers that link, monitor, signal and end."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Peers()
        self.pids: dict[int, Pid] = {}

    @initialize(traps=st.lists(st.booleans(), min_size=6, max_size=6))
    def start_all(self, traps: list[bool]) -> None:
        for number, trap in enumerate(traps):
            self._start(number, trap)

    @rule(number=SMALL, trap=st.booleans())
    def start_again(self, number: int, trap: bool) -> None:
        if not self.model.all[number].alive:
            self._start(number, trap)

    def _start(self, number: int, trap: bool) -> None:
        self.pids[number] = start(Counter())
        cast(self.pids[number], Do(lambda server: setattr(server, "trap_exit", trap)))
        self.clock.settle()
        for peer in self.model.all.values():
            peer.watchers = [watcher for watcher in peer.watchers if watcher != number]
        self.model.all[number] = Peer(trap)

    @rule(number=SMALL, n=SMALL)
    def add(self, number: int, n: int) -> None:
        accepted = cast(self.pids[number], Add(n))
        assert accepted == self.model.all[number].alive
        self.model.all[number].count += n * accepted

    @rule(one=SMALL, other=SMALL)
    def link(self, one: int, other: int) -> None:
        if self.model.all[one].alive and self.model.all[other].alive:
            cast(self.pids[one], Do(lambda _: link_processes(self.pids[other])))
            self.model.link(one, other)

    @rule(one=SMALL, other=SMALL)
    def unlink(self, one: int, other: int) -> None:
        if self.model.all[one].alive:
            cast(self.pids[one], Do(lambda _: unlink_processes(self.pids[other])))
            self.model.unlink(one, other)

    @rule(one=SMALL, other=SMALL)
    def monitor(self, one: int, other: int) -> None:
        if self.model.all[one].alive:
            cast(self.pids[one], Do(lambda _: monitor_process(self.pids[other])))
            if self.model.all[other].alive:
                self.model.all[other].watchers.append(one)
            else:
                self.model.all[one].downs += 1

    @rule(number=SMALL, how=ENDS)
    def end(self, number: int, how: Any) -> None:
        if self.model.all[number].alive:
            _end(self.pids[number], how)
            self.model.end(number, how)

    @rule(number=SMALL, reason=st.sampled_from(["normal", "shutdown", "oops"]))
    def signal(self, number: int, reason: Any) -> None:
        exit_process(self.pids[number], reason)
        self.model.signal(number, reason)

    @invariant()
    def agree(self) -> None:
        self.clock.settle()
        for number, peer in self.model.all.items():
            pid = self.pids[number]
            assert pid.alive == peer.alive
            if peer.alive:
                seen = call(pid, Ask(lambda server: list(server.seen)))
                assert call(pid, Get()) == peer.count
                assert sum(isinstance(message, ExitSignal) for message in seen) == peer.signals
                assert sum(isinstance(message, Down) for message in seen) == peer.downs


class SupervisorMachine(_OnVirtualTime):
    """A Supervisor of any strategy under crashes and requests; a new one when it gave up."""

    @initialize(
        strategy=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
        restarts=st.lists(RESTARTS, max_size=4),
        max_restarts=st.integers(0, 4),
        max_seconds=st.integers(1, 5),
    )
    def set_up(self, strategy: Any, restarts: list[Any], max_restarts: int, max_seconds: int) -> None:
        self.starts: dict[int, int] = {}
        self.strategy, self.restarts = strategy, restarts
        self.max_restarts, self.max_seconds = max_restarts, max_seconds
        self.model_starts: dict[int, int] = {}
        self._start()

    def _start(self) -> None:
        specs = [self._spec(id, restart) for id, restart in enumerate(self.restarts)]
        self.sup = start(Supervisor(specs, self.strategy, self.max_restarts, self.max_seconds))
        for id in range(len(specs)):
            self.model_starts[id] = self.model_starts.get(id, 0) + 1
        children = [ModelChild(id, restart) for id, restart in enumerate(self.restarts)]
        window = ModelWindow(self.max_restarts, self.max_seconds)
        self.model = ModelSupervisor(self.strategy, window, children, self.model_starts)

    def _spec(self, id: int, restart: Any) -> ChildSpec:
        def factory() -> Counter:
            self.starts[id] = self.starts.get(id, 0) + 1
            return Counter()

        return ChildSpec(id, factory, restart=restart)

    @rule(id=SMALL, how=ENDS)
    def end_child(self, id: int, how: Any) -> None:
        child = self.model.find(id)
        if child is None or not child.running:
            return
        pid = next(row.pid for row in which_children(self.sup) if row.id == id)
        assert isinstance(pid, Pid)
        _end(pid, how)
        self.clock.settle()
        self.model.ended(id, how, self.clock.now_ns() / 1e9)
        if not self.model.alive:
            assert not self.sup.alive
            self._start()

    @rule(id=SMALL, restart=RESTARTS)
    def start_one(self, id: int, restart: Any) -> None:
        try:
            start_child(self.sup, self._spec(id, restart))
            answer: Any = "ok"
        except StartError as error:
            answer = error.reason[0] if isinstance(error.reason, tuple) else error.reason
        assert answer == self.model.start_child(id, restart)

    @rule(id=SMALL)
    def terminate_one(self, id: int) -> None:
        assert self._asked(terminate_child, id) == self.model.terminate_child(id)

    @rule(id=SMALL)
    def restart_one(self, id: int) -> None:
        assert self._asked(restart_child, id) == self.model.restart_child(id)

    @rule(id=SMALL)
    def delete_one(self, id: int) -> None:
        assert self._asked(delete_child, id) == self.model.delete_child(id)

    @rule(ms=st.sampled_from([1, 900, 1_000, 1_001, 3_000, 10_000]))
    def wait(self, ms: int) -> None:
        self.clock.advance(ms)

    def _asked(self, request: Any, id: int) -> Any:
        try:
            request(self.sup, id)
        except (StartError, ChildError) as error:
            return error.reason
        return "ok"

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "sup"):
            return
        rows = [(row.id, isinstance(row.pid, Pid) and row.pid.alive) for row in which_children(self.sup)]
        assert rows == [(child.id, child.running) for child in self.model.children]
        assert self.starts == self.model_starts
        assert count_children(self.sup).active == sum(child.running for child in self.model.children)


class DynamicSupervisorMachine(_OnVirtualTime):
    """Children that come and go, at most four of them."""

    LIMIT: ClassVar[int] = 4

    @initialize(max_restarts=st.integers(0, 4))
    def set_up(self, max_restarts: int) -> None:
        self.max_restarts = max_restarts
        self._start()

    def _start(self) -> None:
        self.sup = start(DynamicSupervisor(self.LIMIT, self.max_restarts, 5))
        self.model: list[str] = []
        self.window = ModelWindow(self.max_restarts, 5)

    @rule(restart=RESTARTS)
    def start_one(self, restart: Any) -> None:
        spec = ChildSpec(restart, Counter, restart=restart)
        if len(self.model) == self.LIMIT:
            with pytest.raises(StartError, match="max_children"):
                start_child(self.sup, spec)
        else:
            start_child(self.sup, spec)
            self.model.append(restart)

    @precondition(lambda self: self.model)
    @rule(which=SMALL, how=ENDS)
    def end_one(self, which: int, how: Any) -> None:
        """Restarted children move to the end of the list, as new pids do in the supervisor's."""
        place = which % len(self.model)
        _end(self._pid(place), how)
        self.clock.settle()
        restart = self.model.pop(place)
        if restart == "permanent" or (restart == "transient" and how not in ("normal", "shutdown")):
            self.model.append(restart)
            if not self.window.allows(self.clock.now_ns() / 1e9):
                assert not self.sup.alive
                self._start()

    @precondition(lambda self: self.model)
    @rule(which=SMALL)
    def terminate_one(self, which: int) -> None:
        place = which % len(self.model)
        terminate_child(self.sup, self._pid(place))
        self.model.pop(place)

    @rule(ms=st.sampled_from([1, 1_000, 6_000]))
    def wait(self, ms: int) -> None:
        self.clock.advance(ms)

    def _pid(self, place: int) -> Pid:
        pid = which_children(self.sup)[place].pid
        assert isinstance(pid, Pid)
        return pid

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "sup"):
            count = count_children(self.sup)
            assert (count.specs, count.active) == (len(self.model), len(self.model))
            assert all(isinstance(row.pid, Pid) and row.pid.alive for row in which_children(self.sup))


class RegistryMachine(_OnVirtualTime):
    """Four processes, three keys, a unique and a duplicate registry."""

    def __init__(self) -> None:
        super().__init__()
        self.registries = {kind: Registry(kind) for kind in ("unique", "duplicate")}
        self.entries: dict[str, list[tuple[str, int, int]]] = {"unique": [], "duplicate": []}
        self.pids = {number: start(Counter()) for number in range(4)}

    KINDS = st.sampled_from(["unique", "duplicate"])
    KEYS = st.sampled_from("klm")
    WHO = st.integers(0, 3)

    def _in(self, number: int, action: Any) -> Any:
        return call(self.pids[number], Ask(lambda _: action()))

    @rule(kind=KINDS, key=KEYS, number=WHO, value=SMALL)
    def register(self, kind: str, key: str, number: int, value: int) -> None:
        def register() -> Any:
            try:
                self.registries[kind].register(key, value)
            except AlreadyRegistered as taken:
                return taken.pid
            return None

        holder = next((who for held, who, _ in self.entries[kind] if held == key), None)
        if kind == "unique" and holder is not None:
            assert self._in(number, register) is self.pids[holder]
        else:
            assert self._in(number, register) is None
            self.entries[kind].append((key, number, value))

    @rule(kind=KINDS, key=KEYS, number=WHO)
    def unregister(self, kind: str, key: str, number: int) -> None:
        self._in(number, lambda: self.registries[kind].unregister(key))
        self.entries[kind] = [entry for entry in self.entries[kind] if entry[:2] != (key, number)]

    @rule(key=KEYS, number=WHO, value=SMALL)
    def update(self, key: str, number: int, value: int) -> None:
        changed = self._in(number, lambda: self.registries["unique"].update_value(key, lambda _: value))
        for place, (held, who, old) in enumerate(self.entries["unique"]):
            if (held, who) == (key, number):
                assert changed == (value, old)
                self.entries["unique"][place] = (key, number, value)
                return
        assert changed is None

    @rule(number=WHO, how=ENDS)
    def end(self, number: int, how: str) -> None:
        _end(self.pids[number], how)
        self.clock.settle()
        self.pids[number] = start(Counter())
        for kind, entries in self.entries.items():
            self.entries[kind] = [entry for entry in entries if entry[1] != number]

    @invariant()
    def agree(self) -> None:
        for kind, registry in self.registries.items():
            entries = self.entries[kind]
            assert registry.count() == len(entries)
            for key in "klm":
                assert registry.lookup(key) == [(self.pids[who], value) for held, who, value in entries if held == key]
            for number, pid in self.pids.items():
                assert sorted(map(str, registry.keys(pid))) == sorted(held for held, who, _ in entries if who == number)


MACHINES = [GenServerMachine, SupervisorMachine, DynamicSupervisorMachine, RegistryMachine]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: str(machine.__name__))
def test_the_kernel_agrees_with_its_model(machine: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(machine, settings=_settings(max_examples=100, steps=30))


@pytest.mark.soak
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: str(machine.__name__))
def test_the_kernel_agrees_with_its_model_for_long(machine: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(machine, settings=_settings(max_examples=200, steps=50))


def _settings(*, max_examples: int, steps: int) -> settings:
    return settings(
        max_examples=max_examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def test_ten_thousand_crashes_starts_and_stops_leave_nothing_behind(clock: VirtualClock) -> None:
    """No leaked greenlet, name, monitor or timer."""
    steps = 10_000
    rng = random.Random(7)
    registry = Registry()
    sup = start(DynamicSupervisor(max_restarts=steps))
    pids: list[Pid] = []
    for step in range(steps):
        pids = [pid for pid in pids if pid.alive]
        match rng.randrange(6):
            case 0 | 1:
                spec = ChildSpec(step, Counter, restart="transient", name=registry.via(step))
                pid = start_child(sup, spec)
                assert pid is not None
                pids.append(pid)
            case 2 if pids:
                _end(rng.choice(pids), rng.choice(["normal", "killed", "oops"]))
            case 3 if pids:
                one, other = rng.choice(pids), rng.choice(pids)
                cast(one, Do(partial(_monitor, other)))
                cast(one, Do(lambda server: server.send_after(60_000, "never")))
            case 4 if pids:
                one, other = rng.choice(pids), rng.choice(pids)
                cast(one, Do(partial(_link, other)))
            case 5 if len(pids) > 20:
                victim = rng.choice(pids)
                if victim.alive:
                    exit_process(victim, "shutdown")
        clock.settle()
    stop(sup)
    clock.settle()
    del pids, sup
    gc.collect()

    assert not processes
    assert registry.count() == 0
    assert clock.pending == 0
    assert sum(isinstance(thing, _ActorGreenlet) for thing in gc.get_objects()) == 0
