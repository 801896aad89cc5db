"""The mutations: one wrong piece of the kernel each, as a change of its text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """Replace `right` by `wrong` in a file of titanflow/supervision."""

    name: str
    file: str
    right: str
    wrong: str


MUTATIONS = [
    Mutation("children are stopped in order of start", "supervisor.py", "in reversed(children):", "in children:"),
    Mutation("one restart too few is allowed", "child_spec.py", "<= self.max_restarts", "< self.max_restarts"),
    Mutation("one restart too many is allowed", "child_spec.py", "<= self.max_restarts", "<= self.max_restarts + 1"),
    Mutation("old restarts are never forgotten", "child_spec.py", "1_000_000_000)", "1_000_000_000_000)"),
    Mutation(
        "all restarts are forgotten together",
        "child_spec.py",
        "            self._restarts_ns.popleft()",
        "            self._restarts_ns.clear()",
    ),
    Mutation(
        "the last monitor gets no down message",
        "process.py",
        ".values()):\n            notify",
        ".values())[:-1]:\n            notify",
    ),
    Mutation(
        "links do not carry exits",
        "process.py",
        "if other is not None:\n                other.receive",
        "if False:\n                other.receive",
    ),
    Mutation("a normal exit kills what is linked", "process.py", "elif not is_atom(reason, NORMAL) or", "elif True or"),
    Mutation("kill can be trapped", "process.py", "elif is_atom(reason, KILL):", "elif False:"),
    Mutation(
        "a killed process says kill, not killed",
        "process.py",
        "self._doom(KILLED, incident)",
        "self._doom(KILL, incident)",
    ),
    Mutation(
        "unlink does nothing",
        "process.py",
        "        if self.links is not None:\n            self.links.discard(pid)\n        other = pid._process\n",
        "        other = None\n",
    ),
    Mutation("names outlive their process", "process.py", "            registry.forget(key, pid)", "            pass"),
    Mutation(
        "queued callers are told noproc",
        "process.py",
        "call.settle(reason, failed=True)",
        "call.settle(NOPROC, failed=True)",
    ),
    Mutation("timers fire at once", "timers.py", "clock.call_later(ms, expire)", "clock.call_later(0, expire)"),
    Mutation(
        "transient children restart after shutdown",
        "child_spec.py",
        "and not is_orderly(reason))",
        "and reason != 'normal')",
    ),
    Mutation(
        "temporary children are restarted", "child_spec.py", 'restart == "permanent" or', 'restart != "transient" or'
    ),
    Mutation(
        "temporary children are kept after a stop",
        "supervisor.py",
        "            self._stop(child)\n            if child.spec.restart",
        "            self._stop(child)\n            if False and child.spec.restart",
    ),
    Mutation(
        "rest_for_one restarts everybody",
        "supervisor.py",
        'if self.strategy == "rest_for_one" else 0',
        "if False else 0",
    ),
    Mutation(
        "one_for_all restarts only the rest",
        "supervisor.py",
        'if self.strategy == "rest_for_one" else 0',
        "if True else 0",
    ),
    Mutation(
        "a half-started tree is not rolled back",
        "supervisor.py",
        "        self._stop_all(list(self._children.values()))\n        return InitStop",
        "        return InitStop",
    ),
    Mutation(
        "a failed restart is not tried again",
        "supervisor.py",
        "        self._process.deliver(_TryAgain(failed_child.spec.id))\n",
        "",
    ),
    Mutation(
        "significant children end nobody",
        "supervisor.py",
        "            return None\n        return Stop(SHUTDOWN)\n\n    def _restart(",
        "            return None\n        return None\n\n    def _restart(",
    ),
    Mutation("brutal_kill is polite", "starting.py", "KILL if brutal else SHUTDOWN", "SHUTDOWN"),
    Mutation(
        "shutdown times are not kept", "starting.py", "float(time_ms) if isinstance(time_ms, int) else None", "None"
    ),
    Mutation("max_children is one too many", "dynamic_supervisor.py", ">= self.max_children", "> self.max_children"),
    Mutation(
        "a DynamicSupervisor forgets its extra arguments at a restart",
        "dynamic_supervisor.py",
        "started = start_one(child.spec, self._extra_arguments)",
        "started = start_one(child.spec)",
    ),
    Mutation("the parent's exit is only a message", "gen_server.py", "message.sender is self.parent and", "False and"),
    Mutation(
        "terminate does not run", "gen_server.py", "            self.server.terminate(reason)", "            pass"
    ),
    Mutation(
        "a bad return value is overlooked",
        "gen_server.py",
        'return Stop(("bad_return_value", result))\n            if not mailbox',
        "result = None\n            if not mailbox",
    ),
    Mutation(
        "a continue waits its turn",
        "gen_server.py",
        "result = server.handle_continue(result.continue_with)",
        "mailbox.append(result.continue_with); result = None",
    ),
    Mutation(
        "a time-out is not taken back by a message",
        "gen_server.py",
        "mailbox.popleft() if mailbox else Timeout()",
        "mailbox.popleft() if mailbox and timeout_ms is None else Timeout()",
    ),
    Mutation(
        "the result of a task is lost",
        "task.py",
        "            owner.deliver(TaskReply(go.ref, value))",
        "            pass",
    ),
    Mutation(
        "a brutal shutdown of a task is polite", "task.py", "KILL if brutal else SHUTDOWN, None if", "SHUTDOWN, None if"
    ),
    Mutation("a stream yields in order of ends", "task_stream.py", "        if not ordered:", "        if True:"),
    Mutation("a unique key may be taken twice", "registry.py", "        elif self._unique:", "        elif False:"),
]
