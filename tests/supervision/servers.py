"""Small servers that the kernel's tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from titanflow.supervision import Call, Cast, Event, From, GenServer, NoReply, Reply


@dataclass(frozen=True, slots=True)
class Add(Cast):
    """Add to the counter."""

    n: int = 1


@dataclass(frozen=True, slots=True)
class Tick(Cast):
    """A message that may be dropped when there is no room."""

    may_be_dropped: ClassVar[bool] = True
    n: int = 0


@dataclass(frozen=True, slots=True)
class Do(Cast):
    """Run a function in the actor."""

    action: Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Ask(Call[Any]):
    """Run a function in the actor and answer with what it returns."""

    action: Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Get(Call[int]):
    """Read the counter."""


@dataclass(frozen=True, slots=True)
class Hold(Call[None]):
    """Never answered."""


@dataclass(frozen=True, slots=True)
class WaitFor(Cast):
    """Block the actor until the event is set."""

    event: Event


class Counter(GenServer):
    """Counts, and does what it is told."""

    def __init__(self) -> None:
        self.count = 0
        self.seen: list[Any] = []

    def handle_cast(self, message: Any) -> None:
        match message:
            case Add(n):
                self.count += n
            case Tick(n):
                self.seen.append(n)
            case Do(action):
                action(self)
            case WaitFor(event):
                event.wait(5)
            case _:
                super().handle_cast(message)

    def handle_call(self, request: Any, sender: From) -> Reply | NoReply:
        match request:
            case Get():
                return Reply(self.count)
            case Ask(action):
                return Reply(action(self))
            case Hold():
                return NoReply()
        result = super().handle_call(request, sender)
        assert isinstance(result, Reply | NoReply)
        return result

    def handle_info(self, message: Any) -> None:
        self.seen.append(message)


class SmallCounter(Counter):
    """Has room for three messages."""

    mailbox_limit: ClassVar[int] = 3


class RefusingCounter(SmallCounter):
    """Refuses at once."""

    mailbox_policy: ClassVar[Any] = "refuse"


class DroppingCounter(SmallCounter):
    """Drops its oldest droppable message."""

    mailbox_policy: ClassVar[Any] = "drop_oldest"
