"""/campaigns/{id}/doubts and /campaigns/{id}/retry: what is uncertain, what has failed, and what to do about it."""

from typing import Annotated, Literal, Self

import falcon
from pydantic import Field, model_validator

from titanflow.http.answers import campaigns as answers
from titanflow.http.bodies import Body, cursor_of, limit_of, read_json
from titanflow.http.context import Context
from titanflow.http.contract import ListQuery, operation
from titanflow.http.problem_codes import INCOMPLETE
from titanflow.services import doubts, retries

_Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
_Code = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]


class Resolution(Body):
    """Which doubts, and what they are taken for.

    failed: it never arrived; a retry may send it. sent: it arrived. resend: send it again now; whoever did get it
    gets it twice.
    """

    log_ids: list[_Id] | None = Field(default=None, min_length=1, max_length=10_000)
    all_older_than_hours: int | None = Field(default=None, ge=0, le=8760)
    as_: Literal["failed", "sent", "resend"] = Field(alias="as")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.log_ids is None) == (self.all_older_than_hours is None):
            raise ValueError("give either log_ids or all_older_than_hours")
        return self


class Retry(Body):
    """codes: only failures with these codes ("unknown": without one); all that make sense if absent."""

    codes: list[_Code | Literal["unknown"]] | None = Field(default=None, min_length=1, max_length=100)


class Doubts:
    """List messages that may have been sent or not."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.DoubtsPage, query=ListQuery, problems=("campaign_not_found", "closed"))
    def on_get(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Answer a page: who, since when, the evidence, what to expect."""
        response.media = doubts.page(self._context.db, campaign_id, after=cursor_of(request), limit=limit_of(request))


class DoubtsResolve:
    """Say what becomes of messages in doubt: the operator's word."""

    scopes = {"POST": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.Resolved, body=Resolution, problems=("campaign_not_found", "wrong_state"))
    def on_post(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Answer {"id", "state", "resolved", "in_doubt"}. 409 wrong_state: a resend, and the campaign can't send."""
        asked = read_json(request, Resolution)
        response.media = doubts.resolve(
            self._context.db,
            self._context.fast_copy,
            campaign_id,
            asked.as_,
            log_ids=asked.log_ids or [],
            older_than_hours=asked.all_older_than_hours,
            by=request.context.who,
        )


class CampaignRetry:
    """Send failed messages once more."""

    scopes = {"POST": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.Retried, body=Retry, problems=("campaign_not_found", "wrong_state", *INCOMPLETE))
    def on_post(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Answer {"id", "state", "retrying", "last_due_at", "not_retried": {code: {"count", "why"}}}."""
        codes = read_json(request, Retry).codes or []
        context = self._context
        response.media = retries.retry(
            context.db, context.fast_copy, campaign_id, {str(code) for code in codes}, by=request.context.who
        )


ROUTES: list[tuple[str, type]] = [
    ("/campaigns/{campaign_id:int}/doubts", Doubts),
    ("/campaigns/{campaign_id:int}/doubts/resolve", DoubtsResolve),
    ("/campaigns/{campaign_id:int}/retry", CampaignRetry),
]
