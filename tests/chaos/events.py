"""The disasters, one function a kind. Each does what it says to a running round, and may take its time."""

import random
import time
from collections.abc import Callable
from threading import Thread
from typing import Any

from tests.chaos.plan import FAULTS, PROFILES, Event
from tests.chaos.round import Round
from tests.chaos.world import persist
from titanflow.errors import TitanFlowError, Unavailable
from titanflow.storage.database import connect

_SILENT_AFTER_S = 1.0
_FAULTY_S = 6.0


def happen(event: Event, one: Round) -> None:
    """Let it happen."""
    _KINDS[event.kind](event, one)


def _kill_server(event: Event, one: Round) -> None:
    one.world.stage.kill_server()
    one.killed += 1
    time.sleep(event.amount)
    one.world.stage.start_server()


def _freeze_server(event: Event, one: Round) -> None:
    """In the background: other things happen to a frozen server too."""
    thaw = one.world.stage.freeze_server()

    def later() -> None:
        one.wait(event.amount)
        thaw()

    one.in_background(Thread(target=later), undo=thaw)


def _restart_server(event: Event, one: Round) -> None:
    one.world.stage.stop_server()
    time.sleep(event.amount)
    one.world.stage.start_server()


def _restart_postgres_fast(_: Event, one: Round) -> None:
    one.world.stage.servers.restart_postgres("fast")


def _restart_postgres_immediate(_: Event, one: Round) -> None:
    one.killed += 1
    one.world.stage.servers.restart_postgres("immediate")


def _kill_postgres(event: Event, one: Round) -> None:
    one.killed += 1
    one.world.stage.servers.kill_postgres()
    time.sleep(event.amount)
    one.world.stage.servers.restart_postgres("kill")


def _restart_redis(_: Event, one: Round) -> None:
    one.world.stage.servers.restart_redis()


def _kill_redis(event: Event, one: Round) -> None:
    one.killed += 1
    one.world.stage.servers.kill_redis()
    time.sleep(event.amount)
    one.world.stage.servers.restart_redis()


def _flush_redis(_: Event, one: Round) -> None:
    one.world.flush_redis()


def _switch_profile(event: Event, one: Round) -> None:
    name = _picked(PROFILES, event)
    one.world.stage.meta.post("/_sandbox/profile", {"profile": name})


def _fault_rule(event: Event, one: Round) -> None:
    fault = _picked(FAULTS, event)
    one.notes.append(" ".join(str(value) for value in fault.values()))
    one.world.stage.meta.post("/_sandbox/rules", {**fault, "share": event.amount, "for_s": _FAULTY_S})


def _hold_webhooks(event: Event, one: Round) -> None:
    """In the background: a message is reported late, long after its sender has died."""
    meta = one.world.stage.meta
    meta.post("/_sandbox/webhooks", {"paused": True})

    def go_on() -> None:
        meta.post("/_sandbox/webhooks", {"paused": False})

    def later() -> None:
        one.wait(event.amount)
        go_on()

    one.in_background(Thread(target=later), undo=go_on)


def _pause_resume(event: Event, one: Round) -> None:
    """A pause is silence a second after its answer."""
    stage, path = one.world.stage, f"/api/v1/campaigns/{one.campaign_id}"
    if not _if_it_still_runs(lambda: persist(lambda: stage.api.post(f"{path}/pause"))):
        return
    time.sleep(_SILENT_AFTER_S)
    before = stage.meta.get("/_sandbox/summary")["posts"]
    time.sleep(event.amount)
    if stage.meta.get("/_sandbox/summary")["posts"] > before:
        one.broken.add("a pause is silence within a second")
    _if_it_still_runs(lambda: persist(lambda: stage.api.post(f"{path}/resume")))


def _change_rate(event: Event, one: Round) -> None:
    number_id, mps = _picked(one.number_ids, event), int(event.amount)
    one.most_mps[number_id] = max(one.most_mps[number_id], mps)  # before: it may take effect before its answer
    persist(lambda: one.world.stage.api.patch(f"/api/v1/phone-numbers/{number_id}", {"max_mps": mps}))


