"""Reads Meta's answer to a POST: status and bytes -> Accepted | Rejected | Uncertain. Pure, and never raises.

Decides on `error.code`, not on the HTTP status: statuses vary between endpoints and versions. Whatever isn't a
well-formed answer is Uncertain, because the message may have been taken.
"""

from typing import Any

import orjson

from titanflow.domain.outcomes import Accepted, Outcome, Rejected, Uncertain
from titanflow.meta.error_policy import rule_for

_HELD = {"held_for_quality_assessment", "paused"}
_MAX_DETAIL = 300
_LONGEST_WAIT_S = 24 * 3600.0


def read(status: int, body: bytes, *, retry_after: str | None = None, usage: str | None = None) -> Outcome:
    """Return what the answer proves. retry_after, usage: the texts of Meta's headers about waiting."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Uncertain(f"HTTP {status} with a body that is not JSON")
    if not isinstance(answer, dict):
        return Uncertain(f"HTTP {status} with a body that is no object")
    error = answer.get("error")
    if isinstance(error, dict):
        return _refusal(status, error, _regain_s(usage) or _seconds(retry_after))
    if status != 200:
        return Uncertain(f"HTTP {status} without an error of Meta's")
    return _acceptance(answer)


def _acceptance(answer: dict[str, Any]) -> Outcome:
    messages = answer.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    wamid = first.get("id") if isinstance(first, dict) else None
    if not isinstance(wamid, str) or not wamid or len(wamid) > 512 or "\x00" in wamid:
        return Uncertain("HTTP 200 without a message id")
    return Accepted(wamid, held=isinstance(first, dict) and first.get("message_status") in _HELD)


def _refusal(status: int, error: dict[str, Any], retry_after_s: float | None) -> Outcome:
    code = _integer(error.get("code"))
    if code is None:
        return Uncertain(f"HTTP {status} with an error that has no code")
    said = _detail(error)
    rule = rule_for(code, _integer(error.get("error_subcode")), http_status=status, details=said)
    detail = f"{code}: {said}"
    if rule.verdict == "doubt":
        return Uncertain(detail, rule)
    return Rejected(rule, detail, retry_after_s)


def _detail(error: dict[str, Any]) -> str:
    data = error.get("error_data")
    text = data.get("details") if isinstance(data, dict) else data
    if not isinstance(text, str) or not text:
        text = error.get("message")
    trace = error.get("fbtrace_id")
    shown = text if isinstance(text, str) else "no details"
    if isinstance(trace, str):
        shown = f"{shown} (trace {trace[:40]})"
    return shown.replace("\x00", "")[:_MAX_DETAIL]


def _integer(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 2**31 else None
    if isinstance(value, str) and value.strip().lstrip("-").isdigit() and len(value) < 10:
        return int(value)
    return None


def _regain_s(usage: str | None) -> float | None:
    """The longest `estimated_time_to_regain_access` of the header x-business-use-case-usage, which is in MINUTES."""
    try:
        accounts = orjson.loads(usage) if usage else {}
    except orjson.JSONDecodeError:
        return None
    minutes = [0]
    for uses in accounts.values() if isinstance(accounts, dict) else []:
        for use in uses if isinstance(uses, list) else []:
            told = _integer(use.get("estimated_time_to_regain_access")) if isinstance(use, dict) else None
            minutes.append(told or 0)
    return min(max(minutes) * 60.0, _LONGEST_WAIT_S) or None


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdigit() and len(text) < 6 else None
