"""/settings: what is chosen for all conversations; and the switch of one."""

from typing import Annotated

import falcon
from pydantic import Field

from titanflow.domain.opt_out import Language
from titanflow.domain.stop_words import LONGEST
from titanflow.http.answers import conversation_rules as answers
from titanflow.http.bodies import Body, read_json
from titanflow.http.context import Context
from titanflow.http.contract import operation
from titanflow.services import conversation_rules as service

_NO_NUL = r"^[^\x00]*$"
Word = Annotated[str, Field(min_length=1, max_length=LONGEST, pattern=_NO_NUL)]
Words = Annotated[list[Word], Field(max_length=100)]
Reply = Annotated[str, Field(min_length=1, max_length=1024, pattern=_NO_NUL)]


class OptOutLanguage(Body):
    """One language's words, each a whole message, and what is answered to them; no text: another language answers."""

    language: str = Field(pattern=r"^[a-z]{2,3}(_[A-Za-z0-9]{2,8})?$", description="As templates have it: pt, pt_BR")
    stop: Words = Field(default_factory=list)
    start: Words = Field(default_factory=list)
    stop_reply: Reply | None = None
    start_reply: Reply | None = None


class OptOutWords(Body):
    """All words of opting out and in. languages null: the built-in ones."""

    languages: list[OptOutLanguage] | None = Field(default=None, max_length=100)
    confirm: bool = Field(default=True, description="Answer STOP and START, at most once a person and day")


class OptOut:
    """The words."""

    scopes = {"GET": "read", "PUT": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.OptOutNow)
    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Answer the words that hold now; built_in: nobody has written others."""
        response.media = service.opt_out(self._context.db)

    @operation(answers.OptOutNow, body=OptOutWords, problems=("opt_out_words",))
    def on_put(self, request: falcon.Request, response: falcon.Response) -> None:
        """Put these words in the place of all others, from the next message on. 422 opt_out_words."""
        asked = read_json(request, OptOutWords)
        languages = None if asked.languages is None else [_language(one) for one in asked.languages]
        response.media = service.write_opt_out(self._context.db, languages, confirm=asked.confirm)


def _language(one: OptOutLanguage) -> Language:
    return Language(one.language, tuple(one.stop), tuple(one.start), one.stop_reply, one.start_reply)


class ConversationSettings(Body):
    """What is to be changed."""

    reply_window_hours: int | None = Field(default=None, ge=1, le=720)
    faqs_on: bool | None = None
    faq_per_hour: int | None = Field(default=None, ge=1, le=60)
    faq_per_day: int | None = Field(default=None, ge=1, le=500)
    faq_max_age_minutes: int | None = Field(default=None, ge=1, le=1440)


class Conversations:
    """Windows, bounds, and the switch of all automatic answers."""

    scopes = {"GET": "read", "PATCH": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.ConversationSettingsNow)
    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Answer all."""
        response.media = service.settings(self._context.db)

    @operation(answers.ConversationSettingsNow, body=ConversationSettings)
    def on_patch(self, request: falcon.Request, response: falcon.Response) -> None:
        """Change what is given, from the next message on."""
        asked = read_json(request, ConversationSettings)
        response.media = service.change_settings(self._context.db, asked.model_dump())


class AutoReplies(Body):
    """Whether frequent questions are answered by themselves."""

    on: bool


class AutoRepliesOfPerson:
    """The switch of one person's conversations."""

    scopes = {"PUT": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.AutoRepliesNow, body=AutoReplies, problems=("conversation_not_found",))
    def on_put(self, request: falcon.Request, response: falcon.Response, phone: str) -> None:
        """Switch automatic answers on or off; confirmations of STOP and START stay. 404 conversation_not_found."""
        response.media = service.switch_auto_replies(self._context.db, phone, on=read_json(request, AutoReplies).on)


ROUTES: list[tuple[str, type]] = [
    ("/settings/opt-out", OptOut),
    ("/settings/conversations", Conversations),
    ("/conversations/{phone}/auto-replies", AutoRepliesOfPerson),
]
