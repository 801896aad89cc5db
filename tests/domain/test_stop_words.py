"""Promise 6: which replies are an opt-out. Only a whole message counts."""

from typing import Any

import pytest

from titanflow.domain.folding import fold
from titanflow.domain.stop_words import START_WORDS, STOP_WORDS, intent, is_stop_word


def _text(body: Any) -> dict[str, Any]:
    return {"type": "text", "text": {"body": body}}


@pytest.mark.parametrize(
    "said",
    [
        "Stop",
        "STOP!!!",
        " stop. ",
        "ＳＴＯＰ",
        "Unsubscribe",
        "¡Baja!",
        "Não quero mais",
        "PARAR",
        "arret",
        "Arrêt",
        "Abmelden",
        "बंद करो",
        "إيقاف",
        "الغاء",
        "стоп",
        "退订",
        "수신거부",
        "ÇIK",
        "“stop”",
        "stop 🛑",
        "Stop\npromotions",
    ],
)
def test_a_word_of_stopping_in_any_language(said: str) -> None:
    """Weakness S2 of the Elixir system: "stop" inside any word triggered it, and no other language was known."""
    assert intent("text", _text(said)) == "stop"


@pytest.mark.parametrize(
    "said",
    [
        "Please don't stop",
        "nonstop",
        "stop it, you are too kind",
        "bus stop?",
        "",
        "🛑",
        "Pare e pense",
        "x" * 5000,
        None,
        {"a": 1},
        "stop " * 20,
        "stopping",
    ],
)
def test_stop_inside_a_sentence_is_no_opt_out(said: Any) -> None:
    assert intent("text", _text(said)) is None


def test_start_takes_it_back_and_no_word_means_both() -> None:
    assert intent("text", _text("Start")) == "start"
    assert intent("text", _text("शुरू करो")) == "start"
    assert not STOP_WORDS & START_WORDS


@pytest.mark.parametrize(
    ("kind", "content", "wish"),
    [
        ("button", {"button": {"payload": "STOP:7:1", "text": "No thanks"}}, "stop"),
        ("button", {"button": {"payload": "START:7:1", "text": "Yes"}}, "start"),
        ("button", {"button": {"payload": "Stop promotions", "text": "Stop promotions"}}, "stop"),
        ("button", {"button": {"payload": "REPLY:7:0", "text": "Tell me more"}}, None),
        (
            "interactive",
            {"interactive": {"type": "button_reply", "button_reply": {"id": "STOP:1", "title": "x"}}},
            "stop",
        ),
        ("interactive", {"interactive": {"type": "list_reply", "list_reply": {"id": "s1", "title": "Baja"}}}, "stop"),
        ("interactive", {"interactive": {"type": "nfm_reply", "nfm_reply": {}}}, None),
        ("image", {"image": {"id": "1", "caption": "stop"}}, None),
        ("text", {}, None),
        ("button", {"button": ["STOP:1"]}, None),
    ],
)
def test_buttons_count_by_payload_and_by_text(kind: str, content: dict[str, Any], wish: str | None) -> None:
    assert intent(kind, content) == wish


def test_lists_are_written_as_people_write_and_compared_folded() -> None:
    assert all(fold(word) == word for word in STOP_WORDS | START_WORDS)
    assert is_stop_word("Parar promoções")
