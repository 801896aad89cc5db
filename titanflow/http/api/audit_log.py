"""/audit-log: who did what."""

import falcon
from pydantic import Field

from titanflow.http.answers.things import AuditEntry
from titanflow.http.bodies import cursor_of, limit_of
from titanflow.http.context import Context
from titanflow.http.contract import ListQuery, Page, Text, Time, operation, query_of
from titanflow.storage import audit_log

_NEWEST = 2**63 - 1


class AuditQuery(ListQuery):
    """Filters; all given ones must fit. Texts match by their beginning."""

    who: Text | None = Field(default=None, description="token 3, web session, command line")
    what: Text | None = Field(default=None, description="POST /campaigns/{campaign_id}/start")
    target: Text | None = Field(default=None, description="/campaigns/7")
    since: Time | None = Field(default=None, description="2026-12-01T09:00:00Z; a plus in a URL is %2B")
    until: Time | None = Field(default=None, description="Before this moment")


class AuditLog:
    """List who did what."""

    scopes = {"GET": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(Page[AuditEntry], query=AuditQuery)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer a page, the newest first. who, what, target: how they begin; since, until: ISO 8601 with the zone."""
        limit, query = limit_of(request), query_of(request, AuditQuery)
        rows, total = audit_log.page(
            self._context.db,
            before=cursor_of(request) or _NEWEST,
            limit=limit,
            who=query.who,
            what=query.what,
            target=query.target,
            since=query.since,
            until=query.until,
        )
        following = str(rows[-1]["id"]) if len(rows) == limit else None
        response.media = {"items": rows, "next_cursor": following, "total": total}


ROUTES = [("/audit-log", AuditLog)]
