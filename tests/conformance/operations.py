"""The operations of the scenarios' language, each as a call of the kernel's public interface."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.conformance.probes import CallMessage, CastMessage, InfoMessage, Json, child_spec, make
from tests.conformance.terms import Raised, Thrown, reason_from_json
from titanflow.supervision import (
    KILL,
    NORMAL,
    AlreadyRegistered,
    Call,
    CallExit,
    Cast,
    ChildError,
    Exit,
    GenServer,
    Pid,
    Reply,
    StartError,
    StartIgnored,
    Via,
    async_link,
    async_nolink,
    async_stream,
    async_task,
    call,
    cast,
    count_children,
    delete_child,
    demonitor,
    exit_process,
    is_alive,
    link,
    monitor,
    partition_of,
    reply,
    restart_child,
    self_pid,
    send,
    send_after,
    start,
    start_child,
    start_link,
    start_task,
    stop,
    terminate_child,
    trap_exit,
    unlink,
    whereis,
    which_children,
)

if TYPE_CHECKING:
    from tests.conformance.runner import Run

_SILENT = object()


@dataclass(frozen=True, slots=True)
class _StartTree(Call[Any]):
    tree: Json


@dataclass(frozen=True, slots=True)
class _Leave(Cast):
    reason: Any


class _Owner(GenServer):
    """The parent of trees: traps exits and says nothing."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def init(self) -> None:
        self.trap_exit = True

    def handle_call(self, request: Any, sender: Any) -> Reply:
        tree = request.tree
        return Reply(_started(lambda: start_link(make(self.run, tree), name=self.run.name(tree))))

    def handle_cast(self, message: Any) -> None:
        raise Exit(message.reason)

    def handle_info(self, message: Any) -> None:
        """Exit signals of its trees."""


