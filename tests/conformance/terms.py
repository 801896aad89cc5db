"""Erlang terms as the scenarios write them in JSON, and as the kernel knows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titanflow.supervision import Crash, Pid, Shutdown, TaskDone, TaskExit


class Raised(Exception):
    """What the operation `raise` raises: an ordinary exception with a text."""


class Thrown(Exception):
    """What the operation `throw` throws: taken as a return value by callbacks, uncaught in a task."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


def reason_from_json(term: Any) -> Any:
    """A reason of a scenario as a kernel reason."""
    if isinstance(term, list):
        if len(term) == 2 and term[0] == "shutdown":
            return Shutdown(reason_from_json(term[1]))
        return tuple(reason_from_json(item) for item in term)
    return term


def to_json(term: Any, name_of: Callable[[Pid], str | None]) -> Any:
    """A kernel value or reason as a scenario writes it."""
    if isinstance(term, Pid):
        return name_of(term)
    if isinstance(term, Shutdown):
        return ["shutdown", to_json(term.detail, name_of)]
    if isinstance(term, Crash):
        error = term.exception
        return {"throw": error.value} if isinstance(error, Thrown) else {"raise": str(error)}
    if isinstance(term, TaskDone):
        return ["ok", to_json(term.value, name_of)]
    if isinstance(term, TaskExit):
        return ["exit", to_json(term.reason, name_of)]
    if isinstance(term, list | tuple):
        return [to_json(item, name_of) for item in term]
    return term
