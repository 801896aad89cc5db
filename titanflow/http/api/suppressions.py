"""/suppressions: the do-not-send list."""

import base64
from datetime import UTC, datetime
from typing import Literal

import falcon
from pydantic import AwareDatetime, Field, field_validator

from titanflow.http.answers import things as answers
from titanflow.http.bodies import Body, read_json
from titanflow.http.context import Context
from titanflow.http.contract import Flag, ListQuery, Page, Text, operation, query_of
from titanflow.http.lists import page_of
from titanflow.services import erasure
from titanflow.services import suppressions as service
from titanflow.storage import suppressions
from titanflow.storage.suppressions import Suppression

_MOST = 10_000


class SuppressionFields(Body):
    """Why a person must not be sent to. expires_at absent: for good."""

    reason: Literal["opted_out", "blacklisted"] = "blacklisted"
    source: str = Field(default="api", pattern=r"^[a-z][a-z0-9_.-]{0,49}$", description="Who says so, such as crm")
    note: str | None = Field(default=None, max_length=500, pattern=r"^[^\x00]*$")
    expires_at: AwareDatetime | None = None

    @field_validator("source")
    @classmethod
    def _free(cls, source: str) -> str:
        if source in service.RESERVED_SOURCES:
            raise ValueError(f"'{source}' is what the engine itself writes there; use another name")
        return source

    @field_validator("expires_at")
    @classmethod
    def _to_come(cls, at: datetime | None) -> datetime | None:
        if at is not None and at <= datetime.now(UTC):
            raise ValueError("it is over already")
        return at


class ListedSuppression(SuppressionFields):
    """One person of a list."""

    phone: str = Field(min_length=1, max_length=200)


class SuppressionList(Body):
    """Up to 10,000 people at once."""

    items: list[ListedSuppression] = Field(min_length=1, max_length=_MOST)


class SuppressionsQuery(ListQuery):
    """Filters; all given ones must fit."""

    cursor: str = Field(default="", pattern=r"^[A-Za-z0-9_-]{0,300}$", description="next_cursor of the page before")
    reason: Literal["opted_out", "blacklisted", "invalid_number", "recently_messaged"] | None = None
    source: Text | None = Field(default=None, description="Who said so")
    search: Text | None = Field(default=None, description="Part of the phone or the note")
    active: Flag | None = Field(default=None, description="false: those that are over")


class Suppressions:
    """List, and add many."""

    scopes = {"GET": "read", "POST": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(Page[answers.SuppressionRow], query=SuppressionsQuery)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer a page, by phone. Filters: reason, source, active (true, false), search (in phone and note)."""
        query = query_of(request, SuppressionsQuery)
        response.media = page_of(
            request,
            lambda after, limit: suppressions.page(
                self._context.db,
                after=after,
                limit=limit,
                reason=query.reason,
                source=query.source,
                search=query.search,
                active=query.active,
            ),
            start="",
            key="phone",
            read=_phone_of,
            write=_cursor_of,
        )

    @operation(answers.SuppressionsAdded, body=SuppressionList)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Add a list: {"added", "changed", "unchanged", "rejected": [...], "pending_contacts"}. Nothing gets weaker."""
        given = read_json(request, SuppressionList, limit=8 * 1024 * 1024).items
        wanted = [Suppression(one.phone, one.reason, one.source, one.note, one.expires_at) for one in given]
        response.media = service.add(self._context.db, wanted, who=request.context.who)


class OneSuppression:
    """One person."""

    scopes = {"GET": "read", "PUT": "send", "DELETE": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.Suppression, problems=("invalid_phone", "not_suppressed"))
    def on_get(self, _: falcon.Request, response: falcon.Response, phone: str) -> None:
        """Answer reason, source, note, since and until when; `is_over`: it has ended. 404 not_suppressed."""
        response.media = erasure.suppression_of(self._context.db, self._context.vault, phone)

    @operation(
        answers.SuppressionWritten,
        also={201: answers.SuppressionWritten},
        body=SuppressionFields,
        problems=("invalid_phone",),
    )
    def on_put(self, request: falcon.Request, response: falcon.Response, phone: str) -> None:
        """Keep a person from being sent to, as given, whatever was kept before. 201 if new, else 200."""
        asked = read_json(request, SuppressionFields)
        is_new, response.media = service.put(
            self._context.db,
            phone,
            reason=asked.reason,
            source=asked.source,
            note=asked.note,
            expires_at=asked.expires_at,
            who=request.context.who,
        )
        response.status = 201 if is_new else 200

    @operation(status=204, problems=("invalid_phone", "not_suppressed"))
    def on_delete(self, request: falcon.Request, response: falcon.Response, phone: str) -> None:
        """Let a person be sent to again. 404 not_suppressed."""
        erasure.lift(self._context.db, self._context.vault, phone, who=request.context.who)
        response.status = 204


def _cursor_of(phone: str) -> str:
    return base64.urlsafe_b64encode(phone.encode()).decode().rstrip("=")


def _phone_of(cursor: str) -> str:
    phone = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    if "\0" in phone or len(phone) > 200:
        raise ValueError
    return phone


ROUTES: list[tuple[str, type]] = [
    ("/suppressions", Suppressions),
    ("/suppressions/{phone}", OneSuppression),
]
