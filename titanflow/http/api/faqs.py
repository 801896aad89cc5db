"""/faqs: rules that answer frequent questions by themselves."""

from typing import Annotated

import falcon
from pydantic import Field

from titanflow.domain.faqs import MAX_ANSWER_CHARACTERS, MAX_KEYWORD_CHARACTERS, MAX_KEYWORDS, MAX_RULES
from titanflow.http.answers import conversation_rules as answers
from titanflow.http.bodies import Body, read_json
from titanflow.http.context import Context
from titanflow.http.contract import Page, operation
from titanflow.services import conversation_rules as service
from titanflow.storage import faqs

_NO_NUL = r"^[^\x00]*$"
Keyword = Annotated[str, Field(min_length=1, max_length=MAX_KEYWORD_CHARACTERS, pattern=_NO_NUL)]
Keywords = Annotated[list[Keyword], Field(min_length=1, max_length=MAX_KEYWORDS)]
Name = Annotated[str, Field(max_length=100, pattern=_NO_NUL)]
Answer = Annotated[str, Field(min_length=1, max_length=MAX_ANSWER_CHARACTERS, pattern=_NO_NUL)]


class NewFaq(Body):
    """A rule: whoever writes one of the keywords, as whole words, gets the answer."""

    keywords: Keywords
    answer: Answer
    name: Name = ""
    on: bool = True


class FaqChange(Body):
    """What is to be changed of a rule."""

    keywords: Keywords | None = None
    answer: Answer | None = None
    name: Name | None = None
    on: bool | None = None


class FaqOrder(Body):
    """All rules, in the order in which they are asked."""

    ids: list[int] = Field(max_length=MAX_RULES)


class FaqTrial(Body):
    """A text that somebody might write."""

    text: str = Field(max_length=MAX_ANSWER_CHARACTERS)


class Faqs:
    """List and add."""

    scopes = {"GET": "read", "POST": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(Page[answers.Faq])
    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Answer all rules in their order."""
        items = faqs.list_all(self._context.db)
        response.media = {"items": items, "next_cursor": None, "total": len(items)}

    @operation(answers.Faq, status=201, body=NewFaq, problems=("faq_keywords", "too_many_faqs"))
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Add a rule behind the others. 201. 409 too_many_faqs, 422 faq_keywords."""
        response.media = service.add_faq(self._context.db, read_json(request, NewFaq).model_dump())
        response.status = 201
        response.location = f"/api/v1/faqs/{response.media['id']}"


class OneFaq:
    """One rule."""

    scopes = {"GET": "read", "PATCH": "send", "DELETE": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.Faq, problems=("faq_not_found",))
    def on_get(self, _: falcon.Request, response: falcon.Response, faq_id: int) -> None:
        """Answer it. 404 faq_not_found."""
        response.media = service.faq(self._context.db, faq_id)

    @operation(answers.Faq, body=FaqChange, problems=("faq_not_found", "faq_keywords"))
    def on_patch(self, request: falcon.Request, response: falcon.Response, faq_id: int) -> None:
        """Change what is given; the next message is answered by it."""
        response.media = service.change_faq(self._context.db, faq_id, read_json(request, FaqChange).model_dump())

    @operation(status=204, problems=("faq_not_found",))
    def on_delete(self, _: falcon.Request, response: falcon.Response, faq_id: int) -> None:
        """Delete it; what it has answered stays."""
        service.delete_faq(self._context.db, faq_id)
        response.status = 204


class FaqsInOrder:
    """The order."""

    scopes = {"POST": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(Page[answers.Faq], body=FaqOrder, problems=("faq_order",))
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Put all rules into an order; the first that has a keyword in a message answers it. 409 faq_order."""
        items = service.reorder_faqs(self._context.db, read_json(request, FaqOrder).ids)
        response.media = {"items": items, "next_cursor": None, "total": len(items)}


class TryFaqs:
    """A rehearsal."""

    scopes = {"POST": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.FaqTrialResult, body=FaqTrial)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Say which rule would answer a text, and why; nothing is sent."""
        response.media = service.try_faqs(self._context.db, read_json(request, FaqTrial).text)


ROUTES: list[tuple[str, type]] = [
    ("/faqs", Faqs),
    ("/faqs/reorder", FaqsInOrder),
    ("/faqs/try", TryFaqs),
    ("/faqs/{faq_id:int}", OneFaq),
]
