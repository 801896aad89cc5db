"""Which links may be given to Meta: by what they say, without asking the DNS. Pure.

A campaign's link is fetched by Meta and seen by whoever gets the message, so it must be public and hold no password.
What this server fetches itself: domain/meta_hosts.py.
"""

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

_LONGEST = 2000
_NOT_PUBLIC = {
    "localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "private", "arpa", "test",
    "invalid", "onion",
}  # fmt: skip


def refusal(link: str) -> str | None:
    """Return why a link can't be given to Meta, for people; None if it can."""
    parts = _split(link)
    if parts is None or not parts.hostname:
        return "it is no URL such as https://example.com/offer.jpg"
    if parts.scheme != "https":
        return "it must begin with https://"
    if "@" in parts.netloc:
        return "it must hold no user name or password"
    if not is_public(parts.hostname):
        return "its host can't be reached from outside"
    return None


def is_public(host: str) -> bool:
    """Tell whether a host's name, or address, is one of the internet at large."""
    host = host.rstrip(".").lower()
    try:
        return ip_address(host).is_global
    except ValueError:
        pass
    labels = host.split(".")
    if len(labels) < 2 or labels[-1] in _NOT_PUBLIC or not all(labels):
        return False
    return not (labels[-1].isdigit() or labels[-1].startswith("0x"))  # 127.1 and its kind: browsers take them for IPs


def _split(link: str) -> SplitResult | None:
    """Take a URL apart; None if programs would not agree about its parts."""
    if len(link) > _LONGEST or "\\" in link or any(ord(sign) <= 32 or ord(sign) == 127 for sign in link):
        return None
    try:
        parts = urlsplit(link)
        _ = parts.port
    except ValueError:
        return None
    return parts
