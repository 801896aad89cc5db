"""What Meta checks in a message before it takes it, in a plausible order. Raises Refusal."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from titanflow.sandbox.errors import Refusal

_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_TO = re.compile(r"\+?[\d\s()\-]{6,20}")
_BAD_TEXT = re.compile(r"[\n\t]| {5,}")


@dataclass
class Template:
    """A template as this Meta has it."""

    id: str
    name: str
    language: str
    components: list[dict[str, Any]]
    status: str = "APPROVED"
    category: str = "MARKETING"
    parameter_format: str = "POSITIONAL"
    quality: str = "GREEN"
    expected: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.expected = _expected(self.components)

    def as_graph(self) -> dict[str, Any]:
        """As the Graph API lists it."""
        return {
            "id": self.id,
            "name": self.name,
            "language": self.language,
            "status": self.status,
            "category": self.category,
            "parameter_format": self.parameter_format,
            "quality_score": {"score": self.quality},
            "rejected_reason": "NONE",
            "components": self.components,
        }


def check_message(body: Any, templates: Mapping[tuple[str, str], Template]) -> tuple[str, str]:
    """Check a message. Returns the recipient in E.164 form and the template's name ("" for free-form ones)."""
    if not isinstance(body, dict) or body.get("messaging_product") != "whatsapp":
        raise Refusal(100, "The parameter messaging_product is required.")
    to = body.get("to")
    if not isinstance(to, str) or not _TO.fullmatch(to):
        raise Refusal(131009, f"Parameter value is not valid: to {to!r}")
    echo = body.get("biz_opaque_callback_data", "")
    if not isinstance(echo, str) or len(echo) > 512:
        raise Refusal(100, "biz_opaque_callback_data must be a string of at most 512 characters")
    recipient = "+" + re.sub(r"\D", "", to)
    if body.get("type") != "template":
        if not isinstance(body.get(str(body.get("type", "text"))), dict):
            raise Refusal(131008, "A required parameter is missing")
        return recipient, ""
    template = body.get("template")
    if not isinstance(template, dict) or not isinstance(template.get("language"), dict):
        raise Refusal(131008, "template.name and template.language are required")
    known = templates.get((str(template.get("name")), str(template["language"].get("code"))))
    if known is None:
        raise Refusal(132001, f"template name ({template.get('name')}) does not exist", status=404)
    if known.status == "PAUSED":
        raise Refusal(132015, "Template is paused due to low quality")
    if known.status == "DISABLED":
        raise Refusal(132016, "Template is disabled")
    if known.status != "APPROVED":
        raise Refusal(132001, f"template name ({known.name}) is not approved", status=404)
    _check_components(template.get("components") or [], known)
    return recipient, known.name


def _expected(components: list[dict[str, Any]]) -> dict[str, Any]:
    expected: dict[str, Any] = {"header": None, "body": [], "buttons": {}}
    for component in components:
        kind = component.get("type")
        if kind == "HEADER" and component.get("format", "TEXT") != "TEXT":
            expected["header"] = str(component["format"]).lower()
        elif kind == "HEADER" and _PLACEHOLDER.search(str(component.get("text", ""))):
            expected["header"] = "text"
        elif kind == "BODY":
            expected["body"] = list(dict.fromkeys(_PLACEHOLDER.findall(str(component.get("text", "")))))
        elif kind == "BUTTONS":
            for index, button in enumerate(component.get("buttons", [])):
                if button.get("type") == "URL" and "{{" in str(button.get("url", "")):
                    expected["buttons"][index] = "text"
                elif button.get("type") == "COPY_CODE":
                    expected["buttons"][index] = "coupon_code"
    return expected


def _check_components(components: list[Any], template: Template) -> None:
    header: list[Any] | None = None
    body: list[Any] = []
    buttons: dict[int, list[Any]] = {}
    for component in components:
        kind = component.get("type") if isinstance(component, dict) else None
        parameters = component.get("parameters") or [] if isinstance(component, dict) else []
        if kind == "header":
            header = parameters
        elif kind == "body":
            body = parameters
        elif kind == "button":
            buttons[int(component.get("index", -1))] = parameters
        else:
            raise Refusal(100, f"Unexpected component {kind!r}")
    expected = template.expected
    if len(body) != len(expected["body"]):
        raise Refusal(
            132000, f"body: number of localizable_params ({len(body)}) does not match {len(expected['body'])}"
        )
    _check_texts(body, expected["body"], template.parameter_format)
    _check_header(header, expected["header"])
    if set(buttons) != set(expected["buttons"]):
        raise Refusal(132000, f"buttons: {sorted(buttons)} given, {sorted(expected['buttons'])} expected")
    for index, kind in expected["buttons"].items():
        if not any(isinstance(one, dict) and one.get("type") == kind and one.get(kind) for one in buttons[index]):
            raise Refusal(132012, f"button {index}: a parameter of type {kind} is expected")


def _check_texts(parameters: list[Any], names: list[str], parameter_format: str) -> None:
    for parameter, name in zip(parameters, names, strict=True):
        if not isinstance(parameter, dict) or parameter.get("type") != "text":
            raise Refusal(132012, "body: parameters must be of type text")
        text = parameter.get("text")
        if not isinstance(text, str) or not text or _BAD_TEXT.search(text):
            raise Refusal(132018, "body: a text is empty, or has new-line, tab or more than four spaces")
        if len(text) > 1024:
            raise Refusal(132005, "Translated text too long")
        if parameter_format == "NAMED" and parameter.get("parameter_name") not in names:
            raise Refusal(132012, f"body: parameter_name {parameter.get('parameter_name')!r} is unknown")
        if parameter_format == "POSITIONAL" and "parameter_name" in parameter:
            raise Refusal(132012, f"body: parameter {name} must not be named")


def _check_header(parameters: list[Any] | None, expected: str | None) -> None:
    given = parameters[0].get("type") if parameters and isinstance(parameters[0], dict) else None
    if given != expected:
        raise Refusal(132012, f"header: Format mismatch, expected {expected}, received {given}")
    if parameters and expected in ("image", "video", "document"):
        media = parameters[0].get(expected)
        if not isinstance(media, dict) or not (media.get("id") or str(media.get("link", "")).startswith("http")):
            raise Refusal(131009, "header: media needs an id or an http(s) link")
