"""/alarms: what somebody should know about."""

from typing import Literal

import falcon

from titanflow.errors import NotFound
from titanflow.http.answers import things as answers
from titanflow.http.context import Context
from titanflow.http.contract import ListQuery, Page, operation, query_of
from titanflow.http.lists import page_of
from titanflow.storage import alarms

_NEWEST = 2**63 - 1


class AlarmsQuery(ListQuery):
    """Which alarms."""

    state: Literal["open", "cleared", "all"] = "open"


class Alarms:
    """List alarms."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(Page[answers.Alarm], query=AlarmsQuery)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer a page, the newest first. state: open (default), cleared, all."""
        state = query_of(request, AlarmsQuery).state
        response.media = page_of(
            request,
            lambda before, limit: alarms.page(self._context.db, state=state, before=before, limit=limit),
            start=_NEWEST,
        )


class ClearAlarm:
    """Say that an alarm is dealt with."""

    scopes = {"POST": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.AlarmCleared, problems=("alarm_not_found",))
    def on_post(self, request: falcon.Request, response: falcon.Response, alarm_id: int) -> None:
        """Answer {"id","state"}; idempotent. It opens again if it happens again. 404 alarm_not_found."""
        if not alarms.clear(self._context.db, alarm_id, by=request.context.who):
            raise NotFound(f"There is no alarm {alarm_id}", code="alarm_not_found")
        response.media = {"id": alarm_id, "state": "cleared"}


ROUTES = [
    ("/alarms", Alarms),
    ("/alarms/{alarm_id:int}/clear", ClearAlarm),
]
