"""Who may do what: bearer tokens with scopes, or the session of a page; enforced from each resource's `scopes`.

A resource says for each method which scope it needs: read, send, admin; `public`; or `page`: people, who are led to the
login. A session has all scopes. What it changes needs its page's own token as well, since a browser sends cookies
whoever made the request.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import falcon

from titanflow.domain.request_rate import take
from titanflow.errors import Forbidden, TooManyRequests, Unauthorized
from titanflow.http.audit import SAFE
from titanflow.http.context import Context
from titanflow.http.web import sessions
from titanflow.services import tokens

_TRUST_S = 1.0
_MOST_KNOWN = 1_000
_BURST_S = 4  # so many seconds' requests may come at once


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. name: for people and the audit log, stable. key: what the rate limit counts by."""

    name: str
    key: str
    scopes: frozenset[str]


class Authentication:
    """Runs before every resource. A token is trusted for a second: so long its revocation takes, in every process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[str, tuple[float, Principal]] = {}
        self._full_at: dict[str, float] = {}

    def process_resource(self, request: falcon.Request, _: falcon.Response, resource: Any, __: Any) -> None:
        """Raise Unauthorized, Forbidden or TooManyRequests unless the request may go on; sets request.context.who."""
        scopes: dict[str, str] = getattr(resource, "scopes", {})
        needed = scopes.get(request.method)
        if needed is None or needed == "public":
            return
        header = request.get_header("Authorization") or ""
        if header.startswith("Bearer ") and needed != "page":
            principal = self._of_token(header[7:].strip())
        else:
            principal = self._of_session(request, needed)
        if needed != "page" and needed not in principal.scopes:
            raise Forbidden(f"The token lacks the scope '{needed}'")
        self._limit(principal)
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

    def _of_session(self, request: falcon.Request, needed: str) -> Principal:
        session = sessions.find(self._context.db, request)
        if session is None and needed == "page":
            raise falcon.HTTPSeeOther("/login")
        if session is None:
            raise Unauthorized("This needs a token", fix="Send `Authorization: Bearer tf_...`.")
        request.context.session = session
        if request.method not in SAFE:
            sessions.require_own_origin(request)
            if needed != "page":  # a page's form carries it in its body: read_own_form
                sessions.require_csrf_token(session, request.get_header(sessions.CSRF_HEADER) or "")
        return Principal("web session", f"session {session.digest.hex()[:16]}", frozenset(tokens.SCOPES))

    def _limit(self, principal: Principal) -> None:
        per_second = self._context.settings.api_requests_per_second
        if per_second == 0:
            return
        known = self._full_at.get(principal.key, 0.0)
        full_at, wait_s = take(known, time.monotonic(), per_second=per_second, burst=per_second * _BURST_S)
        if wait_s > 0:
            raise TooManyRequests(
                "Too many requests with this token",
                why=f"{per_second} a second are taken, {per_second * _BURST_S} at once",
                fix="Wait as long as Retry-After says.",
                retry_after_s=math.ceil(wait_s),
            )
        if len(self._full_at) >= _MOST_KNOWN:
            self._full_at.clear()
        self._full_at[principal.key] = full_at
