"""Node: this process as the others see it: its entry, its heartbeat, its leases.

One a process; child of Application (rest_for_one, permanent): everything that holds a lease comes after it, so a
new Node is a new start for all of them. While PostgreSQL is away it keeps trying; the leases run out by the
clock of whoever relies on them. OTP model: gen_server.
"""

import os
import socket
from dataclasses import dataclass
from typing import Any

import structlog

from titanflow import __version__
from titanflow.actors.node import identity
from titanflow.actors.number import rate_limiter
from titanflow.actors.number.rate_limiter import LEASE_MARGIN_S, LeaseTaken
from titanflow.errors import StorageUnavailable
from titanflow.storage import leases
from titanflow.storage.database import Database
from titanflow.supervision import SHUTDOWN, Call, Cast, From, GenServer, NoReply, Reply, Stop, call, via

log = structlog.get_logger()

_RETRY_MS = 500


@dataclass(frozen=True, slots=True)
class GetNodeId(Call[int]):
    """Ask for the node's id."""


class _Renew:
    """To self."""


def node_id(*, timeout_s: float = 5.0) -> int:
    """Return the id of this process's node, an incarnation. Raises CallExit if it is down."""
    return call(via("node"), GetNodeId(), timeout_s=timeout_s)


class Node(GenServer):
    """Registers, buries dead neighbours, renews."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def init(self) -> None:
        """Register as a new node. Earlier processes of this host that are proven dead give up their leases."""
        self.trap_exit = True
        dead = [one for one in leases.live_nodes(self._db) if identity.is_proven_dead(one.process)]
        if dead:
            leases.bury(self._db, [one.id for one in dead])
            log.warning("nodes.buried", node_ids=[one.id for one in dead], why="their processes are gone")
        self._node_id = leases.register(
            self._db,
            host=socket.gethostname(),
            pid=os.getpid(),
            process=identity.of_this_process(),
            version=__version__,
        )
        self._held: dict[int, int] = {}  # number -> epoch
        log.info("node.started", node=self._node_id)
        self.send_after(leases.RENEW_EVERY_S * 1000, _Renew())

    def handle_call(self, request: Call[Any], sender: From) -> Reply | NoReply | Stop:
        """Tell the id."""
        match request:
            case GetNodeId():
                return Reply(self._node_id)
        return super().handle_call(request, sender)

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Remember a lease once it is taken: one that runs out before its first renewal is lost as well."""
        match message:
            case LeaseTaken(number_id, epoch):
                self._held[number_id] = epoch
                return None
        return super().handle_cast(message)

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Renew, and pass on how long each lease can be trusted."""
        if not isinstance(message, _Renew):
            return super().handle_info(message)
        asked_ns = self.now_ns()
        try:
            held = leases.renew(self._db, self._node_id)
        except StorageUnavailable as error:
            log.warning("leases.not_renewed", node=self._node_id, why=error.why)
            self.send_after(_RETRY_MS, _Renew())
            return None
        until_ns = asked_ns + int((leases.LEASE_S - LEASE_MARGIN_S) * 1e9)
        numbers = {lease.resource_id: lease.epoch for lease in held if lease.kind == "number"}
        for number_id, epoch in numbers.items():
            rate_limiter.lease_renewed(number_id, epoch, until_ns)
        for number_id, epoch in self._held.items():
            if numbers.get(number_id) != epoch:
                rate_limiter.lease_lost(number_id, epoch)
        self._held = numbers
        self.send_after(leases.RENEW_EVERY_S * 1000, _Renew())
        return None

    def terminate(self, reason: object) -> None:
        """Leave in an orderly way: the others take over at once."""
        if reason == SHUTDOWN:
            leases.bury(self._db, [self._node_id])
            log.info("node.stopped", node=self._node_id)

    def observed_state(self) -> dict[str, object]:
        """For `observe()`."""
        return {"node_id": self._node_id, "leases": sorted(self._held)}
