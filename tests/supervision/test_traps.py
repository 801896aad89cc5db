"""The traps of pykka and gevent that the kernel closes (design.md section 6), each with its test."""

from __future__ import annotations

import inspect
import time
from importlib import metadata
from typing import Any

import gevent
import pykka
import pytest

from tests.supervision.servers import (
    Add,
    Ask,
    Counter,
    Do,
    DroppingCounter,
    Get,
    Hold,
    RefusingCounter,
    SmallCounter,
    Tick,
    WaitFor,
)
from titanflow.supervision import (
    KILL,
    KILLED,
    NOPROC,
    CallExit,
    ChildSpec,
    Crash,
    Down,
    Event,
    ExitSignal,
    From,
    GenServer,
    NoReply,
    Pid,
    Reply,
    StartError,
    Supervisor,
    add_listener,
    call,
    cast,
    exit_process,
    graveyard,
    is_alive,
    remove_listener,
    reply,
    send,
    send_after,
    sleep_ms,
    spawn_plain,
    start,
    start_link,
    stop,
    via,
    wait_for_exit,
    whereis,
    which_children,
)
from titanflow.supervision import process as process_module
from titanflow.supervision.testing import crash, eventually, living


def _raise(error: BaseException) -> Any:
    raise error


def test_an_exception_in_a_call_ends_the_server_and_the_caller_learns_why() -> None:
    """pykka: the actor would live on with half-changed state."""
    pid = start(Counter())

    with pytest.raises(CallExit) as caught:
        call(pid, Ask(lambda _: _raise(ValueError("half-way"))))

    assert isinstance(caught.value.reason, Crash)
    assert str(caught.value.reason.exception) == "half-way"
    assert not is_alive(pid)


def test_an_exception_in_a_cast_ends_the_server_and_is_buried_with_its_message() -> None:
    """pykka: killed by a tell, with a log line and nothing else."""
    pid = start(Counter())

    cast(pid, Do(lambda _: _raise(ValueError("boom"))))
    reason = wait_for_exit(pid, 1)

    assert isinstance(reason, Crash)
    assert graveyard[-1].pid == pid.number
    assert "Do(" in (graveyard[-1].message or "")
    assert "boom" in (graveyard[-1].traceback or "")


def test_calls_queued_behind_a_crash_fail_at_once_with_its_reason() -> None:
    """pykka: queued tells vanish, and asks may hang."""
    pid = start(Counter())
    go = Event()
    cast(pid, WaitFor(go))
    cast(pid, Do(lambda _: _raise(ValueError("boom"))))
    reasons: list[Any] = []

    def ask() -> None:
        try:
            call(pid, Get(), timeout_s=30)
        except CallExit as left:
            reasons.append(left.reason)

    callers = [spawn_plain(ask) for _ in range(5)]
    sleep_ms(2)
    go.set()
    assert all(caller.join(1) for caller in callers)

    assert [type(reason) for reason in reasons] == [Crash] * 5


def test_a_failing_start_gives_no_pid_but_the_reason() -> None:
    """pykka: a failing on_start still returns a reference."""

    class Unable(GenServer):
        def init(self) -> None:
            raise ValueError("no database")

    with pytest.raises(StartError) as caught:
        start(Unable())

    assert isinstance(caught.value.reason, Crash)
    assert living() == []


@pytest.mark.parametrize(
    "error", [gevent.Timeout(1), gevent.GreenletExit(), SystemExit(3), KeyboardInterrupt(), BaseException("base")]
)
def test_no_base_exception_reaches_any_other_actor(error: BaseException) -> None:
    """pykka: gevent.Timeout in one handler stops every actor of the process."""
    others = [start(Counter()) for _ in range(4)]
    pid = start(Counter())

    cast(pid, Do(lambda _: _raise(error)))
    reason = wait_for_exit(pid, 1)

    assert reason == KILLED if isinstance(error, gevent.GreenletExit) else isinstance(reason, Crash)
    assert [call(other, Get()) for other in others] == [0] * 4
    for other in others:
        stop(other)


