"""Keeps who did what: `recorded` around a change, for commands; http/audit.py does the same around requests."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from titanflow.errors import StorageUnavailable, TitanFlowError, Unavailable
from titanflow.storage import audit_log
from titanflow.storage.database import Database

DONE, REFUSED, FAILED = "done", "refused", "failed"


@contextmanager
def recorded(db: Database, *, who: str, what: str, target: str, **detail: object) -> Iterator[None]:
    """Keep an entry in audit_log around a change: it is there before, so that no change goes without one.

    Its outcome is done, refused or failed with the error's code, or null if the process died meanwhile.
    """
    entry_id = audit_log.begin(db, who=who, what=what, target=target, detail=detail)
    try:
        yield
    except TitanFlowError as error:
        outcome = FAILED if isinstance(error, Unavailable) else REFUSED
        with suppress(StorageUnavailable):  # the error itself says more
            audit_log.finish(db, entry_id, outcome=outcome, detail={"code": error.code})
        raise
    audit_log.finish(db, entry_id, outcome=DONE, detail={})
