"""/alarms: what somebody should know about."""

import falcon

from titanflow.errors import InvalidInput, NotFound
from titanflow.http.api.phone_numbers import page_of
from titanflow.http.bodies import cursor_of, limit_of
from titanflow.http.context import Context
from titanflow.storage import alarms

_STATES = ("open", "cleared", "all")
_NEWEST = 2**63 - 1


class Alarms:
    """List."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer a page, the newest first. state: open (default), cleared, all."""
        state = request.get_param("state", default="open")
        if state not in _STATES:
            raise InvalidInput(f"state can't be {state[:40]!r}", fix=f"Use one of {', '.join(_STATES)}.")
        limit = limit_of(request)
        rows = alarms.page(self._context.db, state=state, before=cursor_of(request) or _NEWEST, limit=limit)
        response.media = page_of(rows, limit)


class ClearAlarm:
    """Say that an alarm is dealt with."""

    scopes = {"POST": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_post(self, request: falcon.Request, response: falcon.Response, alarm_id: int) -> None:
        """Answer {"id","state"}; idempotent. It opens again if it happens again. 404 alarm_not_found."""
        if not alarms.clear(self._context.db, alarm_id, by=request.context.who):
            raise NotFound(f"There is no alarm {alarm_id}", code="alarm_not_found")
        response.media = {"id": alarm_id, "state": "cleared"}


ROUTES = [
    ("/alarms", Alarms),
    ("/alarms/{alarm_id:int}/clear", ClearAlarm),
]
