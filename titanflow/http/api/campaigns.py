"""/campaigns: what they are, what they do, how they stand."""

from collections.abc import Callable
from typing import Any

import falcon
from pydantic import Field

from titanflow.domain import eta
from titanflow.errors import InvalidInput
from titanflow.http.answers import campaigns as answers
from titanflow.http.api.campaign_bodies import DEFAULTS, CampaignChange, CampaignFields
from titanflow.http.bodies import cursor_of, limit_of, read_json
from titanflow.http.context import Context
from titanflow.http.contract import Int, ListQuery, Page, Text, operation, query_of
from titanflow.http.lists import page_of
from titanflow.http.problem_codes import INCOMPLETE
from titanflow.services import campaigns as service
from titanflow.storage import campaigns, message_lists, portfolios, reports
from titanflow.storage.message_lists import Filters

_NEWEST = 2**31 - 1


class MessagesQuery(ListQuery):
    """Filters; all given ones must fit."""

    state: answers.MessageState | None = None
    code: Int | None = Field(default=None, ge=-(2**31), lt=2**31, description="Meta's code of a failure; ours below 0")
    phone: Text | None = Field(default=None, description="As the rows have it: +4915112345678")


class _Resource:
    def __init__(self, context: Context) -> None:
        self._context = context


class Campaigns(_Resource):
    """List and create."""

    scopes = {"GET": "read", "POST": "send"}

    @operation(Page[answers.CampaignRow], query=ListQuery)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer a page of campaigns, newest first."""
        response.media = page_of(
            request,
            lambda before, limit: campaigns.page(self._context.db, before=before, limit=limit),
            start=_NEWEST,
        )

    @operation(
        answers.Campaign,
        status=201,
        body=CampaignFields,
        problems=("unknown_template", "unknown_number", "unknown_media"),
    )
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Make a campaign: a draft."""
        given = read_json(request, CampaignFields).values()
        template_ids, numbers = given.pop("template_ids", []), given.pop("phone_number_ids", [])
        response.status = 201
        response.media = service.create(
            self._context.db, {**DEFAULTS, **given}, template_ids=template_ids, number_ids=numbers
        )


class Campaign(_Resource):
    """One campaign."""

    scopes = {"GET": "read", "PATCH": "send", "DELETE": "admin"}

    @operation(answers.Campaign, problems=("campaign_not_found",))
    def on_get(self, _: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Answer a campaign with all that was set. 404 campaign_not_found."""
        response.media = service.get(self._context.db, campaign_id)

    @operation(
        answers.Campaign,
        body=CampaignChange,
        problems=("campaign_not_found", "unknown_template", "unknown_number", "unknown_media", "wrong_state"),
    )
    def on_patch(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Change a campaign. 409 wrong_state while it runs."""
        change = read_json(request, CampaignChange).values()
        if not change.get("name", "x"):
            raise InvalidInput("A campaign needs a name")
        response.media = service.update(self._context.db, self._context.fast_copy, campaign_id, change)

    @operation(status=204, problems=("campaign_not_found", "wrong_state"))
    def on_delete(self, _: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Delete a campaign with its contacts and messages. 409 wrong_state unless it can't send any more."""
        service.delete(self._context.db, campaign_id)
        response.status = 204


def _action(run: Callable[..., dict[str, Any]], text: str, *problems: str) -> type:
    class Action(_Resource):
        __doc__ = text
        scopes = {"POST": "send"}

        @operation(answers.CampaignStateNow, problems=("campaign_not_found", "wrong_state", *problems))
        def on_post(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
            """Answer {"id","state"}; harmless to repeat; 409 says what would be right."""
            context = self._context
            response.media = run(context.db, context.fast_copy, campaign_id, by=request.context.who)

    return Action


class Stats(_Resource):
    """How a campaign stands: counts that add up, and what happens right now."""

    scopes = {"GET": "read"}

    @operation(answers.CampaignStats, problems=("campaign_not_found",))
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
    """Recount a campaign from its rows."""

    scopes = {"GET": "read"}

    @operation(answers.CampaignAudit, problems=("campaign_not_found",))
    def on_get(self, _: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Count the rows and compare with the counters."""
        service.get(self._context.db, campaign_id)
        response.media = reports.audit(self._context.db, campaign_id)


class Messages(_Resource):
    """List a campaign's contacts with what became of them."""

    scopes = {"GET": "read"}

    @operation(Page[answers.Message], query=MessagesQuery, problems=("campaign_not_found", "closed"))
    def on_get(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Answer a page by contact id; filters: state, code, phone.

        A page may be short, even empty, while next_cursor is not null: what fits is rare, and the list goes on there.
        """
        service.with_messages(self._context.db, campaign_id)
        query = query_of(request, MessagesQuery)
        listed, total = message_lists.messages(
            self._context.db,
            campaign_id,
            Filters(query.state, query.code, query.phone),
            after=cursor_of(request),
            limit=limit_of(request),
        )
        response.media = {
            "items": listed.rows,
            "next_cursor": str(listed.next_after) if listed.next_after is not None else None,
            "total": total,
        }


ROUTES: list[tuple[str, type]] = [
    ("/campaigns", Campaigns),
    ("/campaigns/{campaign_id:int}", Campaign),
    (
        "/campaigns/{campaign_id:int}/start",
        _action(service.start, "Start a campaign, or schedule it.", "import_running", *INCOMPLETE),
    ),
    ("/campaigns/{campaign_id:int}/pause", _action(service.pause, "Pause a campaign: no message leaves after it.")),
    ("/campaigns/{campaign_id:int}/resume", _action(service.resume, "Let a paused campaign go on.", *INCOMPLETE)),
    (
        "/campaigns/{campaign_id:int}/cancel",
        _action(service.cancel, "Cancel a campaign and all who still wait, for good."),
    ),
    ("/campaigns/{campaign_id:int}/stats", Stats),
    ("/campaigns/{campaign_id:int}/audit", Audit),
    ("/campaigns/{campaign_id:int}/messages", Messages),
]
