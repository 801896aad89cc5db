"""/campaigns: what they are, what they do, how they stand."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, Self

import falcon
from pydantic import Field, field_validator, model_validator

from titanflow.domain import eta, send_windows
from titanflow.errors import InvalidInput
from titanflow.http.api.phone_numbers import page_of
from titanflow.http.bodies import Body, cursor_of, limit_of, read_json
from titanflow.http.context import Context
from titanflow.services import campaigns as service
from titanflow.storage import campaigns, portfolios, reports
from titanflow.storage.counters import STATES

_PARAMETER = r"^(body\.\w{1,64}|header\.(link|\w{1,64})|button\.\d\.1)$"


class Binding(Body):
    """What fills a template's parameter: a CSV column with an optional default, or a constant."""

    column: str | None = Field(default=None, min_length=1, max_length=200)
    default: str = Field(default="", max_length=1024)
    value: str | None = Field(default=None, max_length=1024)


class Media(Body):
    """The media of a header: a link that Meta can fetch, or a file of /media, which is uploaded to Meta once."""

    link: str | None = Field(default=None, pattern=r"^https?://\S{1,2000}$")
    media_id: int | None = Field(default=None, ge=1, lt=2**31)
    filename: str | None = Field(default=None, max_length=200)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.link is None) == (self.media_id is None):
            raise ValueError("give either link or media_id")
        return self


class WindowRange(Body):
    """A daily span by the wall clock; one that ends before it begins goes on over midnight."""

    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(min_length=1, max_length=7)
    from_: str = Field(alias="from", max_length=5, description="HH:MM, the first minute")
    to: str = Field(max_length=5, description="HH:MM, up to 24:00; nothing is sent from this minute on")


class SendWindow(Body):
    """When the campaign may send: one range, or several in `ranges`."""

    timezone: str = Field(max_length=60, description="An IANA name, such as America/Sao_Paulo")
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] | None = Field(default=None, max_length=7)
    from_: str | None = Field(default=None, alias="from", max_length=5)
    to: str | None = Field(default=None, max_length=5)
    ranges: list[WindowRange] | None = Field(default=None, min_length=1, max_length=21)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        one = (self.days, self.from_, self.to)
        if self.ranges is not None and one != (None, None, None):
            raise ValueError("give either days, from and to, or ranges")
        send_windows.parse(self.model_dump(by_alias=True, exclude_none=True))
        return self


class ResendAfter(Body):
    """Let messages in doubt be sent again after so many hours. Some of those people will get the message twice."""

    resend_after_hours: int = Field(ge=1, le=8760)


class CampaignFields(Body):
    """A campaign's fields. template_ids: the first is sent, the others are fallbacks, in order."""

    name: str = Field(min_length=1, max_length=200)
    template_ids: list[int] = Field(default=[], max_length=20)
    phone_number_ids: list[str] = Field(default=[], max_length=100)
    variables: dict[str, Binding] = {}
    media: Media | None = None
    default_country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    schedule_at: datetime | None = None
    max_mps: int | None = Field(default=None, ge=1, le=100_000)
    dedupe_days: int = Field(default=0, ge=0, le=365)
    audience_cap: int | None = Field(default=None, ge=1, le=100_000_000)
    send_window: SendWindow | None = None
    doubt_policy: Literal["never_resend"] | ResendAfter = Field(
        default="never_resend",
        description="What becomes of messages that may have been sent or not (in_doubt). never_resend: they wait for"
        " Meta's report or an operator's word; nobody gets a message twice. resend_after_hours: they are sent again"
        " after so long; whoever got the first one gets it twice, and the campaign stays open until then.",
    )

    @field_validator("variables")
    @classmethod
    def _bound(cls, variables: dict[str, Binding]) -> dict[str, Binding]:
        import re

        for name, binding in variables.items():
            if not re.fullmatch(_PARAMETER, name):
                raise ValueError(f"'{name}' is no parameter: use body.1, body.first_name, header.link or button.0.1")
            if (binding.column is None) == (binding.value is None):
                raise ValueError(f"'{name}' needs either a column or a value")
        return variables

    def values(self) -> dict[str, Any]:
        """As the storage takes them; members that were not given are absent."""
        given = self.model_dump(exclude_unset=True)
        if "variables" in given:
            given["variables"] = {
                name: {key: value for key, value in one.items() if value is not None}
                for name, one in given["variables"].items()
            }
        if "media" in given:
            given["media"] = {key: value for key, value in (given["media"] or {}).items() if value is not None}
        if given.get("send_window"):
            assert self.send_window is not None
            given["send_window"] = self.send_window.model_dump(by_alias=True, exclude_none=True)
        return given


class CampaignChange(CampaignFields):
    """What may be changed; what is absent stays."""

    name: str = Field(default="", max_length=200)


DEFAULTS: dict[str, Any] = {  # of a draft, for what was not given
    "variables": {},
    "media": {},
    "default_country": None,
    "schedule_at": None,
    "max_mps": None,
    "dedupe_days": 0,
    "audience_cap": None,
    "send_window": None,
    "doubt_policy": "never_resend",
}


class _Resource:
    def __init__(self, context: Context) -> None:
        self._context = context