class Operations:
    """Carries operations out and emits what they return."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._owner: Pid | None = None

    def carry_out(self, me: str, op: Json) -> None:
        """One operation, in the name of `me`; an exit of it is caught and is its value."""
        kind = op["op"]
        method: Callable[[str, Json], Any] = getattr(self, f"_op_{kind}")
        try:
            value = method(me, op)
        except CallExit as left:
            value = {"exit": left.reason}
        if value is _SILENT:
            return
        more: Json = {"ref": op["ref"]} if "ref" in op else {}
        if kind == "call":
            more["tag"] = op["msg"]["tag"]
        self.run.emit(me, "return", op=kind, **more, v=self._json(value))

    def _json(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.run.json(item) for key, item in value.items()}
        return self.run.json(value)

    def _at(self, address: Any) -> Pid | Via:
        match address:
            case {"name": name}:
                return self.run.registries["unique"].via(name)
            case {"partition": sup, "key": key}:
                return partition_of(self.run.pid(sup), key)
        return self.run.pid(address)

    # ---------------------------------------------------------------------------------- control and time

    def _op_seq(self, me: str, op: Json) -> Any:
        self.run.do(me, op["do"])
        return _SILENT

    def _op_log(self, me: str, op: Json) -> Any:
        self.run.emit(me, "log", v=op["v"])
        return _SILENT

    def _op_sleep(self, me: str, op: Json) -> Any:
        self.run.sleep(op["ms"])
        return _SILENT

    _op_wait = _op_sleep

    def _op_raise(self, me: str, op: Json) -> Any:
        raise Raised(op["v"])

    def _op_throw(self, me: str, op: Json) -> Any:
        raise Thrown(op["v"])

    def _op_exit_self(self, me: str, op: Json) -> Any:
        raise Exit(reason_from_json(op["reason"]))

    # ------------------------------------------------------------------------------ starts, ends, links

    def _op_start_tree(self, me: str, op: Json) -> Any:
        if self._owner is None or not is_alive(self._owner):
            self._owner = start(_Owner(self.run))
        return call(self._owner, _StartTree(op["tree"]), timeout_s=None)

    def _op_owner_exit(self, me: str, op: Json) -> Any:
        assert self._owner is not None
        if op["reason"] == KILL:
            exit_process(self._owner, KILL)
        else:
            cast(self._owner, _Leave(reason_from_json(op["reason"])))
        return _SILENT

    def _op_spawn(self, me: str, op: Json) -> Any:
        return _started(lambda: start(make(self.run, op["probe"]), name=self.run.name(op["probe"])))

    def _op_spawn_link(self, me: str, op: Json) -> Any:
        return _started(lambda: start_link(make(self.run, op["probe"]), name=self.run.name(op["probe"])))

    def _op_exit(self, me: str, op: Json) -> Any:
        exit_process(self._at(op["to"]), reason_from_json(op["reason"]))
        return _SILENT

    def _op_link(self, me: str, op: Json) -> Any:
        try:
            link(self._at(op["to"]))
        except CallExit as left:
            return left.reason
        return _SILENT

    def _op_unlink(self, me: str, op: Json) -> Any:
        unlink(self._at(op["to"]))
        return _SILENT

    def _op_trap_exit(self, me: str, op: Json) -> Any:
        trap_exit(op["v"])
        return _SILENT

    def _op_monitor(self, me: str, op: Json) -> Any:
        self.run.keep(me, op["ref"], monitor(self._at(op["to"])))
        return _SILENT

    def _op_demonitor(self, me: str, op: Json) -> Any:
        demonitor(self.run.kept(me, op["ref"]), flush=op.get("flush", False))
        return _SILENT

    def _op_alive(self, me: str, op: Json) -> Any:
        return is_alive(self._at(op["to"]))

    def _op_whereis(self, me: str, op: Json) -> Any:
        return whereis(self.run.registries["unique"].via(op["name"]))

    # ------------------------------------------------------------------------------------------ messages

    def _op_call(self, me: str, op: Json) -> Any:
        return call(self._at(op["to"]), CallMessage(op["msg"]), timeout_s=_seconds(op.get("timeout", 5000)))

    def _op_cast(self, me: str, op: Json) -> Any:
        cast(self._at(op["to"]), CastMessage(op["msg"]))
        return _SILENT

    def _op_send(self, me: str, op: Json) -> Any:
        send(self._at(op["to"]), InfoMessage(op["msg"]))
        return _SILENT

    def _op_reply(self, me: str, op: Json) -> Any:
        reply(self.run.senders[op["tag"]], op["v"])
        return _SILENT

    def _op_stop(self, me: str, op: Json) -> Any:
        reason = reason_from_json(op.get("reason", NORMAL))
        stop(self._at(op["to"]), reason, timeout_s=_seconds(op.get("timeout", "infinity")))
        return "ok"

    def _op_send_after(self, me: str, op: Json) -> Any:
        target = self._at(op.get("to", "self"))
        self.run.keep(me, op["ref"], send_after(target, op["ms"], InfoMessage(op["msg"])))
        return _SILENT

    def _op_cancel_timer(self, me: str, op: Json) -> Any:
        return "active" if self.run.kept(me, op["ref"]).cancel() is not None else False

    def _op_read_timer(self, me: str, op: Json) -> Any:
        return "active" if self.run.kept(me, op["ref"]).remaining_ms() is not None else False

    # ----------------------------------------------------------------------------------------- supervisors

    def _op_start_child(self, me: str, op: Json) -> Any:
        spec = child_spec(self.run, op["spec"])
        return self._child(lambda: start_child(self._at(op["sup"]), spec), dynamic=op.get("dynamic", False))

    def _op_restart_child(self, me: str, op: Json) -> Any:
        return self._child(lambda: restart_child(self._at(op["sup"]), op["id"]), dynamic=False)

    @staticmethod
    def _child(action: Callable[[], Pid | None], *, dynamic: bool) -> Any:
        try:
            pid = action()
        except StartError as error:
            return ["error", error.reason]
        if pid is None:
            return "ignore" if dynamic else ["ok", "undefined"]
        return ["ok", pid]

    def _op_terminate_child(self, me: str, op: Json) -> Any:
        child = self._pid(op["pid"]) if "pid" in op else op["id"]
        return _done(lambda: terminate_child(self._at(op["sup"]), child))

    def _op_delete_child(self, me: str, op: Json) -> Any:
        return _done(lambda: delete_child(self._at(op["sup"]), op["id"]))

    def _op_which_children(self, me: str, op: Json) -> Any:
        rows = [
            ["undefined" if child.id is None else child.id, self.run.json(child.pid), child.type]
            for child in which_children(self._at(op["sup"]))
        ]
        return sorted(rows, key=lambda row: (str(row[0]), str(row[1])))

    def _op_count_children(self, me: str, op: Json) -> Any:
        count = count_children(self._at(op["sup"]))
        return {key: getattr(count, key) for key in ("specs", "active", "supervisors", "workers")}

    # -------------------------------------------------------------------------------------------- registry

    def _op_reg_register(self, me: str, op: Json) -> Any:
        try:
            self.run.registries[op["reg"]].register(op["key"], op["v"])
        except AlreadyRegistered as taken:
            return ["error", ["already_registered", taken.pid]]
        return "ok"

    def _op_reg_unregister(self, me: str, op: Json) -> Any:
        self.run.registries[op["reg"]].unregister(op["key"])
        return "ok"

    def _op_reg_update(self, me: str, op: Json) -> Any:
        changed = self.run.registries[op["reg"]].update_value(op["key"], lambda _old: op["v"])
        return "error" if changed is None else list(changed)

    def _op_reg_lookup(self, me: str, op: Json) -> Any:
        entries = self.run.registries[op["reg"]].lookup(op["key"])
        return _sorted([[self.run.json(pid), value] for pid, value in entries])

    def _op_reg_keys(self, me: str, op: Json) -> Any:
        return _sorted(self.run.registries[op["reg"]].keys(self._pid(op["to"])))

    def _op_reg_values(self, me: str, op: Json) -> Any:
        return _sorted(self.run.registries[op["reg"]].values(op["key"], self._pid(op["to"])))

    def _op_reg_count(self, me: str, op: Json) -> Any:
        return self.run.registries[op["reg"]].count()

    def _op_reg_dispatch(self, me: str, op: Json) -> Any:
        self.run.registries[op["reg"]].dispatch(op["key"], lambda pid: send(pid, InfoMessage(op["msg"])))
        return _SILENT

    def _pid(self, address: Any) -> Pid:
        at = self._at(address)
        return at if isinstance(at, Pid) else whereis(at) or self.run.pid("")

    # ----------------------------------------------------------------------------------------------- tasks

    def _task(self, spec: Json) -> Callable[[], Any]:
        def function() -> Any:
            me = self_pid()
            assert me is not None
            name, _ = self.run.enter(spec["as"], me)
            self.run.emit(name, "task_start")
            self.run.do(name, spec.get("do", []))
            match spec.get("fret", {"value": "ok"}):
                case {"value": value}:
                    return value
                case {"raise": text}:
                    raise Raised(text)
                case {"exit": reason}:
                    raise Exit(reason_from_json(reason))
                case {"throw": value}:
                    raise Thrown(value)
            raise ValueError(f"unknown end of a task: {spec['fret']!r}")

        return function

    def _op_async(self, me: str, op: Json) -> Any:
        function = self._task(op)
        task = async_task(self._at(op["sup"]), function) if "sup" in op else async_link(function)
        self.run.keep(me, op["ref"], task)
        return _SILENT

    def _op_async_nolink(self, me: str, op: Json) -> Any:
        self.run.keep(me, op["ref"], async_nolink(self._at(op["sup"]), self._task(op)))
        return _SILENT

    def _op_task_start_child(self, me: str, op: Json) -> Any:
        try:
            start_task(self._at(op["sup"]), self._task(op), restart=op.get("restart", "temporary"))
        except StartError as error:
            return ["error", error.reason]
        return "ok"

    def _op_await(self, me: str, op: Json) -> Any:
        return self.run.kept(me, op["ref"]).await_result(_seconds(op.get("timeout", 5000)))

    def _op_yield(self, me: str, op: Json) -> Any:
        return self.run.kept(me, op["ref"]).yield_result(_seconds(op.get("timeout", 5000)))

    def _op_task_shutdown(self, me: str, op: Json) -> Any:
        how = op.get("how", 5000)
        return self.run.kept(me, op["ref"]).shutdown(None if how == "infinity" else how)

    def _op_async_stream(self, me: str, op: Json) -> Any:
        options: Json = {key: op[key] for key in ("max_concurrency", "on_timeout", "ordered") if key in op}
        if "timeout" in op:
            options["timeout_ms"] = None if op["timeout"] == "infinity" else op["timeout"]
        sup = self._at(op["sup"]) if "sup" in op else None
        outcomes = async_stream(
            sup, lambda item: self._task(item)(), op["items"], link=not op.get("nolink", False), **options
        )
        return list(outcomes)


def _started(action: Callable[[], Pid]) -> Any:
    try:
        return ["ok", action()]
    except StartIgnored:
        return "ignore"
    except StartError as error:
        return ["error", error.reason]


def _done(action: Callable[[], None]) -> Any:
    try:
        action()
    except ChildError as error:
        return ["error", error.reason]
    return "ok"


def _seconds(ms: Any) -> float | None:
    return None if ms == "infinity" else ms / 1000


def _sorted(rows: list[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))
