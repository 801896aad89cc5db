"""What every answer carries, and whose request it is. Both for every path, errors included."""

from typing import Any

import falcon

from titanflow.domain.addresses import client_address, limited_by
from titanflow.settings import Settings

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers would send `Origin: null` with our own forms, and we check it.
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
        "connect-src 'self'; media-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": (
        "accelerometer=(), browsing-topics=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), "
        "magnetometer=(), microphone=(), midi=(), payment=(), usb=()"
    ),
}
_HSTS = "max-age=31536000"


def address_of(settings: Settings, peer: str, forwarded_for: str) -> str:
    """Return what limits count a client by: its address, as far as FORWARDED_ALLOW_IPS vouches for it."""
    found = client_address(peer, forwarded_for, settings.trusted_proxies, trust_peer=settings.trusts_every_peer)
    return limited_by(found)


class Security:
    """First of all middlewares: sets request.context.address, and the headers of every answer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def process_request(self, request: falcon.Request, _: falcon.Response) -> None:
        """Find out who asks; limits count by it."""
        forwarded = request.get_header("X-Forwarded-For") or ""
        request.context.address = address_of(self._settings, request.remote_addr or "", forwarded)

    def process_response(self, request: falcon.Request, response: falcon.Response, _: Any, __: bool) -> None:
        """Add the headers. What no resource says of caching may not be kept by anybody: it may be personal."""
        response.set_headers(_HEADERS)
        if response.get_header("Cache-Control") is None:
            response.set_header("Cache-Control", "no-store")
        if request.scheme == "https":
            response.set_header("Strict-Transport-Security", _HSTS)
