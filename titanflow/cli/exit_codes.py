"""From our errors to exit codes."""

from titanflow.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    Gone,
    InvalidInput,
    NotFound,
    TitanFlowError,
    Unauthorized,
    Unavailable,
)

_CODES: tuple[tuple[type[TitanFlowError], int], ...] = (
    (ConfigurationError, 78),
    (Unavailable, 69),
    (InvalidInput, 65),
    (NotFound, 66),
    (Gone, 66),
    (Conflict, 75),
    (Unauthorized, 77),
    (Forbidden, 77),
)


def of(error: TitanFlowError) -> int:
    """Return the exit code of an error, by the words of sysexits.h; 1 for any other."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), 1)
