"""The live status page and the login in front of it. Plain HTML, one small script, no inline code."""

import hmac
from pathlib import Path

import falcon
import jinja2

from titanflow.errors import NotFound, StorageUnavailable, TooManyRequests
from titanflow.http.bodies import read_raw
from titanflow.http.context import Context
from titanflow.http.web import sessions
from titanflow.storage import redis_keys

_HERE = Path(__file__).parent
_PAGES = jinja2.Environment(loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True)
_STATIC = {"status.css": "text/css", "docs.css": "text/css", "status.js": "text/javascript"}
_TRIES_A_MINUTE = 5


class Status:
    """The status page; the login if nobody is logged in."""

    scopes = {"GET": "public"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Show the page, or lead to the login."""
        require_login(request, self._context)
        show(response, "status.html")


class Login:
    """The PIN."""

    scopes = {"GET": "public", "POST": "public"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Show the form."""
        show(response, "login.html", message="")

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Compare the PIN, five times a minute and address. The cookie is SameSite=Strict: no other site can post."""
        try:
            self._count_try(request.remote_addr or "")
        except TooManyRequests as error:
            show(response, "login.html", message=error.one_line())
            response.status = 429
            return
        form = falcon.uri.parse_query_string(read_raw(request, 4096, "The form").decode("utf-8", "replace"))
        pin = self._context.settings.admin_pin
        given = form.get("pin", "")
        if pin is None or not hmac.compare_digest(str(given).encode(), pin.get_secret_value().encode()):
            show(response, "login.html", message="That PIN is wrong.")
            response.status = 401
            return
        response.set_cookie(
            sessions.COOKIE,
            sessions.issue(self._context.settings.require_secret_keys()),
            max_age=sessions.LIFETIME_S,
            http_only=True,
            same_site="Strict",
            secure=request.forwarded_scheme == "https",
            path="/",
        )
        raise falcon.HTTPSeeOther("/")

    def _count_try(self, address: str) -> None:
        try:
            tries = self._context.fast_copy.count_within(redis_keys.login_attempts(address), window_s=60)
        except StorageUnavailable:
            raise TooManyRequests("Logins can't be counted right now", fix="Try again in a minute.") from None
        if tries > _TRIES_A_MINUTE:
            raise TooManyRequests("Too many tries", fix="Wait a minute.")


class Static:
    """The page's own style and script."""

    scopes = {"GET": "public"}

    def __init__(self, context: Context) -> None:
        self._files = {name: (_HERE / "static" / name).read_bytes() for name in _STATIC}

    def on_get(self, _: falcon.Request, response: falcon.Response, name: str) -> None:
        """Serve one of the files known by name."""
        if name not in self._files:
            raise NotFound(f"There is no file {name}")
        response.content_type = _STATIC[name]
        response.data = self._files[name]


def require_login(request: falcon.Request, context: Context) -> None:
    """Lead to the login unless somebody is logged in."""
    if not sessions.is_valid(request.cookies.get(sessions.COOKIE, ""), context.settings.require_secret_keys()):
        raise falcon.HTTPSeeOther("/login")


def show(response: falcon.Response, page: str, **values: object) -> None:
    """Answer with a page, never cached."""
    response.content_type = "text/html; charset=utf-8"
    response.set_header("Cache-Control", "no-store")
    response.text = render(page, **values)


def render(page: str, **values: object) -> str:
    """Return a page's HTML."""
    return _PAGES.get_template(page).render(**values)


ROUTES = [("/", Status), ("/login", Login), ("/static/{name}", Static)]