_PENDING = """
    SELECT phone FROM contacts AS contact
    WHERE campaign_id = %s AND excluded_reason IS NULL AND NOT EXISTS
        (SELECT FROM message_logs WHERE campaign_id = contact.campaign_id AND contact_id = contact.id)
    ORDER BY id DESC LIMIT %s
"""


def _suppress(event: Event, one: Round) -> None:
    """Take people off the list who have not been sent to. When that is committed, no claim may follow."""

    def suppress() -> None:
        with connect(one.world.stage.database_url) as connection:
            phones = [row[0] for row in connection.execute(_PENDING, [one.campaign_id, int(event.amount)])]
            connection.execute(
                "INSERT INTO suppressions (phone, reason, source) SELECT phone, 'blacklisted', 'manual'"
                " FROM unnest(%s::text[]) AS phone ON CONFLICT DO NOTHING",
                [phones],
            )
            committed = connection.execute("SELECT clock_timestamp()").fetchone()
        assert committed is not None
        one.suppressed.update(dict.fromkeys(phones, committed[0]))

    persist(suppress)


# Not by their own word: a worker or a pool that dies leaves claims that nobody may touch before 70 s are over.
# They are hit too, but not so often that a run takes all day.
_SLOW_TO_HEAL = {"Worker", "Dispatcher", "Supervisor", "DynamicSupervisor"}


def _crash_actor(event: Event, one: Round) -> None:
    """End a random process of the server's tree; kinds are picked evenly, though there are hundreds of workers."""
    try:
        tree = one.world.stage.api.get("/api/v1/supervision")
    except Unavailable:
        return
    by_kind: dict[str, list[dict[str, Any]]] = {}
    waiting = [(child, tree) for child in tree["children"]]
    while waiting:
        process, parent = waiting.pop()
        if parent["kind"] != "TaskSupervisor":
            by_kind.setdefault(process["kind"], []).append(process)
        waiting += [(child, process) for child in process["children"]]
    rng = random.Random(event.pick)
    kinds = sorted(by_kind)
    kind = rng.choices(kinds, [0.3 if kind in _SLOW_TO_HEAL else 1.0 for kind in kinds])[0]
    victim = rng.choice(sorted(by_kind[kind], key=lambda process: int(process["pid"])))
    one.notes.append(f"crashed {kind} {victim['name'] or ''}".strip())
    try:
        one.world.stage.api.post(f"/api/v1/supervision/{victim['pid']}/restart")
    except TitanFlowError:
        return  # it has ended by itself, or its answer died with it
    one.crashed += 1


def _clock_jump(event: Event, one: Round) -> None:
    one.world.move_clock(event.amount if event.pick < 0.5 else -event.amount)


def _full_disk(event: Event, one: Round) -> None:
    one.world.fill_disk(event.amount, with_wal=event.pick < 0.5)


def _if_it_still_runs(change: Callable[[], object]) -> bool:
    """Change the campaign's state; False if it has ended meanwhile."""
    try:
        change()
    except Unavailable:
        raise
    except TitanFlowError:
        return False
    return True


def _picked(things: Any, event: Event) -> Any:
    return things[int(event.pick * len(things)) % len(things)]


_KINDS: dict[str, Callable[[Event, Round], None]] = {
    "kill_server": _kill_server,
    "freeze_server": _freeze_server,
    "restart_server": _restart_server,
    "restart_postgres_fast": _restart_postgres_fast,
    "restart_postgres_immediate": _restart_postgres_immediate,
    "kill_postgres": _kill_postgres,
    "restart_redis": _restart_redis,
    "kill_redis": _kill_redis,
    "flush_redis": _flush_redis,
    "switch_profile": _switch_profile,
    "fault_rule": _fault_rule,
    "hold_webhooks": _hold_webhooks,
    "pause_resume": _pause_resume,
    "change_rate": _change_rate,
    "suppress": _suppress,
    "crash_actor": _crash_actor,
    "clock_jump": _clock_jump,
    "full_disk": _full_disk,
}
