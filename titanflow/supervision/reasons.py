"""Why a process ended: exit reasons as plain values, and the exceptions that carry them.

A reason is any value. OTP's atoms are strings here ("normal", "shutdown", "noproc", ...), its tuples are
tuples, `{shutdown, X}` is `Shutdown(X)`, and an uncaught exception is a `Crash`.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Final, TypeAlias

Reason: TypeAlias = object

NORMAL: Final = "normal"
SHUTDOWN: Final = "shutdown"
KILL: Final = "kill"  # what one sends: cannot be trapped
KILLED: Final = "killed"  # what the others then see
NOPROC: Final = "noproc"
TIMEOUT: Final = "timeout"
OVERLOADED: Final = "overloaded"


@dataclass(frozen=True, slots=True)
class Shutdown:
    """An orderly end that carries a detail: OTP's `{shutdown, Term}`. Counts as no failure."""

    detail: Reason


class Crash:
    """An uncaught exception as an exit reason: the exception, and its traceback as text.

    The text is made at once and the frames' variables are let go, so that a reason that travels through
    links, monitors and the graveyard keeps no dead actor's state alive.
    """

    __slots__ = ("exception", "traceback")

    def __init__(self, exception: BaseException) -> None:
        self.exception = exception
        self.traceback = "".join(traceback.format_exception(exception))
        _let_go_of_frames(exception)

    def __repr__(self) -> str:
        return f"Crash({self.exception!r})"


def is_atom(reason: Reason, atom: str) -> bool:
    """True if the reason is this very atom; never compares with a foreign type's `==`."""
    return reason.__class__ is str and reason == atom


def is_orderly(reason: Reason) -> bool:
    """True for normal, shutdown and {shutdown, x}: ends after which a transient child stays down."""
    return is_atom(reason, NORMAL) or is_atom(reason, SHUTDOWN) or isinstance(reason, Shutdown)


def describe(reason: Reason) -> str:
    """One line for people and logs."""
    if isinstance(reason, Crash):
        return f"{type(reason.exception).__name__}: {reason.exception}"
    return reason if isinstance(reason, str) else repr(reason)


class Exit(Exception):
    """Raised to end the process that raises it with this reason: Erlang's `exit(Reason)`."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(describe(reason))
        self.reason = reason


class CallExit(Exit):
    """A request to another process failed: noproc, timeout, overloaded, or why the server ended meanwhile.

    Uncaught, it ends the caller with the same reason, as in OTP.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        if isinstance(reason, Crash):
            self.__cause__ = reason.exception


class StartError(Exception):
    """A process did not start; `reason` says why: OTP's `{error, Reason}` of a start function."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(describe(reason))
        self.reason = reason


class StartIgnored(StartError):
    """`init` returned Ignore: OTP's `ignore`."""

    def __init__(self) -> None:
        super().__init__("ignore")


class ChildError(Exception):
    """A supervisor refused: not_found, running or restarting: OTP's `{error, Reason}`."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(describe(reason))
        self.reason = reason


def _let_go_of_frames(exception: BaseException) -> None:
    seen: set[int] = set()
    pending: list[BaseException | None] = [exception]
    while pending:
        error = pending.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        if error.__traceback__ is not None:
            traceback.clear_frames(error.__traceback__)
        pending += [error.__cause__, error.__context__]
