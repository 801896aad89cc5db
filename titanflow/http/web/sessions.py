"""The session cookie of the web pages: an expiry signed with SECRET_KEY. Pure."""

import hashlib
import hmac
import time
from collections.abc import Sequence

COOKIE = "titanflow_session"
LIFETIME_S = 12 * 3600


def issue(keys: Sequence[str]) -> str:
    """Return a cookie that is good for LIFETIME_S."""
    expiry = str(int(time.time()) + LIFETIME_S)
    return f"{expiry}.{_sign(keys[0], expiry)}"


def is_valid(cookie: str, keys: Sequence[str]) -> bool:
    """True if the cookie was signed with one of the keys and is not over."""
    expiry, _, signature = cookie.partition(".")
    if not expiry.isdigit() or len(expiry) > 12 or int(expiry) < time.time():
        return False
    return any(hmac.compare_digest(_sign(key, expiry).encode(), signature.encode()) for key in keys)


def _sign(key: str, expiry: str) -> str:
    return hmac.new(f"titanflow session {key}".encode(), expiry.encode(), hashlib.sha256).hexdigest()
