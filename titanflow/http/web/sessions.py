"""The session behind the pages' cookie, and the token that proves that a form is ours."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

import falcon

from titanflow.errors import Forbidden
from titanflow.http.bodies import read_raw
from titanflow.storage import web_sessions
from titanflow.storage.database import Database

COOKIE = "titanflow_session"
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf_token"
_MOST_FORM_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser. csrf_token: for the forms and scripts of its own pages; no other site can read it."""

    digest: bytes
    csrf_token: str


def begin(db: Database, request: falcon.Request, response: falcon.Response) -> None:
    """Sign in: a new session and cookie, whatever the browser sent, so that nobody can have planted it."""
    cookie = secrets.token_urlsafe(32)
    before = _digest(request.cookies.get(COOKIE, ""))
    web_sessions.begin(db, _digest(cookie), instead_of=before, address=request.context.address)
    _set_cookie(request, response, cookie, web_sessions.LIFETIME_S)


def end(request: falcon.Request, response: falcon.Response) -> None:
    """Take the cookie back. Who ends the session itself: storage/web_sessions.py."""
    _set_cookie(request, response, "", 0)


def find(db: Database, request: falcon.Request) -> Session | None:
    """Return the session of a request's cookie, if it is alive."""
    cookie = request.cookies.get(COOKIE, "")
    if not 40 <= len(cookie) <= 60 or not web_sessions.is_alive(db, _digest(cookie)):
        return None
    return Session(_digest(cookie), hmac.new(cookie.encode(), b"titanflow csrf", hashlib.sha256).hexdigest())


def require_own_origin(request: falcon.Request) -> None:
    """Raise Forbidden if a browser says that another site's page made this request."""
    site = request.get_header("Sec-Fetch-Site")  # set by the browser itself; no page can forge it
    if site == "same-origin":
        return
    origin = request.get_header("Origin")
    ours = origin is None or urlsplit(origin).netloc.lower() == (request.get_header("Host") or "").lower()
    if not ours or site in ("cross-site", "same-site"):
        raise Forbidden("Another site's page may not do this", code="csrf")


def require_csrf_token(session: Session, given: str) -> None:
    """Raise Forbidden unless the request carries its session's own token."""
    if not hmac.compare_digest(session.csrf_token.encode(), given.encode()):
        raise Forbidden(
            "The request lacks its page's token", fix=f"Load the page anew. Scripts send it as {CSRF_HEADER}.",
            code="csrf",
        )  # fmt: skip


def read_form(request: falcon.Request) -> dict[str, str]:
    """Return the fields of a small form. Raises InvalidInput (413) if it is larger."""
    text = read_raw(request, _MOST_FORM_BYTES, "The form").decode("utf-8", "replace")
    parsed = falcon.uri.parse_query_string(text, keep_blank=True)
    return {name: value if isinstance(value, str) else value[-1] for name, value in parsed.items()}


def read_own_form(request: falcon.Request) -> dict[str, str]:
    """Return the fields of a form of our own page. Raises Forbidden unless it carries the session's token."""
    form = read_form(request)
    require_csrf_token(request.context.session, form.get(CSRF_FIELD, ""))
    return form


def _set_cookie(request: falcon.Request, response: falcon.Response, value: str, max_age: int) -> None:
    response.set_cookie(
        COOKIE,
        value,
        max_age=max_age,
        http_only=True,
        same_site="Strict",
        secure=request.scheme == "https",  # gunicorn believes X-Forwarded-Proto of FORWARDED_ALLOW_IPS alone
        path="/",
    )


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()
