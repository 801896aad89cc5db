"""The words of opting out as an operator may write them, and which text answers."""

import pytest

from titanflow.domain.opt_out import BUILT_IN, Language, compiled, problem
from titanflow.domain.stop_words import START_WORDS, STOP_WORDS, intent, wish


def _text(body: str) -> dict[str, object]:
    return {"text": {"body": body}}


def test_the_built_in_lists_are_usable_and_answer_in_every_language() -> None:
    assert problem(BUILT_IN) is None
    assert all(one.stop_reply and one.start_reply for one in BUILT_IN)
    assert {word for one in BUILT_IN for word in one.stop if intent("text", _text(word)) != "stop"} == set()


@pytest.mark.parametrize("one", BUILT_IN, ids=[one.language for one in BUILT_IN])
def test_each_text_names_a_word_that_takes_it_back_and_is_none_itself(one: Language) -> None:
    """Else two machines would opt each other out and in."""
    assert one.stop_reply
    assert one.start_reply
    for text, way_back in ((one.stop_reply, "start"), (one.start_reply, "stop")):
        assert intent("text", _text(text)) is None
        parts = [part for piece in text.replace("“", " ").replace("”", " ").split() for part in piece.split("「")]
        named = {intent("text", _text(part.strip(" .,:'").partition("」")[0].partition("'")[0])) for part in parts}
        assert way_back in named


@pytest.mark.parametrize(
    ("said", "campaign", "language"),
    [
        ("stop", None, "en"),
        ("stop", "de", "de"),
        ("stop", "fr_FR", "fr"),
        ("stop", "pt_BR", "en"),  # Portuguese has no "stop": the word's own first language
        ("Abmelden", "en_US", "de"),
        ("parar", "es", "es"),
        ("parar", None, "pt"),
    ],
)
def test_the_campaigns_language_answers_if_it_has_the_word(said: str, campaign: str | None, language: str) -> None:
    rules = compiled(BUILT_IN)
    found = wish("text", _text(said), rules.words)
    assert found is not None
    assert rules.reply_to(found, campaign) == next(one.stop_reply for one in BUILT_IN if one.language == language)


def test_a_button_answers_in_the_campaigns_language() -> None:
    found = wish("button", {"button": {"payload": "STOP:1:2", "text": "No gracias"}})
    assert found is not None
    assert compiled(BUILT_IN).reply_to(found, "es_MX") == next(
        one.stop_reply for one in BUILT_IN if one.language == "es"
    )


def test_own_words_take_the_place_of_the_built_in_ones_and_stay_strict() -> None:
    rules = compiled([Language("eo", ("Fino", "ne plu"), ("ek",), "Bone.")])
    assert intent("text", _text("FINO!"), rules.words) == "stop"
    assert intent("text", _text("ne  plu"), rules.words) == "stop"
    assert intent("text", _text("Ek"), rules.words) == "start"
    assert intent("text", _text("stop"), rules.words) is None
    assert intent("text", _text("fino de la mondo"), rules.words) is None
    assert intent("button", {"button": {"payload": "STOP:1:2", "text": "No"}}, rules.words) == "stop"
    found = wish("text", _text("fino"), rules.words)
    assert found is not None
    assert rules.reply_to(found, "de") == "Bone."


@pytest.mark.parametrize(
    ("languages", "what"),
    [
        ([], "nobody could opt out"),
        ([Language("en", (), ("start",))], "nobody could opt out"),
        ([Language("en", ("stop",), ()), Language("en", ("halt",), ())], "twice"),
        ([Language("en", ("stop",), ()), Language("de", ("halt",), ("STOP!",))], "both stop and start"),
        ([Language("en", ("stop", "!!"), ())], "no word"),
        ([Language("en", ("stop", "x" * 61), ())], "no word"),
    ],
)
def test_what_can_not_be_used_is_said_in_words(languages: list[Language], what: str) -> None:
    assert what in (problem(languages) or "")


def test_the_built_in_lists_are_what_was_known_before() -> None:
    assert len(STOP_WORDS) > 100
    assert len(START_WORDS) > 40
