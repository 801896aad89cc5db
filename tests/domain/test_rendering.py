"""Rendering: exactly what Meta's page "Template" asks for."""

from typing import Any

from titanflow.domain.rendering import MissingValue, compile_template, media_kind, parameters

_COMPONENTS: list[dict[str, Any]] = [
    {"type": "HEADER", "format": "IMAGE"},
    {"type": "BODY", "text": "Hi {{1}}, {{2}} off until {{3}}"},
    {"type": "FOOTER", "text": "Reply STOP"},
    {
        "type": "BUTTONS",
        "buttons": [
            {"type": "URL", "text": "Shop", "url": "https://shop.example.com/{{1}}"},
            {"type": "QUICK_REPLY", "text": "Stop"},
            {"type": "COPY_CODE", "example": "BF26"},
            {"type": "URL", "text": "Home", "url": "https://shop.example.com/"},
        ],
    },
]


def test_parameters_are_found_in_metas_order() -> None:
    assert parameters(_COMPONENTS) == ("header.link", "body.1", "body.2", "body.3", "button.0.1", "button.2.1")


def test_a_template_with_everything() -> None:
    template = compile_template(
        5,
        "sale",
        "en_US",
        _COMPONENTS,
        variables={
            "body.1": {"column": "first_name", "default": "there"},
            "body.2": {"value": "30%"},
            "body.3": {"column": "until"},
            "button.0.1": {"column": "code"},
            "button.2.1": {"column": "code"},
        },
        media={"link": "https://cdn.example.com/a.jpg"},
    )

    assert template.render({"first_name": "Ana", "until": "Friday", "code": "X1"}) == {
        "name": "sale",
        "language": {"code": "en_US"},
        "components": [
            {"type": "header", "parameters": [{"type": "image", "image": {"link": "https://cdn.example.com/a.jpg"}}]},
            {
                "type": "body",
                "parameters": [
                    {"type": "text", "text": "Ana"},
                    {"type": "text", "text": "30%"},
                    {"type": "text", "text": "Friday"},
                ],
            },
            {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "X1"}]},
            {
                "type": "button",
                "sub_type": "copy_code",
                "index": "2",
                "parameters": [{"type": "coupon_code", "coupon_code": "X1"}],
            },
            {
                "type": "button",
                "sub_type": "quick_reply",
                "index": "1",
                "parameters": [{"type": "payload", "payload": "STOP:5:1"}],
            },
        ],
    }


def test_named_parameters_carry_their_name_and_take_their_own_column() -> None:
    components = [{"type": "BODY", "text": "Hi {{first_name}}"}]
    template = compile_template(1, "t", "de", components, variables={}, media={})

    rendered = template.render({"first_name": "Jo"})

    assert isinstance(rendered, dict)
    assert rendered["components"][0]["parameters"] == [{"type": "text", "text": "Jo", "parameter_name": "first_name"}]


def test_ten_positional_parameters_stay_in_numeric_order() -> None:
    """Weakness U3 of the Elixir system: from ten variables on they were put in text order, var10 before var2."""
    text = " ".join(f"{{{{{n}}}}}" for n in range(1, 12))
    assert parameters([{"type": "BODY", "text": text}]) == tuple(f"body.{n}" for n in range(1, 12))


def test_values_are_made_fit_for_meta() -> None:
    components = [{"type": "BODY", "text": "{{1}}"}]
    template = compile_template(1, "t", "de", components, variables={"body.1": {"column": "x"}}, media={})

    rendered = template.render({"x": " a\nb\tc      d "})

    assert isinstance(rendered, dict)
    assert rendered["components"][0]["parameters"][0]["text"] == "a b c d"


def test_a_missing_value_without_default_is_said() -> None:
    components = [{"type": "BODY", "text": "{{1}}"}]
    template = compile_template(1, "t", "de", components, variables={"body.1": {"column": "x"}}, media={})

    assert template.render({"x": "  "}) == MissingValue("body.1", "x")


def test_a_template_without_parameters_has_no_components() -> None:
    template = compile_template(1, "t", "de", [{"type": "BODY", "text": "Hi"}], variables={}, media={})
    assert template.render({}) == {"name": "t", "language": {"code": "de"}}


def _header(**given: Any) -> Any:
    components = [{"type": "HEADER", "format": given.pop("format", "DOCUMENT")}]
    template = compile_template(1, "t", "de", components, variables=given.pop("variables", {}), media=given)
    rendered = template.render({"link": "https://a.example/own.pdf"})
    assert isinstance(rendered, dict)
    return rendered["components"][0]["parameters"][0]


def test_a_header_by_metas_id_in_place_of_a_link() -> None:
    assert _header(id="77", filename="offer.pdf") == {
        "type": "document",
        "document": {"id": "77", "filename": "offer.pdf"},
    }
    assert _header(format="VIDEO", id="77", filename="x.mp4") == {"type": "video", "video": {"id": "77"}}


def test_a_link_of_ones_own_comes_before_the_campaigns_media() -> None:
    bound = {"header.link": {"column": "link"}}
    assert _header(id="77", variables=bound)["document"] == {"link": "https://a.example/own.pdf"}
    assert media_kind([{"type": "HEADER", "format": "DOCUMENT"}], bound) is None


def test_only_a_media_header_needs_media() -> None:
    assert media_kind([{"type": "HEADER", "format": "IMAGE"}], {}) == "image"
    assert media_kind([{"type": "HEADER", "format": "TEXT", "text": "Hi"}, {"type": "BODY", "text": "x"}], {}) is None


def test_quick_replies_carry_a_stable_payload_and_may_have_ones_own() -> None:
    buttons = [{"type": "QUICK_REPLY", "text": "Tell me more"}, {"type": "QUICK_REPLY", "text": "Stop promotions"}]
    components: list[dict[str, Any]] = [{"type": "BODY", "text": "Hi"}, {"type": "BUTTONS", "buttons": buttons}]
    plain = compile_template(9, "t", "de", components, variables={}, media={}).render({})
    bound = {"button.0.1": {"value": "MORE"}, "button.1.1": {"column": "tag"}}
    own = compile_template(9, "t", "de", components, variables=bound, media={}).render({})

    assert [one["parameters"][0]["payload"] for one in _buttons(plain)] == ["REPLY:9:0", "STOP:9:1"]
    assert [one["parameters"][0]["payload"] for one in _buttons(own)] == ["MORE", "STOP:9:1"]
    assert parameters(components) == ()


def _buttons(rendered: Any) -> list[Any]:
    assert isinstance(rendered, dict)
    return list(rendered["components"])
