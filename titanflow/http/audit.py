"""Who did what: every request that may change something leaves an entry in audit_log, whatever resource it is for."""

import re
from typing import Any

import falcon
import structlog

from titanflow.errors import StorageUnavailable
from titanflow.http.context import Context
from titanflow.services.audit import DONE, FAILED, REFUSED
from titanflow.storage import audit_log
from titanflow.telemetry.masking import mask_phones

log = structlog.get_logger()

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_CONVERTER = re.compile(r":\w+(?=})")


class AuditTrail:
    """Runs after Authentication: who is known, and may do it. The entry precedes the change, the outcome follows.

    Bodies are not kept, since they hold tokens and texts; the names of their members are.
    """

    def __init__(self, context: Context) -> None:
        self._db = context.db

    def process_resource(self, request: falcon.Request, _: falcon.Response, __: Any, ___: Any) -> None:
        """Write the entry. Raises StorageUnavailable: what nobody could know of is not done."""
        who = getattr(request.context, "who", None)
        if request.method in SAFE or who is None:
            return
        template = _CONVERTER.sub("", request.uri_template or request.path).removeprefix("/api/v1")
        request.context.audit_entry = audit_log.begin(
            self._db,
            who=who,
            what=f"{request.method} {template}",
            target=mask_phones(request.path.removeprefix("/api/v1")),
            detail={"address": request.context.address},
        )

    def process_response(self, request: falcon.Request, response: falcon.Response, _: Any, __: bool) -> None:
        """Add how it ended."""
        entry_id = getattr(request.context, "audit_entry", None)
        if entry_id is None:
            return
        status = response.status_code
        more = {"code": getattr(response.context, "code", None), "fields": _fields(request)}
        detail = {"status": status, **{name: value for name, value in more.items() if value}}
        outcome = DONE if status < 400 else REFUSED if status < 500 else FAILED
        try:
            audit_log.finish(self._db, entry_id, outcome=outcome, detail=detail)
        except StorageUnavailable as error:  # what was done is done: the answer must say so
            log.warning("audit.outcome_missing", entry_id=entry_id, outcome=outcome, why=error.why)


def _fields(request: falcon.Request) -> list[str]:
    """The names that the client sent, known or not: PostgreSQL keeps no NUL, and a list shall show them harmlessly."""
    names = sorted(getattr(request.context, "fields", []))[:50]
    return ["".join(letter if letter.isprintable() else "?" for letter in name) for name in names]
