"""From our errors to exit codes."""

from titanflow.errors import ConfigurationError, Conflict, InvalidInput, NotFound, TitanFlowError, Unavailable

_CODES: tuple[tuple[type[TitanFlowError], int], ...] = (
    (ConfigurationError, 78),
    (Unavailable, 69),
    (InvalidInput, 65),
    (NotFound, 66),
    (Conflict, 75),
)


def of(error: TitanFlowError) -> int:
    """Return the exit code of an error, by the words of sysexits.h; 1 for any other."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), 1)
