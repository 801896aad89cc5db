"""Agent: a value in a process of its own, read and changed by functions. OTP source: Elixir's Agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from titanflow.supervision.client import Server, call
from titanflow.supervision.gen_server import CallResult, GenServer, Reply
from titanflow.supervision.messages import Call
from titanflow.supervision.replies import From

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _GetAndUpdate(Call[Any]):
    change: Callable[[Any], tuple[Any, Any]]


class Agent(GenServer):
    """Holds what `initial()` returns."""

    def __init__(self, initial: Callable[[], Any]) -> None:
        self._initial = initial

    def init(self) -> None:
        self._value = self._initial()

    def handle_call(self, request: Any, sender: From) -> CallResult:
        match request:
            case _GetAndUpdate(change):
                answer, self._value = change(self._value)
                return Reply(answer)
        return super().handle_call(request, sender)


def agent_get(agent: Server, read: Callable[[Any], R], *, timeout_s: float = 5.0) -> R:
    """Return `read(value)`, computed in the agent: Agent.get."""
    answer: R = call(agent, _GetAndUpdate(lambda value: (read(value), value)), timeout_s=timeout_s)
    return answer


def agent_update(agent: Server, change: Callable[[Any], Any], *, timeout_s: float = 5.0) -> None:
    """Set the value to `change(value)`: Agent.update."""
    call(agent, _GetAndUpdate(lambda value: (None, change(value))), timeout_s=timeout_s)


def agent_get_and_update(agent: Server, change: Callable[[Any], tuple[R, Any]], *, timeout_s: float = 5.0) -> R:
    """`change` returns the answer and the new value: Agent.get_and_update."""
    answer: R = call(agent, _GetAndUpdate(change), timeout_s=timeout_s)
    return answer
