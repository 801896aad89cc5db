"""/conversations: the inbox."""

from typing import Annotated, Literal, Self

import falcon
from pydantic import AfterValidator, Field, model_validator

from titanflow.http.answers import inbox as answers
from titanflow.http.bodies import Body, cursor_of, limit_of, read_json
from titanflow.http.context import Context
from titanflow.http.contract import Flag, ListQuery, Page, Query, Text, operation, query_of
from titanflow.services import inbox as service
from titanflow.storage.conversations import Filters

_Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
_Label = Annotated[str, Field(min_length=1, max_length=50)]
_WHICH = "The number of ours; if left out, the one that the person wrote to last"
_PHONE_PROBLEMS = ("invalid_phone", "conversation_not_found")


def _sorted(labels: list[str]) -> list[str]:
    return sorted(set(labels))


class NumberQuery(Query):
    """Which of our numbers."""

    phone_number_id: Text | None = Field(default=None, description=_WHICH)


class ConversationsQuery(ListQuery):
    """Filters; all given ones must fit."""

    cursor: str = Field(default="", pattern=r"^[0-9-]{0,40}$", description="next_cursor of the page before")
    unread: Flag | None = Field(default=None, description="true: with something unread; false: without")
    assigned_to: Text | None = None
    unassigned: Flag = Field(default=False, description="Assigned to nobody")
    label: Text | None = None
    phone_number_id: Text | None = Field(default=None, description="With this number of ours")
    archived: Literal["true", "false", "all"] = "false"
    q: Text | None = Field(
        default=None, description="Words of a message or of the name, the last may be unfinished; or how the phone"
        " begins, or its last digits",
    )  # fmt: skip
    sort: Literal["recent", "created"] = Field(
        default="recent", description="recent: latest message first; one that moves up meanwhile is on the first page."
        " created: by age; a walk through all pages sees each conversation exactly once",
    )  # fmt: skip


class MessagesQuery(ListQuery):
    """Which messages."""

    phone_number_id: Text | None = Field(default=None, description=_WHICH)
    order: Literal["newest", "oldest"] = Field(
        default="newest", description="oldest, with cursor = an id: what has come after that message"
    )


