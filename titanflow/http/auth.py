"""Who may do what: bearer tokens with scopes, enforced by a middleware from each resource's `scopes`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import falcon

from titanflow.errors import Forbidden, Unauthorized
from titanflow.http.context import Context
from titanflow.http.web import sessions
from titanflow.services import tokens

_TRUST_S = 1.0
_MOST_KNOWN = 1_000


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. name: for people and the audit log, stable. key: what a rate limit counts by."""

    name: str
    key: str
    scopes: frozenset[str]

    def detail(self) -> Mapping[str, object]:
        """What the audit log keeps beside the name."""
        return {}


class Authentication:
    """Runs before every resource. What is verified is trusted for a second: so long a revocation takes, everywhere."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[str, tuple[float, Principal]] = {}

    def process_resource(self, request: falcon.Request, _: falcon.Response, resource: Any, __: Any) -> None:
        """Raise Unauthorized or Forbidden unless the request may go on. Sets request.context.who and .principal."""
        scopes: dict[str, str] = getattr(resource, "scopes", {})
        needed = scopes.get(request.method)
        if needed is None or needed == "public":
            return
        header = request.get_header("Authorization") or ""
        if header.startswith("Bearer "):
            principal = self._of_token(header[7:].strip())
        elif request.method == "GET" and sessions.is_valid(
            request.cookies.get(sessions.COOKIE, ""), self._context.settings.require_secret_keys()
        ):
            principal = Principal("web session", "session", frozenset(tokens.SCOPES))
        else:
            raise Unauthorized("This needs a token", fix="Send `Authorization: Bearer tf_...`.")
        if needed not in principal.scopes:
            raise Forbidden(f"The token lacks the scope '{needed}'")
        request.context.principal = principal
        request.context.who = principal.name

    def _of_token(self, token: str) -> Principal:
        now = time.monotonic()
        known = self._known.get(token)
        if known and known[0] > now:
            return known[1]
        holder = tokens.holder(self._context.db, token)
        principal = Principal(f"token {holder.id} ({holder.name})", f"token {holder.id}", frozenset(holder.scopes))
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[token] = (now + _TRUST_S, principal)
        return principal
