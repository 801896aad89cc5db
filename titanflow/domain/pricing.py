"""What Meta charges for a message, as one short text in Meta's own words. Never a price: those change by announcement.

Source: Meta's "Status messages webhook reference", `pricing`.
"""

from typing import Any

_MAX = 40


def word(pricing: Any) -> str | None:
    """Return the category, and behind a slash what makes it no regular charge: 'marketing', 'service/not_billable'.

    None: nothing was told. `type` is missing in older versions, `billable` will be in newer ones.
    """
    if not isinstance(pricing, dict):
        return None
    category, kind = _plain(pricing.get("category")), _plain(pricing.get("type")) or "regular"
    if category is None:
        return None
    if kind == "regular" and pricing.get("billable") is False:
        kind = "not_billable"
    return category if kind == "regular" else f"{category}/{kind}"


def _plain(value: Any) -> str | None:
    """Meta's word if it is one."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX or not value.isascii() or not value.isprintable():
        return None
    return value.lower()
