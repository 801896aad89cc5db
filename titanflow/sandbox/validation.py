"""What Meta checks in a message before it takes it, in a plausible order. Raises Refusal."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from titanflow.sandbox.errors import Refusal
from titanflow.sandbox.templates import Template
from titanflow.sandbox.users import USER_ID

_TO = re.compile(r"\+?[\d\s()\-]{6,20}")
_E164 = re.compile(r"\+\d{6,15}")
_NOT_DIGIT = re.compile(r"\D")
_BAD_TEXT = re.compile(r"[\n\t]| {5,}")
_MEDIA = ("image", "video", "document", "audio", "sticker")
_TYPES = (*_MEDIA, "text", "reaction", "interactive", "location", "contacts")
_LONGEST_TEXT = 4096
_LONGEST_COUPON = 15


@dataclass(slots=True)
class Checked:
    """A message that is well formed. to: E.164, or a business-scoped user id; input: as it was given."""

    to: str
    input: str
    echo: str
    template: Template | None = None
    media_id: str | None = None
    media_kind: str = ""
    by_user_id: bool = False

    @property
    def template_name(self) -> str:
        """The template's name, "" for a free-form message."""
        return "" if self.template is None else self.template.name


def check_message(body: Any, templates: Mapping[tuple[str, str], Template], *, marketing_path: bool = False) -> Checked:
    """Check a message."""
    if not isinstance(body, dict) or body.get("messaging_product") != "whatsapp":
        raise Refusal(100, "The parameter messaging_product is required.")
    echo = body.get("biz_opaque_callback_data", "")
    if not isinstance(echo, str) or len(echo) > 512:
        raise Refusal(100, "biz_opaque_callback_data must be a string of at most 512 characters")
    checked = _recipient(body, echo)
    kind = body.get("type", "text")
    if kind != "template":
        if marketing_path:
            raise Refusal(134100)
        _check_free_form(body, kind, checked)
        return checked
    template = body.get("template")
    if not isinstance(template, dict) or not isinstance(template.get("language"), dict):
        raise Refusal(131008, "template.name and template.language are required")
    known = templates.get((str(template.get("name")), str(template["language"].get("code"))))
    if known is None:
        raise Refusal(132001, f"template name ({template.get('name')}) does not exist in {template['language']}")
    if known.status == "PAUSED":
        raise Refusal(132015, "Template is paused due to low quality")
    if known.status == "DISABLED":
        raise Refusal(132016, "Template is disabled")
    if known.status != "APPROVED":
        raise Refusal(132001, f"template name ({known.name}) is not approved")
    if marketing_path and known.category != "MARKETING":
        raise Refusal(131055)
    checked.template = known
    _check_components(template.get("components") or [], known, checked)
    return checked


def _recipient(body: dict[str, Any], echo: str) -> Checked:
    to = body.get("to")
    if to is None and isinstance(body.get("recipient"), str):
        user_id = body["recipient"]
        if not USER_ID.fullmatch(user_id):
            raise Refusal(131009, f"Parameter value is not valid: recipient {user_id!r}")
        return Checked(user_id, user_id, echo, by_user_id=True)
    if not isinstance(to, str) or not _TO.fullmatch(to):
        raise Refusal(131009, f"Parameter value is not valid: to {to!r}")
    return Checked(to if _E164.fullmatch(to) else "+" + _NOT_DIGIT.sub("", to), to, echo)


def _check_free_form(body: dict[str, Any], kind: Any, checked: Checked) -> None:
    content = body.get(kind) if kind in _TYPES else None
    if kind not in _TYPES:
        raise Refusal(131051, f"Unsupported message type {kind!r}")
    if kind == "contacts" and isinstance(content, list):
        return
    if not isinstance(content, dict):
        raise Refusal(131008, f"A required parameter is missing: {kind}")
    if kind == "text":
        text = content.get("body")
        if not isinstance(text, str) or not text:
            raise Refusal(131008, "A required parameter is missing: text.body")
        if len(text) > _LONGEST_TEXT:
            raise Refusal(100, f"Param text['body'] must be at most {_LONGEST_TEXT} characters long.")
    if kind in _MEDIA:
        _check_media(content, kind, checked)


def _check_components(components: Any, template: Template, checked: Checked) -> None:
    header: list[Any] | None = None
    body: list[Any] = []
    buttons: dict[int, list[Any]] = {}
    if not isinstance(components, list):
        raise Refusal(100, "template.components must be an array")
    for component in components:
        kind = component.get("type") if isinstance(component, dict) else None
        parameters = component.get("parameters") or [] if isinstance(component, dict) else []
        if kind == "header":
            header = parameters
        elif kind == "body":
            body = parameters
        elif kind == "button":
            buttons[_index(component.get("index", -1))] = parameters
        elif kind not in ("carousel", "limited_time_offer"):
            raise Refusal(100, f"Unexpected component {kind!r}")
    expected = template.expected
    if len(body) != len(expected["body"]):
        raise Refusal(
            132000, f"body: number of localizable_params ({len(body)}) does not match {len(expected['body'])}"
        )
    _check_texts(body, expected["body"], template.parameter_format)
    _check_header(header, expected["header"], checked)
    missing = set(expected["buttons"]) - set(buttons)
    if missing or any(index not in expected["buttons"] and not _is_payload(buttons[index]) for index in buttons):
        raise Refusal(132000, f"buttons: {sorted(buttons)} given, {sorted(expected['buttons'])} expected")
    for index, kind in expected["buttons"].items():
        if not any(isinstance(one, dict) and one.get("type") == kind and one.get(kind) for one in buttons[index]):
            raise Refusal(132012, f"button {index}: a parameter of type {kind} is expected")
        if kind == "coupon_code" and len(str(buttons[index][0][kind])) > _LONGEST_COUPON:
            raise Refusal(132018, f"button {index}: a coupon code has at most {_LONGEST_COUPON} characters")


def _index(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise Refusal(100, f"button index {value!r} is not a number") from None


def _is_payload(parameters: list[Any]) -> bool:
    return all(isinstance(one, dict) and one.get("type") == "payload" for one in parameters)


def _check_texts(parameters: list[Any], names: list[str], parameter_format: str) -> None:
    for parameter, name in zip(parameters, names, strict=True):
        kind = parameter.get("type") if isinstance(parameter, dict) else None
        if kind in ("currency", "date_time") and isinstance(parameter.get(kind), dict):
            continue
        if kind != "text":
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


def _check_header(parameters: list[Any] | None, expected: str | None, checked: Checked) -> None:
    given = parameters[0].get("type") if parameters and isinstance(parameters[0], dict) else None
    if given != expected:
        raise Refusal(132012, f"header: Format mismatch, expected {expected}, received {given}")
    if parameters and expected in _MEDIA:
        media = parameters[0].get(expected)
        if not isinstance(media, dict):
            raise Refusal(131009, f"header: {expected} must be an object")
        _check_media(media, expected, checked)


def _check_media(media: dict[str, Any], kind: str, checked: Checked) -> None:
    if media.get("id"):
        checked.media_id, checked.media_kind = str(media["id"]), kind
    elif not str(media.get("link", "")).startswith(("http://", "https://")):
        raise Refusal(131009, f"{kind}: media needs an id or an http(s) link")