def test_a_base_exception_in_a_call_answers_the_caller() -> None:
    """pykka: the asker gets no reply and hangs."""
    pid = start(Counter())

    with pytest.raises(CallExit) as caught:
        call(pid, Ask(lambda _: _raise(gevent.Timeout(1))), timeout_s=30)

    assert isinstance(caught.value.reason, Crash)


def test_a_killed_greenlet_is_no_zombie() -> None:
    """pykka: gevent.kill leaves the actor registered, tells pile up, asks time out."""
    pid = start(Counter(), name=via("victim"))
    process = pid._process
    assert process is not None

    gevent.kill(process._greenlet)
    reason = wait_for_exit(pid, 1)

    assert reason == KILLED
    assert whereis(via("victim")) is None
    assert not cast(pid, Add())
    with pytest.raises(CallExit, match=NOPROC):
        call(pid, Get())


def test_a_greenlet_that_swallows_its_kill_is_thrown_again() -> None:
    """One `except BaseException` too many keeps no process alive."""
    pid = start(Counter())
    swallowed = []

    def stubborn(_: Counter) -> None:
        try:
            sleep_ms(60_000)
        except BaseException as error:
            swallowed.append(error)
        sleep_ms(60_000)

    cast(pid, Do(stubborn))
    sleep_ms(2)
    exit_process(pid, KILL)

    assert wait_for_exit(pid, 2) == KILLED
    assert len(swallowed) == 1


