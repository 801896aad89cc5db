"""State and messages as short text for people, with secrets left out."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

_SECRET = re.compile(r"token|secret|passw|pin$|_pin|api_key|private|authorization|cookie|signature", re.IGNORECASE)
_MASK = "***"


def pretty(value: object, limit: int = 500) -> str:
    """One line of at most `limit` characters; fields whose name says secret are masked."""
    try:
        text = _render(value, depth=0)
    except Exception as error:  # noqa: BLE001  # a broken __repr__ must not break a crash report
        text = f"<unprintable {type(value).__name__}: {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def pretty_fields(fields: dict[str, Any], limit: int = 200) -> dict[str, str]:
    """Each field on its own, masked and shortened."""
    return {name: _MASK if _SECRET.search(name) else pretty(value, limit) for name, value in fields.items()}


def _render(value: object, depth: int) -> str:
    if depth > 3:
        return "..."
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = [(field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value)]
        inner = ", ".join(f"{name}={_field(name, item, depth)}" for name, item in pairs)
        return f"{type(value).__name__}({inner})"
    if isinstance(value, dict):
        items = list(value.items())
        inner = ", ".join(f"{key!r}: {_field(str(key), item, depth)}" for key, item in items[:8])
        return "{" + inner + (f", ... {len(items)} in all" if len(items) > 8 else "") + "}"
    if isinstance(value, list | tuple | set | frozenset):
        members = list(value)
        inner = ", ".join(_render(item, depth + 1) for item in members[:8])
        more = f", ... {len(members)} in all" if len(members) > 8 else ""
        return f"{type(value).__name__}({inner}{more})" if not isinstance(value, list) else f"[{inner}{more}]"
    if isinstance(value, str | bytes):
        return repr(value[:80]) + ("..." if len(value) > 80 else "")
    return repr(value)


def _field(name: str, value: object, depth: int) -> str:
    return _MASK if _SECRET.search(name) else _render(value, depth + 1)
