"""Takes secrets and people's phone numbers out of whatever is logged: known keys, known values, and patterns.

Secrets are always taken out. Phone numbers too, unless LOG_PHONES=full; their first digits and last two stay, enough to
find a line by a number that one knows. A wamid holds the recipient's number (base64): only its end stays.
"""

import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

HIDDEN = "***"

_SECRET_KEY = re.compile(
    r"token(?!_id\b)|secret|passw|\bpin$|_pin$|authorization|signature|cookie|csrf|api_?key|dsn", re.IGNORECASE
)
_PHONE_KEY = re.compile(
    r"^(phones?|to|from|wa_id|recipient(_id)?|msisdn|display_phone_number|phone_number)$", re.IGNORECASE
)
_NAMED = (
    r"access_token|input_token|verify_token|csrf_token|token|password|passwd|secret_key|app_secret|secret|pin|api_key|"
    r"appsecret_proof|signature"
)
_SECRETS = re.compile(
    r"\btf_[\w-]{20,}"  # our tokens
    r"|\bEAA[A-Za-z0-9]{16,}"  # Meta's
    r"|(?<=sha256=)[0-9a-f]{64}"  # a webhook's signature
    r"|(?i:(?<=bearer )|(?<=basic ))[\w.~+/=-]{6,}"
    r"|(?<=://)[^\s/@:]*:[^\s/]+(?=@)"  # a URL's user and password
    rf"|(?i:\b(?:{_NAMED})(?:=|%3D|[\"']\s*:\s*)[\"']?)[^\s\"'&,;)}}\]]+"
)
_NAME_OF = re.compile(rf"(?i:^(?:{_NAMED})(?:=|%3D|[\"']\s*:\s*)[\"']?)")
_PHONES = re.compile(
    r"(?:\+|%2B)\d{7,15}(?!\d)"  # E.164, also in a URL
    r"|(?<![\w+])\+\d{1,3}(?:[ .-]?\(?\d{1,5}\)?){2,5}(?!\d)"  # as people write it
    r"|(?<=/contacts/)\d{6,15}|(?<=/suppressions/)\d{6,15}|(?<=/conversations/)\d{6,15}"
    r"|\b(?:phones?|wa_id|recipient_id|recipient|msisdn|to|from)[\"']?\s?[=:]\s?[\"'(\[]*\d{7,15}(?!\d)",
    re.IGNORECASE,
)
_WAMID = re.compile(r"\bwamid\.[\w+/=-]{16,}")


@dataclass(frozen=True, slots=True)
class Masker:
    """phones: mask them. secrets: values that must not appear anywhere, whatever stands around them."""

    phones: bool = True
    secrets: Iterable[str] = ()
    _known: re.Pattern[str] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        values = sorted({one for one in self.secrets if len(one) >= 6}, key=len, reverse=True)
        if values:
            known = re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(one) for one in values)})(?!\w)")
            object.__setattr__(self, "_known", known)

    def text(self, text: str) -> str:
        """Return a text without what must not be read."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        text = _SECRETS.sub(_without_secret, text)
        return mask_phones(text) if self.phones else text

    def value(self, key: str, value: Any) -> Any:
        """Return a value of a log line, however deep, without what must not be read."""
        if value is None or isinstance(value, bool):
            return value
        if _SECRET_KEY.search(key):
            return HIDDEN
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.value(str(name), part) for name, part in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(key, part) for part in value]
        if self.phones and _PHONE_KEY.match(key) and isinstance(value, str | int):
            return _shortened(str(value)) if re.search(r"\d{7}", str(value)) else self.text(str(value))
        return value if isinstance(value, int | float) else self.text(str(value))


def mask_phones(text: str) -> str:
    """Return a text with phone numbers masked: the first four digits and the last two stay."""
    return _WAMID.sub(lambda found: f"wamid...{found[0][-10:]}", _PHONES.sub(lambda found: _shortened(found[0]), text))


def _shortened(text: str) -> str:
    digits = [at for at, sign in enumerate(text) if sign.isdigit()]
    if text[:3].upper() == "%2B":
        digits = digits[1:]
    if len(digits) < 7:
        return text
    return f"{text[: digits[3] + 1]}...{text[digits[-2] :]}"


def _without_secret(found: re.Match[str]) -> str:
    name = _NAME_OF.match(found[0])
    if name:
        return name[0] + HIDDEN
    return f"{found[0].partition(':')[0]}:{HIDDEN}" if found.string[: found.start()].endswith("://") else HIDDEN


_masker = Masker()


def configure(*, phones: bool, secrets: Iterable[str]) -> None:
    """Say once a process what is masked. Until then: phones, and secrets by key and pattern."""
    global _masker
    _masker = Masker(phones=phones, secrets=tuple(secrets))


def masked(text: str) -> str:
    """Return a text as it may be logged in this process."""
    return _masker.text(text)


def masked_value(key: str, value: Any) -> Any:
    """Return a value as it may be logged in this process under this key."""
    return _masker.value(key, value)


class MaskingFormatter(logging.Formatter):
    """Another formatter's lines, tracebacks included, without what must not be read."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return masked(self._inner.format(record))


class MaskingStream:
    """Standard error for those who print tracebacks themselves, gevent's hub for one."""

    def write(self, text: str) -> int:
        """Write it masked."""
        sys.stderr.write(masked(text))
        return len(text)

    def flush(self) -> None:
        """Pass it on."""
        sys.stderr.flush()


def mask_last_words() -> None:
    """Let the traceback of an exception that ends the process be masked as well."""

    def say(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        print(masked("".join(traceback.format_exception(kind, error, where))), end="", file=sys.stderr, flush=True)

    hook: Callable[[type[BaseException], BaseException, TracebackType | None], Any] = say
    sys.excepthook = hook