def test_a_greenlet_that_swallows_every_kill_is_written_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, links and callers are freed; what is left is a greenlet that no one can reach."""
    monkeypatch.setattr(process_module, "_KILL_RETRIES_S", (0.01, 0.01))
    pid = start(Counter(), name=via("immortal"))
    release = Event()

    def immortal(_: Counter) -> None:
        while not release.is_set:
            try:
                release.wait(60)
            except BaseException:
                continue

    cast(pid, Do(immortal))
    sleep_ms(2)
    exit_process(pid, KILL)

    assert wait_for_exit(pid, 1) == KILLED
    assert whereis(via("immortal")) is None
    release.set()


def test_init_runs_in_the_actors_own_greenlet_and_the_constructor_in_the_callers() -> None:
    """pykka: __init__ runs in the caller and there is no other start-up."""
    seen: dict[str, Any] = {}

    class Where(GenServer):
        def __init__(self) -> None:
            seen["constructor"] = gevent.getcurrent()

        def init(self) -> None:
            seen["init"] = gevent.getcurrent()

    pid = start(Where())

    assert seen["constructor"] is gevent.getcurrent()
    assert seen["init"] is not gevent.getcurrent()
    stop(pid)


def test_a_full_mailbox_refuses_casts() -> None:
    """pykka: inboxes are unbounded."""
    pid, go = start(RefusingCounter()), Event()
    cast(pid, WaitFor(go))
    sleep_ms(1)

    accepted = [cast(pid, Add()) for _ in range(5)]

    assert accepted == [True, True, True, False, False]
    with pytest.raises(CallExit, match="overloaded"):
        call(pid, Get())
    go.set()
    sleep_ms(2)
    assert call(pid, Get()) == 3
    stop(pid)


def test_a_full_mailbox_that_blocks_lets_the_caller_in_when_there_is_room() -> None:
    pid, go = start(SmallCounter()), Event()
    cast(pid, WaitFor(go))
    sleep_ms(1)
    for _ in range(3):
        cast(pid, Add())
    answers: list[int] = []
    caller = spawn_plain(lambda: answers.append(call(pid, Get())))
    blocked = spawn_plain(lambda: answers.append(int(cast(pid, Add(10), timeout_s=2))))
    sleep_ms(5)

    assert answers == []
    go.set()
    assert caller.join(1)
    assert blocked.join(1)

    assert sorted(answers) in ([1, 3], [1, 13])
    stop(pid)


def test_a_call_to_a_mailbox_that_stays_full_says_overloaded_at_its_deadline() -> None:
    pid, go = start(SmallCounter()), Event()
    cast(pid, WaitFor(go))
    sleep_ms(1)
    for _ in range(3):
        cast(pid, Add())

    with pytest.raises(CallExit, match="overloaded"):
        call(pid, Get(), timeout_s=0.02)

    go.set()
    stop(pid)


def test_a_full_mailbox_may_drop_the_oldest_message_that_allows_it() -> None:
    pid, go = start(DroppingCounter()), Event()
    cast(pid, WaitFor(go))
    sleep_ms(1)
    cast(pid, Add(7))

    accepted = [cast(pid, Tick(n=n)) for n in range(5)]
    process = pid._process
    assert process is not None
    dropped = process.dropped
    go.set()
    sleep_ms(2)

    assert accepted == [True] * 5
    assert dropped == 3
    assert eventually(lambda: call(pid, Ask(lambda server: server.seen)) == [3, 4])
    assert call(pid, Get()) == 7
    stop(pid)


def test_timers_and_exit_signals_find_room_in_a_full_mailbox() -> None:
    """A lost tick would silently end whatever an actor repeats."""
    pid, go = start(RefusingCounter()), Event()
    cast(pid, Do(lambda server: setattr(server, "trap_exit", True)))
    cast(pid, WaitFor(go))
    sleep_ms(1)
    for _ in range(3):
        cast(pid, Add())

    send_after(pid, 1, "tick")
    exit_process(pid, "oops")
    sleep_ms(5)
    go.set()
    sleep_ms(2)

    assert eventually(lambda: len(call(pid, Ask(lambda server: server.seen))) == 2)
    assert call(pid, Ask(lambda server: server.seen)) == [ExitSignal(None, "oops"), "tick"]
    stop(pid)


def test_a_late_reply_is_dropped() -> None:
    pid = start(Counter())

    with pytest.raises(CallExit, match="timeout"):
        call(pid, Ask(lambda _: sleep_ms(30)), timeout_s=0.005)

    assert call(pid, Get()) == 0
    stop(pid)


def test_a_call_that_timed_out_is_not_kept() -> None:
    """A server that never answers holds no request of a caller who went away."""
    pid = start(Counter())
    with pytest.raises(CallExit, match="timeout"):
        call(pid, Hold(), timeout_s=0.005)

    process = pid._process
    assert process is not None
    assert not process.kept_calls
    stop(pid)


def test_a_callers_death_in_mid_call_hurts_nobody() -> None:
    server, caller = start(Counter()), start(Counter())
    cast(caller, Do(lambda _: call(server, Hold(), timeout_s=None)))
    sleep_ms(1)

    crash(caller)

    assert call(server, Get()) == 0
    stop(server)


def test_a_trapping_worker_finishes_its_callback_before_it_obeys_its_supervisor() -> None:
    """The engine's case: SQL under way, then terminate, all within the shutdown time."""
    log: list[str] = []

    class Worker(Counter):
        def init(self) -> None:
            self.trap_exit = True

        def terminate(self, reason: Any) -> None:
            log.append(f"terminate {reason}")

    sup = start(Supervisor([ChildSpec("w", Worker, name=via("w"))]))

    def slow(_: Counter) -> None:
        sleep_ms(20)
        log.append("written")

    cast(via("w"), Do(slow))
    sleep_ms(2)
    stop(sup, "shutdown")

    assert log == ["written", "terminate shutdown"]


def test_an_actor_may_be_called_from_plain_code_without_leaving_a_trace() -> None:
    pid = start(Counter())

    answers = [call(pid, Get()) for _ in range(3)]

    assert answers == [0, 0, 0]
    process = pid._process
    assert process is not None
    assert process.links in (None, set())
    stop(pid)


def test_start_link_from_plain_code_links_to_nobody() -> None:
    pid = start_link(Counter())

    assert pid._process is not None
    assert pid._process.parent is None
    stop(pid)


def test_an_uncaught_failed_call_ends_the_caller_with_its_reason() -> None:
    """As in OTP: exit({noproc, ...}) runs through."""
    dead = start(Counter())
    stop(dead)
    caller = start(Counter())

    cast(caller, Do(lambda _: call(dead, Get())))

    assert wait_for_exit(caller, 1) == NOPROC


def test_a_factory_that_raises_is_a_failed_start() -> None:
    with pytest.raises(StartError):
        start(Supervisor([ChildSpec("a", lambda: _raise(ValueError("bad wiring")))]))


