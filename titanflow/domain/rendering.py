"""From a template, a campaign's variables and a person's CSV row to the components Meta wants. Pure.

Parameter names: `body.1`, `body.first_name`, `header.1`, `header.link`, `button.<index>.1`.
Meta's rules: shared reference "Template" (no newline, tab or run of more than four spaces; never empty).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")
_UNWANTED_SPACE = re.compile(r"[\n\r\t]+| {5,}")
_MEDIA_FORMATS = {"IMAGE": "image", "VIDEO": "video", "DOCUMENT": "document"}

Variables = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class MissingValue:
    """A person's row lacks what the template needs; the message can't be sent to that person."""

    parameter: str
    column: str

    def sentence(self) -> str:
        """Say it for people."""
        return f"The template's parameter {self.parameter} needs column '{self.column}', which is empty in this row"


@dataclass(frozen=True, slots=True)
class _Slot:
    parameter: str
    column: str | None  # None: the constant alone
    default: str

    def fill(self, row: Mapping[str, Any]) -> str | None:
        text = str(row.get(self.column, "") or "") if self.column is not None else ""
        clean = _UNWANTED_SPACE.sub(" ", text or self.default).strip()
        return clean or None


@dataclass(frozen=True, slots=True)
class _Part:
    """One component: its fixed members, and how each parameter is made from its slot."""

    head: dict[str, Any]
    slots: tuple[tuple[_Slot, str, dict[str, Any]], ...]  # slot, kind (text, image, ... ), fixed members


@dataclass(frozen=True, slots=True)
class CompiledTemplate:
    """A template bound to a campaign's variables; made once, rendered for each person."""

    template_id: int
    name: str
    language: str
    parts: tuple[_Part, ...]

    def render(self, row: Mapping[str, Any]) -> dict[str, Any] | MissingValue:
        """Return Meta's `template` object for one person's variables, or what is missing."""
        components = []
        for part in self.parts:
            parameters = []
            for slot, kind, fixed in part.slots:
                text = slot.fill(row)
                if text is None:
                    return MissingValue(slot.parameter, slot.column or slot.parameter)
                parameters.append(_parameter(kind, text, fixed))
            components.append({**part.head, "parameters": parameters})
        template: dict[str, Any] = {"name": self.name, "language": {"code": self.language}}
        if components:
            template["components"] = components
        return template


def parameters(components: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of all parameters a template needs, in the order in which Meta wants them."""
    return tuple(slot.parameter for part in _parts(components, variables={}, media={}) for slot, _, _ in part.slots)


def compile_template(
    template_id: int,
    name: str,
    language: str,
    components: Sequence[Mapping[str, Any]],
    *,
    variables: Variables,
    media: Mapping[str, Any],
) -> CompiledTemplate:
    """Bind a template to a campaign.

    variables: parameter -> {"column", "default"} or {"value"}. A parameter that nobody bound takes the column of its
    own name (`body.first_name` -> first_name). media: {"link": url, "filename": text} for a media header.
    """
    return CompiledTemplate(template_id, name, language, tuple(_parts(components, variables=variables, media=media)))


def _parts(components: Sequence[Mapping[str, Any]], *, variables: Variables, media: Mapping[str, Any]) -> list[_Part]:
    parts: list[_Part] = []
    for component in components:
        kind = str(component.get("type", "")).upper()
        if kind == "HEADER":
            parts += _header(component, variables, media)
        elif kind == "BODY":
            slots = _text_slots("body", str(component.get("text", "")), variables)
            if slots:
                parts.append(_Part({"type": "body"}, slots))
        elif kind == "BUTTONS":
            parts += _buttons(component.get("buttons") or [], variables)
    return parts


def _header(component: Mapping[str, Any], variables: Variables, media: Mapping[str, Any]) -> list[_Part]:
    media_kind = _MEDIA_FORMATS.get(str(component.get("format", "TEXT")).upper())
    if media_kind is None:
        slots = _text_slots("header", str(component.get("text", "")), variables)
        return [_Part({"type": "header"}, slots)] if slots else []
    bound = variables.get("header.link") or ({"value": media["link"]} if media.get("link") else {})
    fixed = {"filename": media["filename"]} if media_kind == "document" and media.get("filename") else {}
    return [_Part({"type": "header"}, ((_slot("header.link", bound, "link"), media_kind, fixed),))]


def _buttons(buttons: Sequence[Mapping[str, Any]], variables: Variables) -> list[_Part]:
    parts = []
    for index, button in enumerate(buttons):
        kind = str(button.get("type", "")).upper()
        dynamic_url = kind == "URL" and _PLACEHOLDER.search(str(button.get("url", "")))
        if not (dynamic_url or kind == "COPY_CODE"):
            continue
        name = f"button.{index}.1"
        slot = _slot(name, variables.get(name) or {}, name)
        head = {"type": "button", "sub_type": "url" if dynamic_url else "copy_code", "index": str(index)}
        parts.append(_Part(head, ((slot, "text" if dynamic_url else "coupon_code", {}),)))
    return parts


def _text_slots(place: str, text: str, variables: Variables) -> tuple[tuple[_Slot, str, dict[str, Any]], ...]:
    names = list(dict.fromkeys(_PLACEHOLDER.findall(text)))
    if all(name.isdigit() for name in names):
        names.sort(key=int)
    slots = []
    for name in names:
        parameter = f"{place}.{name}"
        fixed = {} if name.isdigit() else {"parameter_name": name}
        slots.append((_slot(parameter, variables.get(parameter) or {}, name), "text", fixed))
    return tuple(slots)


def _slot(parameter: str, bound: Mapping[str, Any], own_column: str) -> _Slot:
    if "value" in bound:
        return _Slot(parameter, None, str(bound["value"]))
    return _Slot(parameter, str(bound.get("column", own_column)), str(bound.get("default", "")))


def _parameter(kind: str, text: str, fixed: dict[str, Any]) -> dict[str, Any]:
    if kind == "text":
        return {"type": "text", "text": text, **fixed}
    if kind == "coupon_code":
        return {"type": "coupon_code", "coupon_code": text}
    return {"type": kind, kind: {"link": text, **fixed}}
