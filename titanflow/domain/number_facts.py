"""Meta's fields of a number, read leniently: what is missing or odd stays as it was. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from titanflow.domain.account_events import tier

_QUALITIES = {"GREEN", "YELLOW", "RED", "UNKNOWN"}


@dataclass(frozen=True, slots=True)
class NumberFacts:
    """What Meta says of a number; None: nothing said."""

    display_phone_number: str | None = None
    quality: str | None = None
    tier: str | None = None
    status: str | None = None
    throughput: str | None = None


def read(fields: Mapping[str, Any]) -> NumberFacts:
    """Return the facts in Meta's answer about a number."""
    quality = _word(fields.get("quality_rating"))
    throughput = fields.get("throughput")
    return NumberFacts(
        display_phone_number=_text(fields.get("display_phone_number")),
        quality="UNKNOWN" if quality == "NA" else quality if quality in _QUALITIES else None,
        tier=tier(fields.get("whatsapp_business_manager_messaging_limit")) or tier(fields.get("messaging_limit_tier")),
        status=_word(fields.get("status")),
        throughput=_word(throughput.get("level")) if isinstance(throughput, dict) else None,
    )


def _word(value: Any) -> str | None:
    text = _text(value)
    return text.upper() if text else None


def _text(value: Any) -> str | None:
    return value.strip()[:64] or None if isinstance(value, str) and "\x00" not in value else None