class ConversationChange(Body):
    """What may be changed; what is absent stays."""

    assigned_to: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    labels: Annotated[list[_Label], Field(max_length=50), AfterValidator(_sorted)] = []
    archived: bool = False
    read_up_to: _Id = Field(
        default=1, description="The id of the last message that was seen: what came later stays unread"
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give something to change")
        return self


class TemplateReply(Body):
    """A template: by id, or by name and language, of the number's account."""

    id: _Id | None = None
    name: str | None = Field(default=None, min_length=1, max_length=512)
    language: str | None = Field(default=None, min_length=2, max_length=20)
    parameters: dict[Annotated[str, Field(max_length=100)], Annotated[str, Field(max_length=1024)]] = Field(
        default={}, max_length=50, description='As in a campaign: {"body.1": "Ana", "button.0.1": "X1"}'
    )

    @model_validator(mode="after")
    def _named(self) -> Self:
        if (self.id is None) == (self.name is None) or (self.name is None) != (self.language is None):
            raise ValueError("give either id, or name and language")
        return self


class NewReply(Body):
    """One of text, template, media_id; a template may have media_id for its header."""

    text: str | None = Field(default=None, min_length=1, max_length=4096)
    template: TemplateReply | None = None
    media_id: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(default=None, description="A file of /media")
    caption: str | None = Field(default=None, min_length=1, max_length=1024)
    reply_to: _Id | None = Field(default=None, description="The id of the message that it quotes")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.text is not None and (self.template or self.media_id):
            raise ValueError("give one of text, template, media_id")
        if self.text is None and self.template is None and self.media_id is None:
            raise ValueError("give one of text, template, media_id")
        if self.text is not None and not self.text.strip():
            raise ValueError("text is empty")
        if self.caption is not None and (self.media_id is None or self.template is not None):
            raise ValueError("caption goes with media_id alone")
        return self

    def answer(self) -> service.Answer:
        """As the service takes it."""
        one = self.template
        template = service.TemplateOf(one.id, one.name, one.language, one.parameters) if one is not None else None
        return service.Answer(self.text, template, self.media_id, self.caption, self.reply_to)


class Conversations:
    """All conversations."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(Page[answers.Conversation], query=ConversationsQuery)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer a page, the latest message's conversation first."""
        query = query_of(request, ConversationsQuery)
        filters = Filters(
            unread=query.unread,
            assigned_to=query.assigned_to,
            unassigned=query.unassigned,
            label=query.label,
            phone_number_id=query.phone_number_id,
            archived={"true": True, "false": False, "all": None}[query.archived],
            q=query.q,
        )
        response.media = service.page(
            self._context.db,
            filters,
            after=query.cursor,
            limit=limit_of(request),
            oldest_first=query.sort == "created",
        )


class Conversation:
    """One person with one of our numbers."""

    scopes = {"GET": "read", "PATCH": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.OneConversation, query=NumberQuery, problems=_PHONE_PROBLEMS)
    def on_get(self, request: falcon.Request, response: falcon.Response, phone: str) -> None:
        """Answer it: unread, assignment, labels, the service window."""
        number = query_of(request, NumberQuery).phone_number_id
        response.media = service.get(self._context.db, phone, number)

    @operation(answers.OneConversation, query=NumberQuery, body=ConversationChange, problems=_PHONE_PROBLEMS)
    def on_patch(self, request: falcon.Request, response: falcon.Response, phone: str) -> None:
        """Assign it, label it, archive it (a new message takes it out again), mark it read up to a message."""
        given = read_json(request, ConversationChange).model_dump(exclude_unset=True)
        number = query_of(request, NumberQuery).phone_number_id
        response.media = service.change(self._context.db, phone, number, given)


class ConversationMessages:
    """What was said, and what to say next."""

    scopes = {"GET": "read", "POST": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(Page[answers.InboxMessage], query=MessagesQuery, problems=_PHONE_PROBLEMS)
    def on_get(self, request: falcon.Request, response: falcon.Response, phone: str) -> None:
        """Answer a page of messages, by id."""
        query = query_of(request, MessagesQuery)
        response.media = service.messages(
            self._context.db,
            phone,
            query.phone_number_id,
            after=cursor_of(request),
            limit=limit_of(request),
            oldest_first=query.order == "oldest",
        )

    @operation(
        answers.InboxMessage,
        status=201,
        query=NumberQuery,
        body=NewReply,
        problems=(
            *_PHONE_PROBLEMS, "message_not_found", "window_closed", "suppressed", "unknown_number", "unknown_template",
            "unknown_media", "missing_parameter", "template_not_approved", "template_of_other_account",
        ),
    )  # fmt: skip
    def on_post(self, request: falcon.Request, response: falcon.Response, phone: str) -> None:
        """Reply by text, template or file. 201 with the message, `queued`: it leaves in a moment, follow its state.

        409 window_closed: more than 24 hours since the person wrote, send a template. A template to somebody who never
        wrote needs phone_number_id.
        """
        asked = read_json(request, NewReply)
        number = query_of(request, NumberQuery).phone_number_id
        response.media = service.reply(
            self._context.db,
            self._context.fast_copy,
            self._context.vault,
            phone,
            number,
            asked.answer(),
            who=request.context.who,
        )
        response.status = 201


class ConversationMessage:
    """One message."""

    scopes = {"DELETE": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.InboxMessage, query=NumberQuery, problems=(*_PHONE_PROBLEMS, "message_not_found", "not_queued"))
    def on_delete(self, request: falcon.Request, response: falcon.Response, phone: str, message_id: int) -> None:
        """Call a reply off that is still queued; it stays as `cancelled`. 409 not_queued if it is too late."""
        number = query_of(request, NumberQuery).phone_number_id
        response.media = service.cancel(self._context.db, phone, number, message_id)


ROUTES: list[tuple[str, type]] = [
    ("/conversations", Conversations),
    ("/conversations/{phone}", Conversation),
    ("/conversations/{phone}/messages", ConversationMessages),
    ("/conversations/{phone}/messages/{message_id:int}", ConversationMessage),
]
