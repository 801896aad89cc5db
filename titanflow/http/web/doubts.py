"""The page of a campaign's messages in doubt: the same figures as the API's."""

import falcon

from titanflow.http.bodies import cursor_of
from titanflow.http.context import Context
from titanflow.http.web.pages import show
from titanflow.services import campaigns, doubts

_ROWS = 100


class DoubtsPage:
    """A hundred doubts a page, with evidence and what to expect."""

    scopes = {"GET": "page"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_get(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Show the page."""
        campaign = campaigns.get(self._context.db, campaign_id)
        page = doubts.page(self._context.db, campaign_id, after=cursor_of(request), limit=_ROWS)
        policy = campaign["doubt_policy"]
        hours = policy["resend_after_hours"] if isinstance(policy, dict) else None
        show(response, "doubts.html", campaign=campaign, hours=hours, age=_age, **page)


def _age(seconds: float) -> str:
    """How long, as people say it."""
    minutes = int(seconds) // 60
    if minutes < 1:
        return f"{int(seconds)} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"


ROUTES = [("/campaigns/{campaign_id:int}/doubts", DoubtsPage)]
