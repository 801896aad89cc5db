"""/phone-numbers."""

from typing import Any

import falcon
from pydantic import Field

from titanflow.actors.node.meta_sync import MetaQuestions
from titanflow.actors.node.reconciler import nudge
from titanflow.errors import Conflict, NotFound
from titanflow.http.answers import things as answers
from titanflow.http.bodies import Body, read_json
from titanflow.http.context import Context
from titanflow.http.contract import ListQuery, Page, operation
from titanflow.http.lists import page_of
from titanflow.storage import phone_numbers


class NewNumber(Body):
    """A phone number as Meta knows it. access_token is never shown again."""

    phone_number_id: str = Field(pattern=r"^\d{1,32}$")
    waba_id: str = Field(pattern=r"^\d{1,32}$")
    display_phone_number: str = Field(default="", max_length=32)
    name: str = Field(default="", max_length=200)
    access_token: str = Field(min_length=1, max_length=2000, pattern=r"^[\x21-\x7e]+$")
    max_mps: int = Field(default=80, ge=10, le=1000)


class NumberChange(Body):
    """What may be changed; what is absent stays."""

    display_phone_number: str | None = Field(default=None, max_length=32)
    name: str | None = Field(default=None, max_length=200)
    access_token: str | None = Field(default=None, min_length=1, max_length=2000, pattern=r"^[\x21-\x7e]+$")
    max_mps: int | None = Field(default=None, ge=10, le=1000)


class PhoneNumbers:
    """List and add."""

    scopes = {"GET": "read", "POST": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(Page[answers.PhoneNumber], query=ListQuery)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer a page of numbers."""
        response.media = page_of(
            request,
            lambda after, limit: phone_numbers.page(self._context.db, after=after, limit=limit),
            key="row_id",
        )

    @operation(answers.PhoneNumber, status=201, body=NewNumber, problems=("number_exists",))
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Add a number. 409 number_exists."""
        body = read_json(request, NewNumber).model_dump()
        body["access_token"] = self._context.vault.encrypt(body["access_token"])
        made = phone_numbers.insert(self._context.db, body)
        if made is None:
            raise Conflict(f"Number {body['phone_number_id']} is there already", code="number_exists")
        response.status = 201
        response.media = made


class PhoneNumber:
    """One number."""

    scopes = {"GET": "read", "PATCH": "admin", "DELETE": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.PhoneNumber, problems=("number_not_found",))
    def on_get(self, _: falcon.Request, response: falcon.Response, number: str) -> None:
        """Answer the number. 404 number_not_found."""
        response.media = _found(phone_numbers.get(self._context.db, number), number)

    @operation(answers.PhoneNumber, body=NumberChange, problems=("number_not_found",))
    def on_patch(self, request: falcon.Request, response: falcon.Response, number: str) -> None:
        """Change a number; takes effect while it sends."""
        change = read_json(request, NumberChange).model_dump()
        if change["access_token"] is not None:
            change["access_token"] = self._context.vault.encrypt(change["access_token"])
        response.media = _found(phone_numbers.update(self._context.db, number, change), number)
        nudge()

    @operation(status=204, problems=("number_not_found", "in_use"))
    def on_delete(self, _: falcon.Request, response: falcon.Response, number: str) -> None:
        """Delete a number. 409 in_use while a campaign names it, or if people have talked with it."""
        _found(phone_numbers.get(self._context.db, number), number)
        if not phone_numbers.delete(self._context.db, number):
            raise Conflict(
                f"Number {number} is in use",
                why="a campaign names it, or people have talked with it",
                fix="Take it out of its campaigns; one with conversations can only be paused.",
                code="in_use",
            )
        response.status = 204


class SyncNumber:
    """Read Meta's own fields."""

    scopes = {"POST": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.PhoneNumber, problems=("number_not_found", "configuration"))
    def on_post(self, _: falcon.Request, response: falcon.Response, number: str) -> None:
        """Answer the number as it is now. 503 if Meta can't be asked."""
        settings = self._context.settings
        questions = MetaQuestions(
            self._context.db, self._context.vault, settings.meta_graph_url, settings.meta_api_version
        )
        _found(phone_numbers.get(self._context.db, number), number)
        questions.number(number)
        response.media = _found(phone_numbers.get(self._context.db, number), number)
        nudge()


class PauseNumber:
    """Stop sending on a number until it is resumed."""

    scopes = {"POST": "send"}
    _state, _reason = "paused", "Paused by an operator"

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.NumberStateNow, problems=("number_not_found",))
    def on_post(self, _: falcon.Request, response: falcon.Response, number: str) -> None:
        """Answer {"id","state"}."""
        changed = phone_numbers.set_state(self._context.db, number, state=self._state, reason=self._reason or None)
        response.media = _found(changed, number)
        nudge()


class ResumeNumber(PauseNumber):
    """Let a paused or blocked number send again."""

    _state, _reason = "active", ""


def _found(row: dict[str, Any] | None, number: str) -> dict[str, Any]:
    if row is None:
        raise NotFound(f"There is no number {number}", code="number_not_found")
    return row


ROUTES = [
    ("/phone-numbers", PhoneNumbers),
    ("/phone-numbers/{number}", PhoneNumber),
    ("/phone-numbers/{number}/sync", SyncNumber),
    ("/phone-numbers/{number}/pause", PauseNumber),
    ("/phone-numbers/{number}/resume", ResumeNumber),
]
