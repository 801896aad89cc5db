"""From a template, a campaign's variables and a person's CSV row to the components Meta wants. Pure.

Parameter names: `body.1`, `body.first_name`, `header.1`, `header.link`, `button.<index>.1`. A quick reply's payload is
`STOP:<template>:<button>` if its text is a word of opting out, else `REPLY:<template>:<button>`, unless one is bound.
Meta's rules: shared reference "Template" (no newline, tab or run of more than four spaces; never empty).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from titanflow.domain.stop_words import is_stop_word

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")
_UNWANTED_SPACE = re.compile(r"[\n\r\t]+| {5,}")
_MEDIA_ID = "header.id"  # a slot that holds Meta's id of an upload, in place of header.link
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
                parameters.append(_parameter(slot.parameter, kind, text, fixed))
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
    own name (`body.first_name` -> first_name). media, for a media header: {"link": url} or {"id": Meta's id of an
    upload}, and "filename" for documents. A bound `header.link` comes first: it may differ from person to person.
    """
    parts = _parts(components, variables=variables, media=media)
    return CompiledTemplate(template_id, name, language, (*parts, *_quick_replies(template_id, components, variables)))


def media_kind(components: Sequence[Mapping[str, Any]], variables: Variables) -> str | None:
    """Return the kind of media that a template's header takes from the campaign: image, video, document, or None."""
    for component in components:
        if str(component.get("type", "")).upper() == "HEADER" and not variables.get("header.link"):
            return _MEDIA_FORMATS.get(str(component.get("format", "TEXT")).upper())
    return None


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
    fixed = {"filename": media["filename"]} if media_kind == "document" and media.get("filename") else {}
    bound = variables.get("header.link")
    if media.get("id") and not bound:
        return [_Part({"type": "header"}, ((_slot(_MEDIA_ID, {"value": media["id"]}, "id"), media_kind, fixed),))]
    link = bound or ({"value": media["link"]} if media.get("link") else {})
    return [_Part({"type": "header"}, ((_slot("header.link", link, "link"), media_kind, fixed),))]


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


def _quick_replies(template_id: int, components: Sequence[Mapping[str, Any]], variables: Variables) -> list[_Part]:
    """Payloads that say which template and button were pressed, the same for everybody, whatever the button's words."""
    buttons = [
        (index, str(button.get("text", "")))
        for component in components
        if str(component.get("type", "")).upper() == "BUTTONS"
        for index, button in enumerate(component.get("buttons") or [])
        if str(button.get("type", "")).upper() == "QUICK_REPLY"
    ]
    parts = []
    for index, text in buttons:
        name = f"button.{index}.1"
        own = f"{'STOP' if is_stop_word(text) else 'REPLY'}:{template_id}:{index}"
        head = {"type": "button", "sub_type": "quick_reply", "index": str(index)}
        bound = {"default": own, **(variables.get(name) or {"value": own})}
        parts.append(_Part(head, ((_slot(name, bound, name), "payload", {}),)))
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


def _parameter(parameter: str, kind: str, text: str, fixed: dict[str, Any]) -> dict[str, Any]:
    if kind == "text":
        return {"type": "text", "text": text, **fixed}
    if kind in ("coupon_code", "payload"):
        return {"type": kind, kind: text}
    return {"type": kind, kind: {"id" if parameter == _MEDIA_ID else "link": text, **fixed}}
