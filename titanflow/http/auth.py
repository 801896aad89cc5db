"""Who may do what: bearer tokens with scopes, enforced by a middleware from each resource's `scopes`."""

import time
from typing import Any

import falcon

from titanflow.errors import Forbidden, Unauthorized
from titanflow.http.context import Context
from titanflow.http.web import sessions
from titanflow.services import tokens

_CACHE_S = 5.0
_CACHE_SIZE = 1_000


class Authentication:
    """Runs before every resource. A verified token is trusted for five seconds without asking again."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[str, tuple[float, frozenset[str]]] = {}

    def process_resource(self, request: falcon.Request, _: falcon.Response, resource: Any, __: Any) -> None:
        """Raise Unauthorized or Forbidden unless the request may go on. Sets request.context.who."""
        scopes: dict[str, str] = getattr(resource, "scopes", {})
        needed = scopes.get(request.method)
        if needed is None or needed == "public":
            return
        request.context.who = "api"
        header = request.get_header("Authorization") or ""
        if header.startswith("Bearer "):
            granted = self._scopes_of(header[7:].strip())
        elif request.method == "GET" and sessions.is_valid(
            request.cookies.get(sessions.COOKIE, ""), self._context.settings.require_secret_keys()
        ):
            granted = frozenset(tokens.SCOPES)
        else:
            raise Unauthorized("This needs a token", fix="Send `Authorization: Bearer tf_...`.")
        if needed not in granted:
            raise Forbidden(f"The token lacks the scope '{needed}'")

    def _scopes_of(self, token: str) -> frozenset[str]:
        now = time.monotonic()
        known = self._known.get(token)
        if known and known[0] > now:
            return known[1]
        scopes = tokens.scopes_of(self._context.db, token)
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        self._known[token] = (now + _CACHE_S, scopes)
        return scopes
