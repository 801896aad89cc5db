"""/contacts/{phone}: everything that happened to this person, and why."""

import falcon
from pydantic import Field

from titanflow.http.answers import people as answers
from titanflow.http.bodies import cursor_of
from titanflow.http.context import Context
from titanflow.http.contract import Int, ListQuery, operation, query_of
from titanflow.services import erasure, people

_NEWEST = 2**63 - 1


class PersonQuery(ListQuery):
    """Which of the person's campaigns."""

    limit: Int = Field(default=50, ge=1, le=100, description="How many campaigns at most")


class Person:
    """One person, over all campaigns."""

    scopes = {"GET": "read", "DELETE": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.Person, query=PersonQuery, problems=("invalid_phone",))
    def on_get(self, request: falcon.Request, response: falcon.Response, phone: str) -> None:
        """Answer campaigns (a page of them), the do-not-send list, conversations, rejected lines. 422 invalid_phone.

        Somebody whom nobody knows is an answer too: empty lists.
        """
        context, limit = self._context, query_of(request, PersonQuery).limit
        before = cursor_of(request) or _NEWEST
        response.media = people.timeline(
            context.db, context.fast_copy, context.vault, phone, before=before, limit=limit
        )

    @operation(answers.Erased, problems=("invalid_phone", "in_flight"))
    def on_delete(self, request: falcon.Request, response: falcon.Response, phone: str) -> None:
        """Erase the person: all traces go, figures stay, nothing is ever sent to the phone again. Not to be undone.

        409 in_flight while a message is on its way: repeat it. Harmless to repeat.
        """
        context = self._context
        response.media = erasure.erase(context.db, context.vault, phone, by=request.context.who)


ROUTES: list[tuple[str, type]] = [("/contacts/{phone}", Person)]
