"""The text we give Meta with each message and get back with each of its statuses (biz_opaque_callback_data).

`m:<log id>:<attempt>`: the only handle that survives a lost answer. The attempt keeps a late `failed` of
attempt 1 from hitting attempt 2. Nothing personal, ASCII, at most 28 characters of Meta's 512.
"""

_MAX_LOG_ID = 2**63 - 1
_MAX_ATTEMPT = 2**15 - 1


def encode(log_id: int, attempt: int) -> str:
    """Return the echo of one attempt to send one message."""
    return f"m:{log_id}:{attempt}"


def decode(text: object) -> tuple[int, int] | None:
    """Return (log id, attempt), or None if the text is not one of ours."""
    if not isinstance(text, str) or len(text) > 28 or not text.startswith("m:") or not text.isascii():
        return None
    log_id, _, attempt = text[2:].partition(":")
    if not (log_id.isdigit() and attempt.isdigit()):
        return None
    decoded = int(log_id), int(attempt)
    return decoded if decoded[0] <= _MAX_LOG_ID and 1 <= decoded[1] <= _MAX_ATTEMPT else None