def test_a_server_is_reachable_as_a_pykka_actor() -> None:
    """The contract with pykka 4.5: an ActorRef tells, asks and stops."""
    pid = start(Counter())
    process = pid._process
    assert process is not None
    ref: pykka.ActorRef[Any] = process.actor_ref

    ref.tell(Add(3))
    assert ref.ask(Get(), timeout=1) == 3
    assert ref.is_alive()
    ref.stop(timeout=1)

    assert not ref.is_alive()
    assert not is_alive(pid)
    with pytest.raises(pykka.ActorDeadError):
        ref.tell(Add(1))


def test_pykkas_hooks_are_where_the_kernel_expects_them() -> None:
    """The kernel overrides these of pykka 4.5; a change of their names must not go unnoticed."""
    assert metadata.version("pykka").startswith("4.5.")
    for hook in ("_create_actor_inbox", "_create_future", "_start_actor_loop", "_actor_loop"):
        assert hasattr(pykka.Actor, hook)
    assert list(inspect.signature(pykka.ActorRef.__init__).parameters) == ["self", "actor"]


def test_a_reply_may_come_from_another_process() -> None:
    class Deferring(Counter):
        def handle_call(self, request: Any, sender: Any) -> Reply | NoReply:
            if isinstance(request, Hold):
                helper = start(Counter())
                cast(helper, Do(lambda _: sender.settle("from elsewhere")))
                cast(helper, Do(lambda _: _raise(SystemExit())))
                return NoReply()
            return super().handle_call(request, sender)

    pid = start(Deferring())

    assert call(pid, Hold()) == "from elsewhere"
    assert call(pid, Get()) == 0
    stop(pid)
    eventually(lambda: living() == [])


def test_a_busy_actor_lets_others_run() -> None:
    """A long mailbox is worked off in slices, so that timers and sockets get their turn."""
    pid = start(Counter())
    ticks = []

    def spin(_: Counter) -> None:
        until = time.monotonic() + 0.001
        while time.monotonic() < until:
            pass

    for _ in range(300):
        cast(pid, Do(spin))

    def tick() -> None:
        while True:
            sleep_ms(1)
            ticks.append(1)

    ticker = spawn_plain(tick)
    assert call(pid, Get(), timeout_s=5) == 0

    assert len(ticks) >= 10
    ticker.kill()
    stop(pid)


def test_two_hundred_workers_below_a_supervisor() -> None:
    pids: list[Pid] = []
    sup = start(Supervisor([ChildSpec(n, Counter) for n in range(200)], max_restarts=1_000))
    pids += [child.pid for child in which_children(sup) if isinstance(child.pid, Pid)]

    for pid in pids[::2]:
        exit_process(pid, KILL)

    assert eventually(lambda: all(isinstance(child.pid, Pid) and child.pid.alive for child in which_children(sup)))
    stop(sup)


def test_a_callers_address_may_be_sent_on_as_a_plain_message() -> None:
    """A From is no request of its own when it travels in a message."""
    asked: list[From] = []

    class Keeping(Counter):
        def handle_call(self, request: Any, sender: From) -> Reply | NoReply:
            asked.append(sender)
            return NoReply()

    keeper, other = start(Keeping()), start(Counter())
    caller = spawn_plain(lambda: call(keeper, Get(), timeout_s=5))
    eventually(lambda: len(asked) == 1)

    send(other, asked[0])

    assert call(other, Ask(lambda server: list(server.seen))) == asked
    reply(asked[0], 1)
    assert caller.join(1)
    stop(keeper)
    stop(other)


def test_a_listener_that_fails_does_not_keep_the_dead_alive() -> None:
    def fail(_: Pid, __: Any) -> None:
        raise ValueError("a bad listener")

    pid, watcher = start(Counter()), start(Counter())
    cast(watcher, Do(lambda server: server.monitor(pid)))
    sleep_ms(1)
    add_listener(ended=fail)
    try:
        stop(pid)
    finally:
        remove_listener(ended=fail)

    assert [type(message) for message in call(watcher, Ask(lambda server: server.seen))] == [Down]
    stop(watcher)
