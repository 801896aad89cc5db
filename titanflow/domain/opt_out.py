"""The words of opting out and in, by language, and what is answered to them. Pure.

An operator may write all of it anew; until then the built-in lists hold. Which text answers: the language of the
campaign that was answered if it has the word, else the first language that has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from titanflow.domain import stop_words
from titanflow.domain.folding import fold
from titanflow.domain.opt_out_texts import START_REPLIES, STOP_REPLIES
from titanflow.domain.stop_words import LONGEST, Wish, Words


@dataclass(frozen=True, slots=True)
class Language:
    """One language's words, as people write them, and its answers; None: another language answers."""

    language: str
    stop: tuple[str, ...]
    start: tuple[str, ...]
    stop_reply: str | None = None
    start_reply: str | None = None


BUILT_IN = tuple(
    Language(
        language,
        words,
        stop_words.by_language("start").get(language, ()),
        STOP_REPLIES[language],
        START_REPLIES[language],
    )
    for language, words in stop_words.by_language("stop").items()
)


@dataclass(frozen=True, slots=True)
class OptOut:
    """All languages, ready to be used."""

    languages: tuple[Language, ...]
    words: Words

    def reply_to(self, wish: Wish, campaign_language: str | None) -> str | None:
        """Return what to answer. campaign_language: of the template that was answered, such as pt_BR."""
        texts = {one.language: one.stop_reply if wish.intent == "stop" else one.start_reply for one in self.languages}
        ours = (campaign_language or "").replace("-", "_")
        preferred = [ours, ours.partition("_")[0]]
        if wish.languages:
            preferred = [one for one in preferred if one in wish.languages]
        return next((text for one in (*preferred, *wish.languages, "en", *texts) if (text := texts.get(one))), None)


def compiled(languages: Sequence[Language]) -> OptOut:
    """Return languages ready to be used."""
    words = stop_words.compiled(
        {one.language: one.stop for one in languages}, {one.language: one.start for one in languages}
    )
    return OptOut(tuple(languages), words)


def problem(languages: Sequence[Language]) -> str | None:
    """Return what is wrong with languages that somebody wrote, in a sentence, None if they can be used."""
    names = [one.language for one in languages]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        return f"the language {twice} is there twice"
    for one in languages:
        for word in (*one.stop, *one.start):
            if len(word) > LONGEST or not fold(word):
                return f"{one.language}: {word!r} is no word of at most {LONGEST} characters"
    words = compiled(languages).words
    if not words.stop:
        return "nobody could opt out: there is no word for it"
    both = next((word for word in words.stop if word in words.start), None)
    return f"{both!r} means both stop and start" if both else None
