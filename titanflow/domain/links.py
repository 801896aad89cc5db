"""Which links may be handed on, and which fetched: by what they say, without asking the DNS. Pure.

A link of a campaign is fetched by Meta, so it must be public and carry no password. What is fetched by this server
(media that people sent) is fetched with a number's access token, so it must be Meta's own.
"""

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

_LONGEST = 2000
_NOT_PUBLIC = {
    "localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "private", "arpa", "test",
    "invalid", "onion",
}  # fmt: skip
_METAS = ("facebook.com", "fbcdn.net", "fbsbx.com", "whatsapp.net", "whatsapp.com")


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


def is_metas(link: str, graph_url: str) -> bool:
    """Tell whether a link that an answer of Meta's named is Meta's own, so that an access token may go with it.

    graph_url: META_GRAPH_URL; its own scheme, host and port are Meta's too, whatever they are.
    """
    parts, graph = _split(link), urlsplit(graph_url)
    if parts is None or "@" in parts.netloc:
        return False
    if (parts.scheme, parts.netloc.lower()) == (graph.scheme, graph.netloc.lower()):
        return True
    host = (parts.hostname or "").rstrip(".").lower()
    own = any(host == name or host.endswith(f".{name}") for name in _METAS)
    return own and parts.scheme == "https" and parts.port in (None, 443)


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
