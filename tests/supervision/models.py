"""Small pure models of OTP's behaviours, to hold the kernel against. Values in, values out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Ended = Literal["normal", "shutdown", "killed", "oops"]
ORDERLY = ("normal", "shutdown")


@dataclass(slots=True)
class Peer:
    """A server among others: what links, monitors and signals have done to it."""

    trap: bool
    alive: bool = True
    count: int = 0
    signals: int = 0
    downs: int = 0
    links: set[int] = field(default_factory=set)
    watchers: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Peers:
    """Linked and monitoring servers."""

    all: dict[int, Peer] = field(default_factory=dict)

    def link(self, one: int, other: int) -> None:
        """Both live."""
        if one != other:
            self.all[one].links.add(other)
            self.all[other].links.add(one)

    def unlink(self, one: int, other: int) -> None:
        """Both ends."""
        self.all[one].links.discard(other)
        self.all[other].links.discard(one)

    def end(self, who: int, reason: Ended) -> None:
        """A process dies; so do those linked to it that do not trap, unless it was a normal end."""
        peer = self.all[who]
        if not peer.alive:
            return
        peer.alive = False
        linked, peer.links = sorted(peer.links), set()
        for other in linked:
            self.all[other].links.discard(who)
            self.signal(other, reason)
        for watcher in peer.watchers:
            self.all[watcher].downs += self.all[watcher].alive

    def signal(self, who: int, reason: Ended) -> None:
        """An exit signal that can be trapped."""
        peer = self.all[who]
        if not peer.alive:
            return
        if peer.trap:
            peer.signals += 1
        elif reason != "normal":
            self.end(who, reason)


@dataclass(slots=True)
class ModelChild:
    """A child as which_children shows it."""

    id: int
    restart: str
    running: bool = True


@dataclass(slots=True)
class ModelWindow:
    """At most so many restarts in so many seconds."""

    max_restarts: int
    max_seconds: int
    restarts: list[float] = field(default_factory=list)

    def allows(self, now_s: float) -> bool:
        """Count one more."""
        self.restarts = [at for at in self.restarts if now_s - at <= self.max_seconds] + [now_s]
        return len(self.restarts) <= self.max_restarts


@dataclass(slots=True)
class ModelSupervisor:
    """A Supervisor whose children never fail to start."""

    strategy: str
    window: ModelWindow
    children: list[ModelChild]
    starts: dict[int, int]
    alive: bool = True

    def ended(self, id: int, reason: Ended, now_s: float) -> None:
        """A running child ended by itself."""
        child = self.find(id)
        assert child is not None
        child.running = False
        if child.restart == "temporary" or (child.restart == "transient" and reason in ORDERLY):
            self._forget_if_temporary(child)
            return
        if not self.window.allows(now_s):
            self.alive = False
            return
        for member in list(self._group(child)):
            if member is not child and member.restart == "temporary":
                self.children.remove(member)
        for member in self._group(child):
            member.running = True
            self.starts[member.id] += 1

    def _group(self, child: ModelChild) -> list[ModelChild]:
        if self.strategy == "one_for_one":
            return [child]
        return self.children[self.children.index(child) if self.strategy == "rest_for_one" else 0 :]

    def start_child(self, id: int, restart: str) -> str:
        """What the request answers."""
        child = self.find(id)
        if child is not None:
            return "already_started" if child.running else "already_present"
        self.children.append(ModelChild(id, restart))
        self.starts[id] = self.starts.get(id, 0) + 1
        return "ok"

    def terminate_child(self, id: int) -> str:
        """What the request answers."""
        child = self.find(id)
        if child is None:
            return "not_found"
        child.running = False
        self._forget_if_temporary(child)
        return "ok"

    def restart_child(self, id: int) -> str:
        """What the request answers."""
        child = self.find(id)
        if child is None:
            return "not_found"
        if child.running:
            return "running"
        child.running = True
        self.starts[id] += 1
        return "ok"

    def delete_child(self, id: int) -> str:
        """What the request answers."""
        child = self.find(id)
        if child is None:
            return "not_found"
        if child.running:
            return "running"
        self.children.remove(child)
        return "ok"

    def find(self, id: int) -> ModelChild | None:
        """The child with an id."""
        return next((child for child in self.children if child.id == id), None)

    def _forget_if_temporary(self, child: ModelChild) -> None:
        if child.restart == "temporary":
            self.children.remove(child)
