"""A process: a greenlet with a mailbox, links, monitors and one way to die.

This is Erlang's process, not its behaviours: gen_server.py and task.py say what a process does between its
start and its end. Everything that ends one goes through `Process._finish`, in this order: names freed, timers
to it cancelled, its starter told, exit signals to links, down messages to monitors, open calls failed.
OTP source: the Erlang reference manual, "Processes"; erts signals (exit/2, link/1, monitor/2).
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import gevent
import pykka.messages
from gevent.hub import Waiter, get_hub
from greenlet import getcurrent, greenlet

from titanflow.supervision import events
from titanflow.supervision.clock import Clock, Timer, installed_clock, schedule, wake
from titanflow.supervision.messages import Cast, Down, ExitSignal, Info, MailboxPolicy, MonitorRef, StopRequest, Tagged
from titanflow.supervision.pykka_actor import PykkaActor
from titanflow.supervision.reasons import (
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    CallExit,
    Crash,
    Exit,
    Reason,
    StartError,
    is_atom,
    is_orderly,
)
from titanflow.supervision.replies import Ack, From

if TYPE_CHECKING:
    from titanflow.supervision.registry import Registry, Via

_KILL_RETRIES_S: Final = (0.5, 1.0, 2.0)


class Pid:
    """A handle on one incarnation of a process; stays valid, and dead, for ever after its end."""

    __slots__ = ("_process", "kind", "number")

    def __init__(self, number: int, kind: str, process: Process) -> None:
        self.number = number
        self.kind = kind
        self._process: Process | None = process

    @property
    def alive(self) -> bool:
        """True until the process ends or is doomed by a signal: Process.alive?."""
        process = self._process
        return process is not None and process.doomed is None

    def __repr__(self) -> str:
        return f"<{self.kind} {self.number}{'' if self.alive else ' dead'}>"


class ProcessExit(gevent.GreenletExit):  # type: ignore[misc]  # gevent ships no types
    """Thrown into a greenlet whose process was ended by a signal. Never catch it."""


class _Unset:
    """Type of the mark "no message", distinct from any message."""


NO_MESSAGE: Final = _Unset()

processes: dict[int, Process] = {}
"""Every living process of this OS process, by number, in order of start."""

_numbers = itertools.count(1)


class _ActorGreenlet(greenlet):  # type: ignore[misc]  # greenlet ships no types
    """Knows its process, so that code deep below a callback can ask who it is."""

    __slots__ = ("process",)

    process: Process


class Process(PykkaActor):
    """One actor: subclasses give `main`, which runs in its greenlet and returns the exit reason."""

    __slots__ = (
        "_greenlet",
        "_monitors",
        "_names",
        "_room",
        "_timers",
        "_wait",
        "_wanted",
        "ack",
        "busy_ns",
        "clock",
        "doomed",
        "dropped",
        "handled",
        "idle",
        "incident",
        "kept_calls",
        "limit",
        "links",
        "mailbox",
        "message",
        "name",
        "parent",
        "pid",
        "policy",
        "refused",
        "started_ns",
        "trap_exit",
        "watching",
        "woken_ns",
    )

    def __init__(self, kind: str, *, limit: int = 10_000, policy: MailboxPolicy = "block") -> None:
        # Not pykka's __init__: it makes a UUID, an event and a reference that nobody may ever ask for.
        self.pid = Pid(next(_numbers), kind, self)
        self.clock = installed_clock()
        self.mailbox: deque[Any] = deque()
        self.limit = limit
        self.policy: MailboxPolicy = policy
        self.trap_exit = False
        self.parent: Pid | None = None
        self.name: Via | None = None
        self.links: set[Pid] | None = None
        self.watching: dict[MonitorRef, Pid] | None = None
        self.kept_calls: set[From] | None = None
        self.ack: Ack | None = None
        self.doomed: tuple[Reason] | None = None  # the reason of a signal that is ending it
        self.incident: int | None = None
        self.message: Any = None
        self.handled = 0
        self.dropped = 0
        self.refused = 0
        self.busy_ns = 0
        self.woken_ns = 0
        self.started_ns = time.monotonic_ns()
        self._monitors: dict[MonitorRef, Callable[[Pid, Reason], None]] | None = None
        self._names: list[tuple[Registry, Any]] | None = None
        self._timers: set[Timer] | None = None
        self._room: deque[Any] | None = None
        self.idle = False  # blocked until a (wanted) message arrives
        self._wait: object | None = None
        self._wanted: Callable[[Any], bool] | None = None
        self._greenlet: _ActorGreenlet | None = None

    # ------------------------------------------------------------------------------------ start and life

    def main(self) -> Reason:
        """What this process does. Returns why it ended."""
        raise NotImplementedError

    def spawn(self, *, link: bool) -> Pid:
        """Start the greenlet; with `link`, linked to the calling process, which becomes its parent."""
        parent = current_process()
        if parent is not None and link:
            self.parent = parent.pid
            self._add_link(parent.pid)
            parent._add_link(self.pid)
        processes[self.pid.number] = self
        self._start_actor_loop()
        return self.pid

    def _start_actor_loop(self) -> None:
        running = _ActorGreenlet(self._actor_loop, get_hub())
        running.process = self
        self._greenlet = running
        schedule(running.switch)
        if events.started_listeners:
            events.process_started(self.pid, self.parent)

    def _actor_loop(self) -> None:
        try:
            reason = self.main()
        except ProcessExit:
            reason = KILLED
        except Exit as leaving:
            reason = leaving.reason
        except gevent.GreenletExit:  # somebody killed the greenlet itself
            reason = KILLED
        except BaseException as error:  # noqa: BLE001  # nothing may reach the hub or another actor
            reason = Crash(error)
        self._finish(reason if self.doomed is None else self.doomed[0])

    def _finish(self, reason: Reason) -> None:
        pid = self.pid
        if pid._process is None:
            return  # given up as a zombie before
        pid._process = None
        processes.pop(pid.number, None)
        for registry, key in self._names or ():
            registry.forget(key, pid)
        for timer in self._timers or ():
            timer.cancel()
        if self.incident is None and not is_orderly(reason):
            self.incident = events.new_incident()
        if self.ack is not None:
            self.ack.give(StartError(reason))
        queued = [message for message in self.mailbox if isinstance(message, From)]
        self.mailbox.clear()
        for linked in self.links or ():
            other = linked._process
            if other is not None:
                other.receive_exit(pid, reason, linked=True, incident=self.incident)
        for ref, target in (self.watching or {}).items():
            if target._process is not None and target._process._monitors:
                target._process._monitors.pop(ref, None)
        for notify in list((self._monitors or {}).values()):
            notify(pid, reason)
        open_calls = [*(self.kept_calls or ()), *queued]
        self.kept_calls = None
        for call in open_calls:
            call.settle(reason, failed=True)
        for waiter in self._room or ():
            wake(waiter)
        try:
            events.process_ended(self, reason)
        finally:
            self.message = None
            self.released()

    def released(self) -> None:
        """Let go of what only the living need. Subclasses drop their behaviour here."""
        self.links = self._monitors = self.watching = self._names = self._timers = None

    # --------------------------------------------------------------------------------------- exit signals

    def receive_exit(
        self, sender: Pid | None, reason: Reason, *, linked: bool = False, incident: int | None = None
    ) -> None:
        """Take an exit signal: OTP's rules for exit/2 and links, in one place."""
        if linked:
            if self.links is None or sender not in self.links:
                return
            self.links.discard(sender)
        elif is_atom(reason, KILL):
            self._doom(KILLED, incident)
            return
        if self.trap_exit:
            self.deliver(ExitSignal(sender, reason, incident))
        elif not is_atom(reason, NORMAL) or sender is self.pid:
            self._doom(reason, incident)

    def _doom(self, reason: Reason, incident: int | None) -> None:
        if self.doomed is not None or self.pid._process is None:
            return
        self.doomed = (reason,)
        self.incident = incident
        if getcurrent() is self._greenlet:
            raise ProcessExit
        schedule(self._throw, 0)

    def _throw(self, attempt: int) -> None:
        """Unwind the greenlet. One that swallows it is asked again, then written off: no zombies."""
        running = self._greenlet
        if running is None or running.dead or self.pid._process is None:
            return
        running.throw(ProcessExit)
        if running.dead:
            return
        if attempt < len(_KILL_RETRIES_S):
            timer = get_hub().loop.timer(_KILL_RETRIES_S[attempt])
            timer.start(self._throw, attempt + 1)
        else:
            events.process_resisted(self.pid)
            self._finish(KILLED if self.doomed is None else self.doomed[0])

    # ------------------------------------------------------------------------------- links and monitors

    def _add_link(self, pid: Pid) -> None:
        if self.links is None:
            self.links = {pid}
        else:
            self.links.add(pid)

    def link(self, pid: Pid) -> None:
        """Link with another process: link/1. To a dead one: a signal if exits are trapped, else CallExit."""
        other = pid._process
        if other is self:
            return
        if other is not None and other.doomed is None:
            self._add_link(pid)
            other._add_link(self.pid)
        elif self.trap_exit:
            self.deliver(ExitSignal(pid, NOPROC))
        else:
            raise CallExit(NOPROC)

    def unlink(self, pid: Pid) -> None:
        """Take a link away, both ends: unlink/1."""
        if self.links is not None:
            self.links.discard(pid)
        other = pid._process
        if other is not None and other.links is not None:
            other.links.discard(self.pid)

    def monitor(self, target: Pid | None) -> MonitorRef:
        """Ask for a `Down` message when the target ends; at once with noproc if it is dead."""
        ref = MonitorRef()
        process = None if target is None else target._process
        if process is None:
            self.deliver(Down(ref, target, NOPROC))
            return ref
        assert target is not None
        if self.watching is None:
            self.watching = {}
        self.watching[ref] = target
        process.add_monitor(ref, lambda pid, reason: self._on_down(ref, pid, reason))
        return ref

    def _on_down(self, ref: MonitorRef, pid: Pid, reason: Reason) -> None:
        if self.watching is not None:
            self.watching.pop(ref, None)
        self.deliver(Down(ref, pid, reason))

    def add_monitor(self, ref: MonitorRef, notify: Callable[[Pid, Reason], None]) -> None:
        """Call `notify(pid, reason)` when this process ends; it may not block."""
        if self._monitors is None:
            self._monitors = {}
        self._monitors[ref] = notify

    def remove_monitor(self, ref: MonitorRef) -> None:
        """Take back add_monitor."""
        if self._monitors is not None:
            self._monitors.pop(ref, None)

    def demonitor(self, ref: MonitorRef, *, flush: bool = False) -> None:
        """End a monitor; with `flush`, also take its message out of the mailbox."""
        target = None if self.watching is None else self.watching.pop(ref, None)
        if target is not None and target._process is not None:
            target._process.remove_monitor(ref)
        if flush:
            self.take(lambda message: isinstance(message, Down) and message.ref is ref)

    def await_down(self, pid: Pid, timeout_ms: float | None) -> Reason:
        """Block until `pid` is dead and return why; NO_MESSAGE after `timeout_ms`. Mailbox untouched."""
        return wait_for_end(pid, self.clock, timeout_ms)

    # ----------------------------------------------------------------------------------------------- names

    def add_name(self, registry: Registry, key: Any) -> None:
        """Remember a key that this process holds, to free it at the end."""
        if self._names is None:
            self._names = []
        self._names.append((registry, key))

    def drop_name(self, registry: Registry, key: Any) -> None:
        """Forget a key that was given back."""
        if self._names is not None and (registry, key) in self._names:
            self._names.remove((registry, key))

    @property
    def names(self) -> list[tuple[Registry, Any]]:
        """The registry keys this process holds, one entry per registration."""
        return self._names or []

    def release_names(self) -> None:
        """Free all names now: a failed init does it before it tells its starter."""
        names, self._names = self._names or (), None
        for registry, key in names:
            registry.forget(key, self.pid)

    def add_timer(self, timer: Timer) -> None:
        """A timer whose message goes to this process: cancelled with it."""
        if self._timers is None:
            self._timers = set()
        self._timers.add(timer)

    def drop_timer(self, timer: Timer) -> None:
        """The timer fired or was cancelled."""
        if self._timers is not None:
            self._timers.discard(timer)

    @property
    def timers(self) -> int:
        """How many timers are pending for this process."""
        return len(self._timers or ())

    # --------------------------------------------------------------------------------------------- mailbox

    def deliver(self, message: Any) -> None:
        """Put a message of the kernel itself into the mailbox; those know no bound."""
        self.mailbox.append(message)
        if self.idle:
            self.arrived(message)

    def arrived(self, message: Any) -> None:
        """Wake the process, if it waits for this message."""
        if self.idle and (self._wanted is None or self._wanted(message)):
            self.idle = False
            schedule(self._resume, self._wait, None)

    def _resume(self, wait: object, woken_by: object) -> None:
        """Runs in the hub. A wake-up that comes too late finds another wait, or none, and does nothing."""
        if self._wait is wait and self._greenlet is not None:
            self._greenlet.switch(woken_by)

    def offer(self, message: Any, timeout_ms: float = 0) -> bool:
        """Put a message of a sender into the mailbox. False: no room within `timeout_ms`, or dead."""
        if len(self.mailbox) >= self.limit and not self._make_room(timeout_ms):
            return False
        if self.doomed is not None or self.pid._process is None:
            return False
        self.mailbox.append(message)
        if self.idle:
            self.arrived(message)
        return True

    def _make_room(self, timeout_ms: float) -> bool:
        if self.policy == "drop_oldest":
            for place, queued in enumerate(self.mailbox):
                if isinstance(queued, Cast) and queued.may_be_dropped:
                    del self.mailbox[place]
                    self.dropped += 1
                    return True
        elif self.policy == "block" and timeout_ms > 0:
            due_ns = self.clock.now_ns() + int(timeout_ms * 1_000_000)
            while self.pid.alive and (left_ns := due_ns - self.clock.now_ns()) > 0:
                self._wait_for_room(left_ns / 1_000_000)
                if len(self.mailbox) < self.limit:
                    return True
        self.refused += 1
        return False

    def _wait_for_room(self, timeout_ms: float) -> None:
        waiter = Waiter()
        if self._room is None:
            self._room = deque()
        self._room.append(waiter)
        timer = self.clock.call_later(timeout_ms, lambda: wake(waiter))
        try:
            waiter.get()
        finally:
            timer.cancel()
            if self._room is not None and waiter in self._room:
                self._room.remove(waiter)

    def admit(self) -> None:
        """Let one blocked sender in; the loop calls it after it took a message."""
        if self._room:
            wake(self._room.popleft())

    def wait_for_message(self, timeout_ms: float | None = None, wanted: Callable[[Any], bool] | None = None) -> bool:
        """Block until a (wanted) message arrives. False after `timeout_ms`."""
        wait = self._wait = object()
        self._wanted = wanted
        self.idle = True
        timer = None
        if timeout_ms is not None:
            timer = self.clock.call_later(timeout_ms, lambda: schedule(self._resume, wait, NO_MESSAGE))
        try:
            woken_by = get_hub().switch()
        finally:
            self.idle = False
            self._wait = self._wanted = None
            if timer is not None:
                timer.cancel()
        if self.doomed is not None:
            raise ProcessExit
        return woken_by is not NO_MESSAGE

    def take(self, wanted: Callable[[Any], bool]) -> Any:
        """Take the first wanted message out of the mailbox; NO_MESSAGE if none is there."""
        for place, message in enumerate(self.mailbox):
            if wanted(message):
                del self.mailbox[place]
                return message
        return NO_MESSAGE

    def receive(self, wanted: Callable[[Any], bool], timeout_ms: float | None = None) -> Any:
        """Erlang's selective receive: the first wanted message, the others stay; NO_MESSAGE at time-out."""
        due_ns = None if timeout_ms is None else self.clock.now_ns() + int(timeout_ms * 1_000_000)
        while (message := self.take(wanted)) is NO_MESSAGE:
            left_ms = None if due_ns is None else (due_ns - self.clock.now_ns()) / 1_000_000
            if left_ms is not None and left_ms <= 0:
                return NO_MESSAGE
            if not self.wait_for_message(left_ms, wanted):
                return self.take(wanted)
        return message

    def accept_envelope(self, message: Any, reply_to: Any | None) -> None:
        """A message that came through pykka's ActorRef: stop, ask or tell."""
        if isinstance(message, pykka.messages._ActorStop):
            if reply_to is not None:
                self.add_monitor(MonitorRef(), lambda _pid, _reason: reply_to.set(None))
            self.deliver(StopRequest(NORMAL))
        elif reply_to is not None:
            request = From(message, None, None, future=reply_to)
            if not self.offer(request):
                request.settle("overloaded", failed=True)
        else:
            self.offer(message if isinstance(message, Cast) or not isinstance(message, Tagged) else Info(message))


def current_process() -> Process | None:
    """The process whose greenlet is running; None in plain code."""
    return getattr(getcurrent(), "process", None)


def wait_for_end(pid: Pid, clock: Clock, timeout_ms: float | None) -> Reason:
    """Block until `pid` is dead; its reason, noproc if it was dead before, NO_MESSAGE at time-out."""
    process = pid._process
    if process is None:
        return NOPROC
    waiter = Waiter()
    ref = MonitorRef()
    process.add_monitor(ref, lambda _pid, reason: wake(waiter, (reason,)))
    timer = None if timeout_ms is None else clock.call_later(timeout_ms, lambda: wake(waiter, None))
    try:
        outcome = waiter.get()
    finally:
        process.remove_monitor(ref)
        if timer is not None:
            timer.cancel()
    return NO_MESSAGE if outcome is None else outcome[0]


def start_process(process: Process, *, link: bool, timeout_s: float | None = None) -> Pid:
    """Spawn and wait until it has started: proc_lib:start / start_link. Raises StartError."""
    ack = process.ack = Ack()
    pid = process.spawn(link=link)
    ack.wait(process, timeout_s)
    return pid
