"""/contacts/{phone}: everything that happened to this person, and why."""

import falcon

from titanflow.http.bodies import cursor_of, limit_of
from titanflow.http.context import Context
from titanflow.services import people

_NEWEST = 2**63 - 1


class Person:
    """One person, over all campaigns."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_get(self, request: falcon.Request, response: falcon.Response, phone: str) -> None:
        """Answer campaigns (a page of them), the do-not-send list, conversations, rejected lines. 422 invalid_phone."""
        context = self._context
        response.media = people.timeline(
            context.db,
            context.fast_copy,
            phone,
            before=cursor_of(request) or _NEWEST,
            limit=limit_of(request, most=100),
        )


ROUTES: list[tuple[str, type]] = [("/contacts/{phone}", Person)]
