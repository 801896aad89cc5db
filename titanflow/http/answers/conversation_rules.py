"""What the operations of frequent questions and of the settings of conversations answer."""

from datetime import datetime

from pydantic import Field

from titanflow.http.contract import Answer


class Faq(Answer):
    """A rule that answers a frequent question."""

    id: int
    position: int
    name: str
    keywords: list[str]
    answer: str
    on: bool
    created_at: datetime
    updated_at: datetime


class FaqMatch(Answer):
    """A rule with a keyword in the text."""

    faq_id: int
    keyword: str


class FaqTrialResult(Answer):
    """Which rule would answer, and why."""

    answers: bool
    why: str
    faq_id: int | None
    answer: str | None
    matches: list[FaqMatch] = Field(description="All rules with a keyword in the text, in order")


class OptOutLanguageNow(Answer):
    """One language's words and answers."""

    language: str
    stop: list[str]
    start: list[str]
    stop_reply: str | None
    start_reply: str | None


class OptOutNow(Answer):
    """The words of opting out and in that hold now."""

    confirm: bool
    built_in: bool = Field(description="Nobody has written other words")
    languages: list[OptOutLanguageNow]


class ConversationSettingsNow(Answer):
    """What is chosen for all conversations."""

    reply_window_hours: int
    faqs_on: bool
    faq_per_hour: int
    faq_per_day: int
    faq_max_age_minutes: int


class AutoRepliesNow(Answer):
    """The switch of a person's conversations."""

    phone: str
    auto_replies_on: bool
