"""Names for processes: unique (one process a key) or duplicate (any number), freed when the process ends.

OTP source: Elixir's Registry. Entries belong to the process that registered them; a value travels with each.
`via(...)` names a process in the process-wide default registry, as `{:via, Registry, {...}}` does.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Literal

from titanflow.supervision.process import Pid, Process, current_process
from titanflow.supervision.reasons import StartError


class AlreadyRegistered(Exception):
    """The key of a unique registry is taken; `pid` holds it: `{:already_registered, pid}`."""

    def __init__(self, pid: Pid) -> None:
        super().__init__(f"already registered by {pid!r}")
        self.pid = pid


class Via:
    """A name to call, cast and send to, whichever process holds it at that moment."""

    __slots__ = ("key", "registry")

    def __init__(self, registry: Registry, key: Hashable) -> None:
        self.registry = registry
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Via) and self.registry is other.registry and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return "/".join(map(str, self.key)) if isinstance(self.key, tuple) else str(self.key)

    def __repr__(self) -> str:
        return f"via({self})"


class Registry:
    """A table of processes by key. `register` and the like act for the process that calls them."""

    def __init__(self, keys: Literal["unique", "duplicate"] = "unique") -> None:
        self._unique = keys == "unique"
        self._entries: dict[Hashable, list[tuple[Pid, Any]]] = {}

    def via(self, *key: Hashable) -> Via:
        """A name in this registry, for `start(..., name=)`, child specs and as an address."""
        return Via(self, key)

    def whereis(self, key: Hashable) -> Pid | None:
        """The living process under a unique key: Registry.whereis_name."""
        entries = self._entries.get(key)
        return entries[0][0] if entries and entries[0][0].alive else None

    def register(self, key: Hashable, value: Any = None) -> None:
        """Put the calling process under `key`: Registry.register. Raises AlreadyRegistered."""
        self.register_process(_caller(), key, value)

    def register_process(self, process: Process, key: Hashable, value: Any = None) -> None:
        """Register on behalf of a process that is starting."""
        entries = self._entries.get(key)
        if entries is None:
            self._entries[key] = [(process.pid, value)]
        elif self._unique:
            raise AlreadyRegistered(entries[0][0])
        else:
            entries.append((process.pid, value))
        process.add_name(self, key)

    def unregister(self, key: Hashable) -> None:
        """Take all entries of the calling process under `key` away: Registry.unregister."""
        process = _caller()
        for _ in range(self.forget(key, process.pid)):
            process.drop_name(self, key)

    def forget(self, key: Hashable, pid: Pid) -> int:
        """Take the entries of `pid` under `key` away; returns how many there were."""
        entries = self._entries.get(key, [])
        left = [entry for entry in entries if entry[0] is not pid]
        if left:
            self._entries[key] = left
        else:
            self._entries.pop(key, None)
        return len(entries) - len(left)

    def update_value(self, key: Hashable, change: Callable[[Any], Any]) -> tuple[Any, Any] | None:
        """Change the caller's value under a unique key; (new, old), or None if the key isn't its own."""
        pid = _caller().pid
        entries = self._entries.get(key)
        if not self._unique or not entries or entries[0][0] is not pid:
            return None
        old = entries[0][1]
        new = change(old)
        self._entries[key] = [(pid, new)]
        return new, old

    def lookup(self, key: Hashable) -> list[tuple[Pid, Any]]:
        """The processes under `key`, each with its value."""
        return [entry for entry in self._entries.get(key, ()) if entry[0].alive]

    def keys(self, pid: Pid) -> list[Hashable]:
        """The keys a process holds, one per entry."""
        process = pid._process
        return [] if process is None else [key for registry, key in process.names if registry is self]

    def values(self, key: Hashable, pid: Pid) -> list[Any]:
        """The values a process holds under `key`."""
        return [value for holder, value in self._entries.get(key, ()) if holder is pid]

    def count(self) -> int:
        """How many entries there are."""
        return sum(map(len, self._entries.values()))

    def dispatch(self, key: Hashable, deliver: Callable[[Pid], object]) -> None:
        """Call `deliver(pid)` for every entry under `key`: Registry.dispatch."""
        for pid, _ in self.lookup(key):
            deliver(pid)


default_registry = Registry()


def via(*key: Hashable) -> Via:
    """A name in the process-wide default registry: `via("rate_limiter", 7)`."""
    return Via(default_registry, key)


def whereis(name: Via | Pid) -> Pid | None:
    """The living process under a name: GenServer.whereis."""
    if isinstance(name, Pid):
        return name if name.alive else None
    return name.registry.whereis(name.key)


def claim_name(process: Process, name: Via) -> None:
    """Register a starting process under its name. Raises StartError(("already_started", pid))."""
    try:
        name.registry.register_process(process, name.key)
    except AlreadyRegistered as taken:
        raise StartError(("already_started", taken.pid)) from None


def _caller() -> Process:
    process = current_process()
    if process is None:
        raise RuntimeError("only a process can hold a registry key: call this from within an actor")
    return process
