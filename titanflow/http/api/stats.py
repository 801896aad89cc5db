"""/stats and /campaigns/compare: dashboards, from roll-ups alone."""

from collections.abc import Callable
from typing import Any

import falcon
from pydantic import Field

from titanflow.domain.periods import Period, period_of
from titanflow.domain.send_windows import zone_named
from titanflow.errors import InvalidInput
from titanflow.http.answers import stats as answers
from titanflow.http.context import Context
from titanflow.http.contract import Answer, Int, Query, Text, operation, query_of
from titanflow.services import stats as service
from titanflow.storage.database import Database

_MOST_CAMPAIGNS = 20
_ZONE = Field(default="UTC", description="An IANA name, such as Asia/Kolkata: days and hours are that zone's")


class ZoneQuery(Query):
    """Whose days."""

    timezone: Text = _ZONE


class PeriodQuery(ZoneQuery):
    """From when up to when. A date as `to` is part of it; times are widened to quarters of an hour."""

    from_: Text | None = Field(default=None, alias="from", description="A date, or a time")
    to: Text | None = Field(default=None, description="A date, or a time; now if it isn't given")
    campaign_id: Int | None = Field(default=None, ge=1, lt=2**31, description="Of this campaign alone")


class CompareQuery(Query):
    """Which campaigns."""

    ids: Text = Field(pattern=r"^[0-9]{1,9}(,[0-9]{1,9})*$", description="Ids with commas between them, at most 20")


class Dashboard:
    """Everything at a glance."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.Dashboard, query=ZoneQuery)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer today's figures beside the same hours a week before, active campaigns, numbers, open alarms."""
        try:
            zone = zone_named(query_of(request, ZoneQuery).timezone)
        except ValueError as error:
            raise InvalidInput("timezone can't be used", why=str(error)) from None
        response.media = service.dashboard(self._context.db, self._context.fast_copy, zone, service.now())


def _of_period(
    run: Callable[[Database, Period, int | None], dict[str, Any]],
    answer: type[Answer],
    name: str,
    text: str,
    *,
    default_days: int = 30,
    most_days: int = 400,
) -> type:
    class OfPeriod:
        __doc__ = text
        scopes = {"GET": "read"}

        def __init__(self, context: Context) -> None:
            self._context = context

        @operation(answer, query=PeriodQuery)
        def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
            query = query_of(request, PeriodQuery)
            try:
                period = period_of(
                    query.from_,
                    query.to,
                    query.timezone,
                    now=service.now(),
                    default_days=default_days,
                    most_days=most_days,
                )
            except ValueError as error:
                raise InvalidInput("The period can't be used", why=str(error)) from None
            response.media = run(self._context.db, period, query.campaign_id)

        on_get.__doc__ = f"Answer the figures of the last {default_days} days, or of at most {most_days}."

    OfPeriod.__name__ = OfPeriod.__qualname__ = name
    return OfPeriod


class Compare:
    """Campaigns beside each other."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.Comparison, query=CompareQuery, problems=("campaign_not_found",))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer ?ids=1,2,3 in that order. 404 campaign_not_found."""
        ids = list(dict.fromkeys(int(one) for one in query_of(request, CompareQuery).ids.split(",")))
        if len(ids) > _MOST_CAMPAIGNS:
            raise InvalidInput("ids can't be used", why=f"at most {_MOST_CAMPAIGNS} campaigns can be compared")
        response.media = service.compare(self._context.db, ids)


ROUTES: list[tuple[str, type]] = [
    ("/stats/dashboard", Dashboard),
    (
        "/stats/hourly",
        _of_period(service.hourly, answers.Hourly, "Hourly", "Hour by hour.", default_days=1, most_days=31),
    ),
    ("/stats/daily", _of_period(service.daily, answers.Daily, "Daily", "Day by day.")),
    ("/stats/phone-numbers", _of_period(service.by_number, answers.ByNumber, "ByNumber", "Number by number.")),
    ("/stats/templates", _of_period(service.by_template, answers.ByTemplate, "ByTemplate", "Template by template.")),
    ("/stats/failures", _of_period(service.failures, answers.Failures, "Failures", "Failures by code, explained.")),
    ("/stats/replies", _of_period(service.replies, answers.Replies, "Replies", "Who answered, and how fast.")),
    ("/campaigns/compare", Compare),
]
