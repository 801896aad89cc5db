"""Which answer an inbound message gets by itself: the first rule, in the operator's order, with a keyword in it. Pure.

Keywords are whole words or phrases, compared without case and accents; in scripts without spaces between words, any
part of the text. Whether the answer is given at all is bounded, so that two machines never talk to each other for long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from titanflow.domain.folding import unspaced, words

MAX_RULES = 200
MAX_KEYWORDS = 50
MAX_KEYWORD_CHARACTERS = 100
MAX_ANSWER_CHARACTERS = 4_096  # Meta's
_READ_CHARACTERS = 1_000  # of a message: who writes more asks no frequent question


@dataclass(frozen=True, slots=True)
class Faq:
    """One rule."""

    id: int
    keywords: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that has an answer to a message, and the keyword that it has in it."""

    faq: Faq
    keyword: str


@dataclass(frozen=True, slots=True)
class FaqBook:
    """Rules in order, each with its keywords as they are looked for."""

    rules: tuple[tuple[Faq, tuple[tuple[str, str], ...]], ...]

    def matches(self, text: str) -> list[Match]:
        """Return all rules that have an answer, in order: the first one answers."""
        said = words(text[:_READ_CHARACTERS])
        return [
            Match(faq, found)
            for faq, needles in self.rules
            if (found := next((keyword for keyword, needle in needles if needle in said), None)) is not None
        ]


def compiled(faqs: Sequence[Faq]) -> FaqBook:
    """Return rules, given in order, ready to be used."""
    return FaqBook(tuple((faq, tuple((one, _needle(one)) for one in faq.keywords if words(one))) for faq in faqs))


def _needle(keyword: str) -> str:
    found = words(keyword)
    return found.strip() if unspaced(found) else found


@dataclass(frozen=True, slots=True)
class Bounds:
    """What keeps automatic answers from going on and on."""

    per_hour: int
    per_day: int
    max_age_minutes: int


def why_silent(
    bounds: Bounds, *, at: datetime, now: datetime, is_off: bool, in_last_hour: int, in_last_day: int
) -> str | None:
    """Return why a message gets no automatic answer although a rule has one, None if it gets it.

    in_last_hour, in_last_day: automatic answers of this conversation.
    """
    if is_off:
        return "automatic answers are off in this conversation"
    if now - at > timedelta(minutes=bounds.max_age_minutes):
        return f"the message was older than {bounds.max_age_minutes} minutes when it came"
    if in_last_hour >= bounds.per_hour:
        return f"this conversation had {in_last_hour} automatic answers within an hour"
    if in_last_day >= bounds.per_day:
        return f"this conversation had {in_last_day} automatic answers within a day"
    return None
