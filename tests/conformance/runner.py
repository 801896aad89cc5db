"""Carries a scenario out on a virtual clock and writes down what happens.

The driver is a process of its own that executes the steps; the clock is moved from outside, as README.md of the
scenarios says: it passes only while somebody sleeps, or the driver itself is blocked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.conformance.operations import Operations
from tests.conformance.probes import Json
from tests.conformance.terms import to_json
from titanflow.supervision import (
    Cast,
    From,
    GenServer,
    MonitorRef,
    Pid,
    Registry,
    VirtualClock,
    add_listener,
    cast,
    remove_listener,
    self_pid,
    sleep_ms,
    start,
    stop,
    using_clock,
)
from titanflow.supervision.testing import kill_everybody

_MOST_JUMPS = 100_000


@dataclass(frozen=True, slots=True)
class _Step(Cast):
    operation: Json


class _Driver(GenServer):
    """Executes steps; what is sent to it is ignored."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def init(self) -> None:
        self.trap_exit = True

    def handle_cast(self, message: Any) -> None:
        try:
            self.run.do("driver", [message.operation])
        finally:
            self.run.driver_is_busy = False

    def handle_info(self, message: Any) -> None:
        """A stranger's mail."""


class Stuck(Exception):
    """A step did not come to its end."""


class Run:
    """One scenario under way: who is called what, what was seen, who sleeps."""

    def __init__(self, scenario: Json) -> None:
        self.scenario = scenario
        self.clock = VirtualClock()
        self.registries = {"unique": Registry("unique"), "duplicate": Registry("duplicate")}
        self.events: list[Json] = []
        self.senders: dict[str, From] = {}
        self.driver_is_busy = False
        self._sleepers = 0
        self._incarnations: dict[str, int] = {}
        self._pids: dict[str, Pid] = {}
        self._names: dict[Pid, str] = {}
        self._refs: dict[tuple[str, str], Any] = {}
        self._operations = Operations(self)

    def observe(self) -> list[Json]:
        """Carry the scenario out; the events as they came."""
        add_listener(ended=self._on_end)
        try:
            with using_clock(self.clock):
                driver = start(_Driver(self))
                self._names[driver] = "driver"
                for number, step in enumerate(self.scenario["steps"]):
                    self.emit("driver", "step", n=number)
                    self.driver_is_busy = True
                    cast(driver, _Step(step))
                    self._settle()
        finally:
            remove_listener(ended=self._on_end)
            kill_everybody()
            self.clock.settle()
        return self.events

    def _settle(self) -> None:
        self.clock.settle()
        for _ in range(_MOST_JUMPS):
            if not self._sleepers and not self.driver_is_busy:
                return
            if not self.clock.advance_to_next():
                break
        raise Stuck("a step never ends: no timer is pending" if self.driver_is_busy else "a sleeper never wakes")

    def _on_end(self, pid: Pid, reason: Any) -> None:
        name = self._names.get(pid)
        if name is not None and name != "driver":
            self.emit(name, "exit", reason=self.json(reason))

    # ------------------------------------------------------------------------------ for probes and operations

    def emit(self, process: str, kind: str, **fields: Any) -> None:
        """Write an event down."""
        self.events.append({"p": process, "e": kind, **fields})

    def enter(self, id: str, pid: Pid) -> tuple[str, int]:
        """A process reached its init: its name and the number of its incarnation."""
        incarnation = self._incarnations[id] = self._incarnations.get(id, 0) + 1
        name = f"{id}#{incarnation}"
        self._names[pid] = name
        self._pids[name] = self._pids[id] = pid
        return name, incarnation

    def do(self, name: str, operations: list[Json]) -> None:
        """Carry out operations in the name of a process."""
        for operation in operations:
            self._operations.carry_out(name, operation)

    def sleep(self, ms: float) -> None:
        """Block the calling process; time passes for it."""
        self._sleepers += 1
        try:
            sleep_ms(ms)
        finally:
            self._sleepers -= 1

    def json(self, term: Any) -> Any:
        """A value as the trace writes it. A signal without a sender came from outside: the driver's kind."""
        return to_json(term, self._names.get)

    def name(self, spec: Json) -> Any:
        """The via-name of a spec, if it has one."""
        return self.registries["unique"].via(spec["name"]) if "name" in spec else None

    def pid(self, address: str) -> Pid:
        """The process an address means, dead or alive; somebody dead if there never was one."""
        if address == "self":
            me = self_pid()
            assert me is not None
            return me
        return self._pids.get(address) or _nobody()

    def keep(self, name: str, ref: str, thing: Any) -> None:
        """Remember a monitor, timer or task under a name local to the process."""
        self._refs[name, ref] = thing

    def kept(self, name: str, ref: str) -> Any:
        """What was kept under a ref."""
        return self._refs[name, ref]

    def ref_name(self, name: str, ref: MonitorRef) -> str | None:
        """The local name of a monitor's, or a task's, reference."""
        for (owner, ref_name), thing in self._refs.items():
            if owner == name and (thing is ref or getattr(thing, "ref", None) is ref):
                return ref_name
        return None


class _Nobody(GenServer):
    """Starts to be dead."""


def _nobody() -> Pid:
    pid = start(_Nobody())
    stop(pid)
    return pid
