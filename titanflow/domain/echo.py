"""The text we give Meta with each message and get back with each of its statuses (biz_opaque_callback_data).

`m:<log id>:<attempt>` for a campaign's message, `r:<message id>:<attempt>` for a reply of the inbox: the only handle
that survives a lost answer. The attempt keeps a late `failed` of attempt 1 from hitting attempt 2. Nothing personal,
ASCII, at most 28 characters of Meta's 512.
"""

_MAX_ID = 2**63 - 1
_MAX_ATTEMPT = 2**15 - 1


def encode(log_id: int, attempt: int) -> str:
    """Return the echo of one attempt to send one message of a campaign."""
    return f"m:{log_id}:{attempt}"


def decode(text: object) -> tuple[int, int] | None:
    """Return (log id, attempt), or None if the text is not one of a campaign's message."""
    return _decode(text, "m:")


def encode_reply(message_id: int, attempt: int) -> str:
    """Return the echo of one attempt to send one reply."""
    return f"r:{message_id}:{attempt}"


def decode_reply(text: object) -> tuple[int, int] | None:
    """Return (id of the inbox's message, attempt), or None if the text is not one of a reply."""
    return _decode(text, "r:")


def _decode(text: object, prefix: str) -> tuple[int, int] | None:
    if not isinstance(text, str) or len(text) > 28 or not text.startswith(prefix) or not text.isascii():
        return None
    row_id, _, attempt = text[2:].partition(":")
    if not (row_id.isdigit() and attempt.isdigit()):
        return None
    decoded = int(row_id), int(attempt)
    return decoded if decoded[0] <= _MAX_ID and 1 <= decoded[1] <= _MAX_ATTEMPT else None
