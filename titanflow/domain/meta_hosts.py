"""Whether an address is Meta's own: only there does an access token go, and only from there are files fetched. Pure."""

from urllib.parse import urlsplit

# Where Meta serves media from; each with all hosts below it.
_DOMAINS = ("fbsbx.com", "fbcdn.net", "facebook.com", "whatsapp.net", "whatsapp.com")


def is_metas(url: str, graph_url: str) -> bool:
    """Return if `url` may be fetched: https on a host of Meta's, or the very origin of META_GRAPH_URL.

    What a parser could read in another way than the client that fetches it is refused.
    """
    if not url.isascii() or not url.isprintable() or any(char in url for char in '\\ <>"'):
        return False
    try:
        parts, graph = urlsplit(url), urlsplit(graph_url)
        port, own_port = parts.port, graph.port
    except ValueError:
        return False
    host = (parts.hostname or "").lower()
    if not host or "@" in parts.netloc:
        return False
    if (parts.scheme, host, port) == (graph.scheme, (graph.hostname or "").lower(), own_port):
        return True
    return (
        parts.scheme == "https"
        and port in (None, 443)
        and any(host == domain or host.endswith(f".{domain}") for domain in _DOMAINS)
    )