class Campaigns(_Resource):
    """List and create."""

    scopes = {"GET": "read", "POST": "send"}

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer a page, newest first."""
        limit = limit_of(request)
        rows = campaigns.page(self._context.db, before=cursor_of(request) or 2**31 - 1, limit=limit)
        response.media = page_of(rows, limit)

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Make a draft."""
        given = read_json(request, CampaignFields).values()
        template_ids, numbers = given.pop("template_ids", []), given.pop("phone_number_ids", [])
        response.status = 201
        response.media = service.create(
            self._context.db, {**DEFAULTS, **given}, template_ids=template_ids, number_ids=numbers
        )


class Campaign(_Resource):
    """One campaign."""

    scopes = {"GET": "read", "PATCH": "send", "DELETE": "admin"}

    def on_get(self, _: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Answer it. 404 campaign_not_found."""
        response.media = service.get(self._context.db, campaign_id)

    def on_patch(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Change it. 409 wrong_state while it runs."""
        change = read_json(request, CampaignChange).values()
        if not change.get("name", "x"):
            raise InvalidInput("A campaign needs a name")
        response.media = service.update(self._context.db, self._context.fast_copy, campaign_id, change)

    def on_delete(self, _: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Delete it with its contacts and messages. 409 wrong_state unless it can't send any more."""
        service.delete(self._context.db, campaign_id)
        response.status = 204


def _action(run: Callable[..., dict[str, Any]]) -> type:
    class Action(_Resource):
        """A change of state; harmless to repeat."""

        scopes = {"POST": "send"}

        def on_post(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
            """Answer {"id","state"}; 409 says what would be right."""
            context = self._context
            response.media = run(context.db, context.fast_copy, campaign_id, by=request.context.who)

    return Action


class Stats(_Resource):
    """How a campaign stands: counts that add up, and what happens right now."""

    scopes = {"GET": "read"}

    def on_get(self, _: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Answer the counts; they add up to `total`."""
        campaign = service.get(self._context.db, campaign_id)
        stats = reports.stats(self._context.db, campaign_id)
        live = service.live(self._context.fast_copy, campaign_id) if campaign["state"] == "running" else None
        left = sum(stats["counts"][state] for state in ("pending", "claimed", "retrying"))
        by_number = {one.phone_number_id: one for one in live.numbers} if live else {}
        for number in stats["numbers"]:
            one = by_number.get(number["phone_number_id"])
            number["rate_now"] = one.rate_now if one else 0.0
            number["in_flight"] = one.in_flight if one else 0
            number["limited_by"] = one.limited_by if one else None
            number["limited_detail"] = one.limited_detail if one else None
        response.media = {
            "state": campaign["state"],
            "state_by": campaign["state_by"],
            "state_reason": campaign["state_reason"],
            "resumes_at": campaign["resumes_at"],
            **stats,
            "rate_now": round(live.rate_now, 1) if live else 0.0,
            "limited_by": live.limited_by if live else None,
            "limited_detail": live.limited_detail if live else None,
            "budgets": [
                {
                    "portfolio_id": budget.portfolio_id,
                    "limit": budget.limit,
                    "used": budget.used,
                    "left": budget.left,
                    "forecast": budget.forecast(left),
                }
                for budget in portfolios.budgets_of_campaign(self._context.db, campaign_id)
            ],
            "eta_seconds": eta.range_s(left, live.rate_now) if live else None,
        }


class Audit(_Resource):
    """The recount."""

    scopes = {"GET": "read"}

    def on_get(self, _: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Count the rows and compare with the counters."""
        service.get(self._context.db, campaign_id)
        response.media = reports.audit(self._context.db, campaign_id)


class Messages(_Resource):
    """The rows."""

    scopes = {"GET": "read"}

    def on_get(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Answer a page; filters: state, code, phone."""
        service.get(self._context.db, campaign_id)
        state, code = request.get_param("state"), request.get_param("code")
        if state is not None and state not in STATES:
            raise InvalidInput(f"There is no state '{state}'", fix=f"Use one of {', '.join(STATES)}.")
        if code is not None and not code.lstrip("-").isdigit():
            raise InvalidInput("code must be a number")
        limit = limit_of(request)
        rows = reports.messages(
            self._context.db,
            campaign_id,
            after=cursor_of(request),
            limit=limit,
            state=state,
            code=int(code) if code else None,
            phone=request.get_param("phone"),
        )
        total = reports.stats(self._context.db, campaign_id)
        count = total["counts"][state] if state and not code else total["total"]
        response.media = {
            "items": rows,
            "next_cursor": str(rows[-1]["contact_id"]) if len(rows) == limit else None,
            "total": count,
        }


ROUTES: list[tuple[str, type]] = [
    ("/campaigns", Campaigns),
    ("/campaigns/{campaign_id:int}", Campaign),
    ("/campaigns/{campaign_id:int}/start", _action(service.start)),
    ("/campaigns/{campaign_id:int}/pause", _action(service.pause)),
    ("/campaigns/{campaign_id:int}/resume", _action(service.resume)),
    ("/campaigns/{campaign_id:int}/cancel", _action(service.cancel)),
    ("/campaigns/{campaign_id:int}/stats", Stats),
    ("/campaigns/{campaign_id:int}/audit", Audit),
    ("/campaigns/{campaign_id:int}/messages", Messages),
]
