"""/audit-log: who did what."""

from datetime import UTC, datetime

import falcon

from titanflow.errors import InvalidInput
from titanflow.http.bodies import cursor_of, limit_of
from titanflow.http.context import Context
from titanflow.storage import audit_log

_NEWEST = 2**63 - 1


class AuditLog:
    """List."""

    scopes = {"GET": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer a page, the newest first. who, what, target: how they begin; since, until: ISO 8601 with the zone."""
        limit = limit_of(request)
        rows, total = audit_log.page(
            self._context.db,
            before=cursor_of(request) or _NEWEST,
            limit=limit,
            who=_text(request, "who"),
            what=_text(request, "what"),
            target=_text(request, "target"),
            since=_time(request, "since"),
            until=_time(request, "until"),
        )
        following = str(rows[-1]["id"]) if len(rows) == limit else None
        response.media = {"items": rows, "next_cursor": following, "total": total}


def _text(request: falcon.Request, name: str) -> str | None:
    text: str | None = request.get_param(name)
    if text is not None and (len(text) > 200 or "\x00" in text):
        raise InvalidInput(f"{name} can't be used", why="it must be at most 200 characters")
    return text


def _time(request: falcon.Request, name: str) -> datetime | None:
    text: str | None = request.get_param(name)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        fix = "Write it as 2026-12-01T09:00:00Z; a plus in a URL is %2B."
        raise InvalidInput(f"{name} is no time", fix=fix) from None


ROUTES = [("/audit-log", AuditLog)]
