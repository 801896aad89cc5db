"""Fetches a file that a person sent: Meta's media id -> a URL of Meta's -> bytes, piece by piece, bounded.

Source: Meta's page "Media": the URL lives five minutes and wants the bearer token. Redirects are followed to Meta's own
hosts alone; the token goes nowhere else.
"""

import hashlib
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPParseError

from titanflow.domain.meta_hosts import is_metas
from titanflow.errors import Unavailable
from titanflow.meta.management import Management

LARGEST_BYTES = 100 * 1024 * 1024  # the largest that Meta lets anybody send
PIECE_BYTES = 1024 * 1024

_TIMEOUT_S = 30.0
_MOST_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)


class WontFetch(Unavailable):
    """A file that must not or can't be fetched, however often it is tried."""

    code = "media_refused"


def fetch(
    graph_url: str, api_version: str, access_token: str, *, phone_number_id: str, meta_media_id: str
) -> Iterator[bytes]:
    """Yield a file's bytes in pieces of PIECE_BYTES at most.

    Raises Unavailable, MetaRefused (`gone`: Meta has forgotten it), WontFetch. What was yielded before an error is
    worth nothing: only a fetch that ends has been compared with the size and hash that Meta told.
    """
    management = Management(graph_url, api_version, access_token)
    try:
        told = management.media(meta_media_id, phone_number_id)
    finally:
        management.close()
    digest, size = hashlib.sha256(), 0
    for piece in _bytes_of(str(told.get("url") or ""), graph_url, access_token):
        size += len(piece)
        if size > LARGEST_BYTES:
            raise WontFetch("The file is too large", why=f"more than {LARGEST_BYTES} bytes")
        digest.update(piece)
        yield piece
    if isinstance(told.get("file_size"), int) and told["file_size"] != size:
        raise Unavailable("The file came incomplete", why=f"{size} of {told['file_size']} bytes")
    if isinstance(told.get("sha256"), str) and len(told["sha256"]) == 64 and told["sha256"] != digest.hexdigest():
        raise Unavailable("The file came garbled", why="its hash differs from the one that Meta told")


def _bytes_of(url: str, graph_url: str, access_token: str) -> Iterator[bytes]:
    for _ in range(_MOST_REDIRECTS + 1):
        if not is_metas(url, graph_url):
            raise WontFetch("The file isn't on a host of Meta's", why=f"its host is {_host(url)!r}")
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        client = HTTPClient(
            parts.hostname or "", port, ssl=parts.scheme == "https", connection_timeout=5, network_timeout=_TIMEOUT_S
        )
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            answer = client.request("GET", target, headers={"Authorization": f"Bearer {access_token}"})
            if answer.status_code in _REDIRECTS:
                url = urljoin(url, str(answer.get("location") or ""))
                continue
            if answer.status_code != 200:
                raise Unavailable("Meta doesn't give the file", why=f"HTTP {answer.status_code}")
            while piece := bytes(answer.read(PIECE_BYTES)):
                yield piece
            return
        except (OSError, HTTPParseError) as error:
            raise Unavailable("Meta can't be reached", why=str(error) or type(error).__name__) from error
        finally:
            client.close()
    raise WontFetch("Meta doesn't give the file", why="one redirect after the other")


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "")[:100]
    except ValueError:
        return ""
