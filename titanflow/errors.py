"""Errors that reach people, and their stable codes. Imports nothing of ours.

http/problems.py maps the classes to statuses, cli/exit_codes.py to exit codes.
"""


class TitanFlowError(Exception):
    """Something a person must read: what went wrong, why it matters, how to mend it.

    code: stable, snake_case; clients branch on it. fields: further members of the problem details.
    """

    code = "error"

    def __init__(self, what: str, *, why: str = "", fix: str = "", code: str | None = None, **fields: object) -> None:
        self.what, self.why, self.fix, self.fields = what, why, fix, fields
        if code is not None:
            self.code = code
        super().__init__(self.one_line())

    def one_line(self) -> str:
        """Return the whole message as one line."""
        sentence = f"{self.what}: {self.why}." if self.why else f"{self.what}."
        return f"{sentence.replace('..', '.')} {self.fix}".strip()


class InvalidInput(TitanFlowError):
    """The request can't be understood or breaks a rule; sending it again won't help."""

    code = "invalid_input"


class NotFound(TitanFlowError):
    """There is no such thing."""

    code = "not_found"


class Gone(TitanFlowError):
    """There was such a thing; it has been kept as long as it is kept."""

    code = "closed"


class Conflict(TitanFlowError):
    """The thing is in a state that doesn't allow this; the message says what would be right."""

    code = "conflict"


class Unauthorized(TitanFlowError):
    """Nobody knows who is asking."""

    code = "unauthorized"


class Forbidden(TitanFlowError):
    """Known, but not allowed."""

    code = "forbidden"


class TooManyRequests(TitanFlowError):
    """Slow down."""

    code = "too_many_requests"


class Unavailable(TitanFlowError):
    """A part is away for now; the same request may succeed in a moment."""

    code = "unavailable"


class StorageUnavailable(Unavailable):
    """PostgreSQL or Redis can't be reached, or didn't answer in time. Whether a write happened is unknown."""

    code = "storage_unavailable"


class ConfigurationError(TitanFlowError):
    """The set-up is wrong: the start stops with one line that says what to set."""

    code = "configuration"
