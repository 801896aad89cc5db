"""Messages of the inbox, made ready for a client: what kind, what text, what media; and the service window. Pure.

Source: Meta's "Webhooks: messages" and "Messages" reference. Whatever comes is shown: what nobody can read is
`unsupported`, and the object itself always goes along.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")

SERVICE_WINDOW = timedelta(hours=24)

MEDIA_KINDS = ("image", "video", "audio", "document", "sticker")


@dataclass(frozen=True, slots=True)
class MediaReference:
    """A file at Meta that a message carries. mime_type: as Meta says, "" if it doesn't."""

    meta_media_id: str
    mime_type: str
    filename: str | None


def media_of(kind: str, content: Mapping[str, Any]) -> MediaReference | None:
    """Return the file that an inbound message carries, None if it has none."""
    media = _object(content, kind) if kind in MEDIA_KINDS else {}
    found = media.get("id")
    if not isinstance(found, str) or not found.isalnum() or len(found) > 128:
        return None
    filename = media.get("filename")
    mime_type = media.get("mime_type")
    return MediaReference(
        found,
        mime_type[:200] if isinstance(mime_type, str) else "",
        filename[:200] if isinstance(filename, str) else None,
    )


def window_ends_at(last_inbound_at: datetime | None) -> datetime | None:
    """Return when the service window of a conversation ends, or ended; None if the person never wrote."""
    return last_inbound_at + SERVICE_WINDOW if last_inbound_at else None


def shaped(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"kind", "text", ...} of a message's object, inbound or outbound: what clients show without knowing Meta.

    text: what the message says in words, None if it has none. Beside it, by kind: `choice`, `media`, `location`,
    `contacts`, `reaction`, `order`, `template`, `system`, `errors`; `reply_to`: the wamid of the message it answers.
    """
    shown: dict[str, Any] = {"kind": kind, "text": None, **_by_kind(kind, content)}
    context = _object(content, "context")
    answered = context.get("id") or context.get("message_id")
    if isinstance(answered, str):
        shown["reply_to"] = answered
    if context.get("forwarded") or context.get("frequently_forwarded"):
        shown["forwarded"] = True
    referral = _object(content, "referral")
    if referral:
        shown["referral"] = referral
    return shown


def template_text(components: Sequence[Mapping[str, Any]], values: Mapping[str, str]) -> str:
    """Return the words of a template with its parameters filled in, for people: header, body, footer, buttons."""
    parts: list[str] = []
    for component in components:
        kind = str(component.get("type", "")).upper()
        if kind in ("HEADER", "BODY", "FOOTER") and isinstance(component.get("text"), str):
            pieces = _PLACEHOLDER.split(component["text"])  # words, name, words, name, ...
            for n in range(1, len(pieces), 2):
                pieces[n] = values.get(f"{kind.lower()}.{pieces[n]}", f"{{{{{pieces[n]}}}}}")
            parts.append("".join(pieces))
        elif kind == "BUTTONS":
            parts += [f"[{button.get('text', '')}]" for button in component.get("buttons") or []]
    return "\n".join(part for part in parts if part)


def _by_kind(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    own = _object(content, kind)
    match kind:
        case "text":
            return {"text": _text(own, "body")}
        case "button":
            return {"text": _text(own, "text"), "choice": {"id": own.get("payload"), "title": own.get("text")}}
        case "interactive":
            return _interactive(own)
        case "template":
            name, language = own.get("name"), _object(own, "language").get("code")
            return {"text": _text(content, "shown_text"), "template": {"name": name, "language": language}}
        case "reaction":
            emoji = own.get("emoji") or None  # an empty or missing one: it was taken away
            return {"text": emoji, "reaction": {"emoji": emoji, "message": own.get("message_id")}}
        case "location":
            text = ", ".join(part for part in (_text(own, "name"), _text(own, "address")) if part)
            keys = ("latitude", "longitude", "name", "address", "url")
            return {"text": text or None, "location": {key: own.get(key) for key in keys}}
        case "contacts":
            people = [_contact(one) for one in _list(content, "contacts")]
            return {"text": ", ".join(one["name"] for one in people if one["name"]) or None, "contacts": people}
        case "order":
            items = [item for item in _list(own, "product_items") if isinstance(item, dict)]
            return {"text": _text(own, "text"), "order": {"catalog_id": own.get("catalog_id"), "items": items}}
        case "system":
            return {"text": _text(own, "body"), "system": {"type": own.get("type"), "phone": own.get("wa_id")}}
        case _ if kind in MEDIA_KINDS:
            media = {key: own.get(key) for key in ("mime_type", "filename", "sha256")}
            return {"text": _text(own, "caption"), "media": {**media, "voice": bool(own.get("voice"))}}
    return {"kind": "unsupported", "errors": [one for one in _list(content, "errors") if isinstance(one, dict)]}


def _interactive(own: Mapping[str, Any]) -> dict[str, Any]:
    """A pressed button or list row, a flow's answer; or, outbound, what was offered."""
    for key in ("button_reply", "list_reply"):
        chosen = _object(own, key)
        if chosen:
            return {"text": _text(chosen, "title"), "choice": {**chosen, "of": "button" if key[0] == "b" else "list"}}
    flow = _object(own, "nfm_reply")
    if flow:
        return {"text": _text(flow, "body"), "flow": {"name": flow.get("name"), "answer": flow.get("response_json")}}
    return {"text": _text(_object(own, "body"), "text")}


def _contact(one: Any) -> dict[str, Any]:
    card = one if isinstance(one, dict) else {}
    phones = [phone.get("phone") for phone in _list(card, "phones") if isinstance(phone, dict)]
    return {"name": _text(_object(card, "name"), "formatted_name"), "phones": phones}


def _object(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def _list(content: Mapping[str, Any], key: str) -> list[Any]:
    found = content.get(key)
    return found if isinstance(found, list) else []


def _text(content: Mapping[str, Any], key: str) -> str | None:
    found = content.get(key)
    return found if isinstance(found, str) and found else None
