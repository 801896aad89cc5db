"""Whatever Meta's object looks like, a message can be shown."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titanflow.domain import inbox

_KINDS = (
    "text", "button", "interactive", "template", "reaction", "location", "contacts", "order", "system", "unsupported",
    *inbox.MEDIA_KINDS,
)  # fmt: skip
_NAMES = (
    *_KINDS,
    "body",
    "id",
    "emoji",
    "name",
    "phones",
    "button_reply",
    "list_reply",
    "nfm_reply",
    "context",
    "text",
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=3),
    max_leaves=6,
)


@given(kind=st.sampled_from(_KINDS) | st.text(max_size=5), content=st.dictionaries(st.sampled_from(_NAMES), _json))
@settings(max_examples=300)
def test_any_object_can_be_shown(kind: str, content: dict[str, Any]) -> None:
    shown = inbox.shaped(kind, content)

    assert isinstance(shown["kind"], str)
    assert shown["text"] is None or isinstance(shown["text"], str)
    orjson.dumps(shown)
    inbox.media_of(kind, content)


@pytest.mark.parametrize(
    ("kind", "content", "text", "more"),
    [
        ("text", {"text": {"body": "hi"}, "context": {"id": "w1"}}, "hi", {"reply_to": "w1"}),
        ("reaction", {"reaction": {"message_id": "w1", "emoji": ""}}, None,
         {"reaction": {"emoji": None, "message": "w1"}}),
        ("interactive", {"interactive": {"list_reply": {"id": "s1", "title": "Center"}}}, "Center",
         {"choice": {"id": "s1", "title": "Center", "of": "list"}}),
        ("unsupported", {"errors": [{"code": 131051}]}, None, {"errors": [{"code": 131051}]}),
        ("edit", {"edit": {}}, None, {"kind": "unsupported"}),
    ],
)  # fmt: skip
def test_what_is_shown_of_each(kind: str, content: dict[str, Any], text: str | None, more: dict[str, Any]) -> None:
    shown = inbox.shaped(kind, content)
    assert shown["text"] == text
    assert {key: shown[key] for key in more} == more


def test_a_template_reads_as_people_get_it() -> None:
    components: list[dict[str, Any]] = [
        {"type": "HEADER", "format": "TEXT", "text": "Dear {{1}}"},
        {"type": "BODY", "text": "Your code {{code}} and {{2}}"},
        {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "Yes"}]},
    ]
    text = inbox.template_text(components, {"header.1": "Ana", "body.code": "{{2}}"})
    assert text == "Dear Ana\nYour code {{2}} and {{2}}\n[Yes]"


def test_a_window_is_24_hours() -> None:
    wrote = datetime(2026, 1, 1, tzinfo=UTC)
    assert inbox.window_ends_at(wrote) == wrote + timedelta(hours=24)
    assert inbox.window_ends_at(None) is None
