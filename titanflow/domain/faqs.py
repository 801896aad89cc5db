"""Which answer an inbound message gets by itself: the first rule, in the operator's order, with a keyword in it. Pure.

Keywords are whole words or phrases, compared without case and accents; in scripts without spaces between words, any
part of the text. Whether the answer is given at all is bounded, so that two machines never talk to each other for long.
"""

from collections.abc import Mapping, Sequence
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
class _Needle:
    """A keyword as it is looked for. rule, place: where it stands, for the order."""

    rule: int
    place: int
    text: str


@dataclass(frozen=True, slots=True)
class FaqBook:
    """Rules in order, with their keywords by first word: a message costs its own words, however many rules there are.

    anywhere: keywords of scripts without spaces.
    """

    rules: tuple[Faq, ...]
    by_first_word: Mapping[str, Sequence[_Needle]]
    anywhere: Sequence[_Needle]

    def matches(self, text: str) -> list[Match]:
        """Return all rules that have an answer, in order: the first one answers."""
        said = words(text[:_READ_CHARACTERS])
        near = [needle for word in set(said.split()) for needle in self.by_first_word.get(word, ())]
        found: dict[int, int] = {}
        for one in (*near, *self.anywhere):
            if one.text in said:
                found[one.rule] = min(one.place, found.get(one.rule, one.place))
        return [Match(self.rules[rule], self.rules[rule].keywords[place]) for rule, place in sorted(found.items())]


def compiled(faqs: Sequence[Faq]) -> FaqBook:
    """Return rules, given in order, ready to be used."""
    by_first_word: dict[str, list[_Needle]] = {}
    anywhere = []
    for rule, faq in enumerate(faqs):
        for place, keyword in enumerate(faq.keywords):
            text = words(keyword)
            if unspaced(text):
                anywhere.append(_Needle(rule, place, text.strip()))
            elif text:
                by_first_word.setdefault(text.split()[0], []).append(_Needle(rule, place, text))
    return FaqBook(tuple(faqs), by_first_word, anywhere)


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
