"""/campaigns/{id}/rehearse and /rehearsals: what would happen if it were started."""

import falcon

from titanflow.http.answers import rehearsals as answers
from titanflow.http.context import Context
from titanflow.http.contract import ListQuery, Page, operation
from titanflow.http.lists import page_of
from titanflow.http.problem_codes import INCOMPLETE
from titanflow.services import campaigns
from titanflow.services import rehearsals as service
from titanflow.storage import rehearsals


class _Resource:
    def __init__(self, context: Context) -> None:
        self._context = context


class Rehearse(_Resource):
    """Rehearse a campaign: what would happen if it were started now?"""

    scopes = {"POST": "send"}

    @operation(
        answers.Rehearsal,
        status=202,
        problems=("campaign_not_found", "wrong_state", "import_running", *INCOMPLETE),
        answer_headers={"Location": "The rehearsal's own path"},
    )
    def on_post(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Answer 202 with the rehearsal; with the one that runs, if one runs. 409 says what is missing."""
        response.media, _ = service.begin(self._context.db, campaign_id, by=request.context.who)
        response.status = 202
        response.location = f"/api/v1/campaigns/{campaign_id}/rehearsals/{response.media['id']}"


class Rehearsals(_Resource):
    """List a campaign's rehearsals."""

    scopes = {"GET": "read"}

    @operation(Page[answers.RehearsalRow], query=ListQuery, problems=("campaign_not_found",))
    def on_get(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Answer a page without results, newest first."""
        campaigns.get(self._context.db, campaign_id)
        response.media = page_of(
            request,
            lambda before, limit: rehearsals.page(self._context.db, campaign_id, before=before, limit=limit),
            start=2**31 - 1,
        )


class Rehearsal(_Resource):
    """Answer a rehearsal: its progress, then its result."""

    scopes = {"GET": "read"}

    @operation(answers.Rehearsal, problems=("rehearsal_not_found",))
    def on_get(self, _: falcon.Request, response: falcon.Response, campaign_id: int, rehearsal_id: int) -> None:
        """Answer its progress, or its result. 404 rehearsal_not_found."""
        response.media = service.get(self._context.db, campaign_id, rehearsal_id)


class CancelRehearsal(_Resource):
    """Cancel a rehearsal."""

    scopes = {"POST": "send"}

    @operation(answers.Rehearsal, problems=("rehearsal_not_found",))
    def on_post(self, _: falcon.Request, response: falcon.Response, campaign_id: int, rehearsal_id: int) -> None:
        """It ends without a result; one that has ended stays what it is."""
        response.media = service.cancel(self._context.db, campaign_id, rehearsal_id)


ROUTES: list[tuple[str, type]] = [
    ("/campaigns/{campaign_id:int}/rehearse", Rehearse),
    ("/campaigns/{campaign_id:int}/rehearsals", Rehearsals),
    ("/campaigns/{campaign_id:int}/rehearsals/{rehearsal_id:int}", Rehearsal),
    ("/campaigns/{campaign_id:int}/rehearsals/{rehearsal_id:int}/cancel", CancelRehearsal),
]
