"""PartitionSupervisor: several copies of one child, to spread a load over by key.

An ordinary one_for_one Supervisor whose children's ids are 0, 1, ... OTP source: Elixir's PartitionSupervisor.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable

from titanflow.supervision.child_spec import ChildSpec, Restart, ShutdownTime, Startable, Strategy
from titanflow.supervision.client import Server
from titanflow.supervision.gen_server import ServerProcess
from titanflow.supervision.process import Pid
from titanflow.supervision.reasons import NOPROC, CallExit
from titanflow.supervision.registry import whereis
from titanflow.supervision.supervisor import Supervisor


class PartitionSupervisor(Supervisor):
    """Supervises `partitions` copies of a child. `start(partition)` makes each; reach them by `partition_of`."""

    def __init__(
        self,
        start: Callable[[int], Startable],
        partitions: int,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        max_seconds: int = 5,
        restart: Restart = "permanent",
        shutdown_ms: ShutdownTime | None = None,
    ) -> None:
        specs = [
            ChildSpec(number, _starter(start, number), restart=restart, shutdown_ms=shutdown_ms)
            for number in range(partitions)
        ]
        super().__init__(specs, strategy, max_restarts, max_seconds)
        self.partitions = partitions

    def pid_for(self, key: Hashable) -> Pid | None:
        """The living partition for a key; read without a message, as Elixir reads it from a table."""
        child = self._children.get(partition_number(key, self.partitions))
        return None if child is None else child.pid


def partition_number(key: Hashable, partitions: int) -> int:
    """An integer goes to the remainder, as in Elixir; anything else by a hash that is stable between runs."""
    if isinstance(key, int):
        return abs(key) % partitions
    return zlib.crc32(repr(key).encode()) % partitions


def partition_of(sup: Server, key: Hashable) -> Pid:
    """The partition that serves `key`: `{:via, PartitionSupervisor, {sup, key}}`. Raises CallExit(NOPROC)."""
    sup_pid = whereis(sup)
    process = None if sup_pid is None else sup_pid._process
    server = process.server if isinstance(process, ServerProcess) else None
    pid = server.pid_for(key) if isinstance(server, PartitionSupervisor) else None
    if pid is None:
        raise CallExit(NOPROC)
    return pid


def _starter(start: Callable[[int], Startable], number: int) -> Callable[[], Startable]:
    return lambda: start(number)
