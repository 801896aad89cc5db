"""The processes of a scenario: probes, which do what their spec and their messages say, and real supervisors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.conformance.terms import Raised, Thrown, reason_from_json
from titanflow.supervision import (
    Call,
    Cast,
    ChildSpec,
    Down,
    DynamicSupervisor,
    Exit,
    ExitSignal,
    From,
    GenServer,
    Ignore,
    InitStop,
    NoReply,
    Ok,
    PartitionSupervisor,
    Pid,
    Reply,
    Stop,
    Supervisor,
    TaskReply,
    TaskSupervisor,
    Timeout,
)

if TYPE_CHECKING:
    from tests.conformance.runner import Run

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CallMessage(Call[Any]):
    """A message of the scenario, sent by `call`."""

    body: Json


@dataclass(frozen=True, slots=True)
class CastMessage(Cast):
    """A message of the scenario, sent by `cast`."""

    body: Json


@dataclass(frozen=True, slots=True)
class InfoMessage:
    """A message of the scenario, sent by `send` or a timer."""

    body: Json


class Probe(GenServer):
    """The one worker class of all scenarios."""

    def __init__(self, run: Run, spec: Json, extra: tuple[object, ...] = ()) -> None:
        self.run = run
        self.spec = spec
        self.extra = extra
        self.name = ""

    def init(self) -> Any:
        spec = self.spec
        self.name, incarnation = self.run.enter(spec["id"], self.pid)
        self.trap_exit = bool(spec.get("trap_exit"))
        self.run.emit(self.name, "init")
        if self.extra:
            self.run.emit(self.name, "log", v=list(self.extra))
        if "init_ms" in spec:
            self.run.sleep(spec["init_ms"])
        try:
            self.run.do(self.name, spec.get("init_do", []))
        except Thrown as thrown:
            return thrown.value
        results = spec.get("init", ["ok"])
        return _init_result(results[min(incarnation, len(results)) - 1])

    def handle_call(self, request: Any, sender: From) -> Any:
        body = request.body
        self.run.senders[body["tag"]] = sender
        return self._handle("call", body, Reply("ok"))

    def handle_cast(self, message: Any) -> Any:
        return self._handle("cast", message.body, None)

    def handle_continue(self, arg: Any) -> Any:
        return self._handle("continue", arg, None)

    def handle_info(self, message: Any) -> Any:
        run, name = self.run, self.name
        match message:
            case InfoMessage(body):
                return self._handle("info", body, None)
            case ExitSignal(sender, reason):
                run.emit(name, "exit_signal", **{"from": run.json(sender)}, reason=run.json(reason))
                return self._react("on_exit")
            case Down(ref, pid, reason):
                run.emit(name, "down", ref=run.ref_name(name, ref), **{"from": run.json(pid)}, reason=run.json(reason))
                return self._react("on_down")
            case Timeout():
                run.emit(name, "timeout")
                return self._react("on_timeout")
            case TaskReply(ref, value):
                run.emit(name, "task_reply", ref=run.ref_name(name, ref), v=value)
                return None
        return super().handle_info(message)

    def terminate(self, reason: Any) -> None:
        spec = self.spec
        self.run.emit(self.name, "terminate", reason=self.run.json(reason))
        if "terminate_ms" in spec:
            self.run.sleep(spec["terminate_ms"])
        try:
            self.run.do(self.name, spec.get("terminate_do", []))
        except Thrown:
            return
        if "terminate_ms" in spec or "terminate_do" in spec:
            self.run.emit(self.name, "terminate_done")

    def _handle(self, kind: str, body: Json, default: Any) -> Any:
        self.run.emit(self.name, kind, tag=body["tag"])
        return self._carry_out(body, default)

    def _react(self, key: str) -> Any:
        return self._carry_out(self.spec.get(key, {}), None)

    def _carry_out(self, body: Json, default: Any) -> Any:
        try:
            self.run.do(self.name, body.get("do", []))
        except Thrown as thrown:
            return thrown.value
        return default if "ret" not in body else _handler_result(body["ret"])


def _init_result(wanted: Any) -> Any:
    match wanted:
        case "ok":
            return Ok()
        case "ignore":
            return Ignore()
        case {"stop": reason}:
            return InitStop(reason_from_json(reason))
        case {"raise": text}:
            raise Raised(text)
        case {"exit": reason}:
            raise Exit(reason_from_json(reason))
        case {"throw": value} | {"bad": value}:
            return value
        case {"continue": message}:
            return Ok(continue_with=message)
        case {"timeout": ms}:
            return Ok(timeout_ms=ms)
    raise ValueError(f"unknown result of init: {wanted!r}")


def _handler_result(ret: Any) -> Any:
    if ret == "noreply":
        return NoReply()
    if "bad" in ret:
        return ret["bad"]
    if "stop" in ret:
        reason = reason_from_json(ret["stop"])
        return Stop(reason, reply=ret["reply"]) if "reply" in ret else Stop(reason)
    more: Json = {}
    if "timeout" in ret:
        more["timeout_ms"] = ret["timeout"]
    if "continue" in ret:
        more["continue_with"] = ret["continue"]
    return Reply(ret["reply"], **more) if "reply" in ret else NoReply(**more)


class _SpokenSupervisor(Supervisor):
    """A Supervisor that says so when it has begun to run."""

    def __init__(self, run: Run, spec: Json) -> None:
        children = [child_spec(run, child) for child in spec.get("children", [])]
        options = {key: spec[key] for key in ("max_restarts", "max_seconds", "auto_shutdown") if key in spec}
        super().__init__(children, spec.get("strategy", "one_for_one"), **options)
        self.run, self.spec = run, spec

    def init(self) -> Any:
        name, _ = self.run.enter(self.spec["id"], self.pid)
        self.run.emit(name, "init")
        return Ignore() if self.spec.get("init") == "ignore" else super().init()


class _SpokenDynamicSupervisor(DynamicSupervisor):
    """The same for a DynamicSupervisor."""

    def __init__(self, run: Run, spec: Json) -> None:
        keys = ("max_children", "max_restarts", "max_seconds")
        options = {key: spec[key] for key in keys if spec.get(key, "infinity") != "infinity"}
        super().__init__(**options, extra_arguments=tuple(spec.get("extra_arguments", ())))
        self.run, self.spec = run, spec

    def init(self) -> Any:
        name, _ = self.run.enter(self.spec["id"], self.pid)
        self.run.emit(name, "init")
        return Ignore() if self.spec.get("init") == "ignore" else super().init()


class _SpokenTaskSupervisor(TaskSupervisor):
    """A Task.Supervisor has no init of its own: it speaks once its start has succeeded."""

    def __init__(self, run: Run, spec: Json) -> None:
        keys = ("max_children", "max_restarts", "max_seconds")
        super().__init__(**{key: spec[key] for key in keys if spec.get(key, "infinity") != "infinity"})
        self.run, self.spec = run, spec

    def init(self) -> Any:
        return _speak_if_started(self.run, self.spec, self.pid, super().init())


class _SpokenPartitionSupervisor(PartitionSupervisor):
    """The same for a PartitionSupervisor."""

    def __init__(self, run: Run, spec: Json) -> None:
        child = spec["child"]

        def start(partition: int) -> GenServer:
            return make(run, {**child, "id": f"{child['id']}{partition}"})

        options: Json = {key: spec[key] for key in ("strategy", "max_restarts", "max_seconds") if key in spec}
        if "restart" in child:
            options["restart"] = child["restart"]
        super().__init__(start, spec["partitions"], shutdown_ms=child.get("shutdown"), **options)
        self.run, self.spec = run, spec

    def init(self) -> Any:
        return _speak_if_started(self.run, self.spec, self.pid, super().init())


def _speak_if_started(run: Run, spec: Json, pid: Pid, result: Any) -> Any:
    if result is None or isinstance(result, Ok):
        name, _ = run.enter(spec["id"], pid)
        run.emit(name, "init")
    return result


def make(run: Run, spec: Json, extra: tuple[object, ...] = ()) -> GenServer:
    """The server that a spec describes."""
    match spec.get("type", "worker"):
        case "worker":
            return Probe(run, spec, extra)
        case "supervisor":
            return _SpokenSupervisor(run, spec)
        case "dynamic":
            return _SpokenDynamicSupervisor(run, spec)
        case "task_supervisor":
            return _SpokenTaskSupervisor(run, spec)
        case "partition":
            return _SpokenPartitionSupervisor(run, spec)
    raise ValueError(f"unknown type: {spec['type']!r}")


def child_spec(run: Run, spec: Json) -> ChildSpec:
    """A spec of a scenario as a child spec."""
    options: Json = {}
    if "restart" in spec:
        options["restart"] = spec["restart"]
    if "shutdown" in spec:
        options["shutdown_ms"] = spec["shutdown"]
    if "significant" in spec:
        options["significant"] = spec["significant"]
    if spec.get("type", "worker") != "worker":
        options["type"] = "supervisor"
    return ChildSpec(spec["id"], lambda *extra: make(run, spec, extra), name=run.name(spec), **options)
