"""Signing in by PIN and out again."""

import falcon
import structlog

from titanflow.errors import ConfigurationError, TooManyRequests
from titanflow.http.context import Context
from titanflow.http.web import sessions
from titanflow.http.web.pages import show
from titanflow.http.web.pin import Pin, Tries
from titanflow.services.audit import recorded
from titanflow.storage import web_sessions

log = structlog.get_logger()


class Login:
    """The PIN."""

    scopes = {"GET": "public", "POST": "public"}

    def __init__(self, context: Context) -> None:
        pin = context.settings.admin_pin
        if pin is None:
            raise ConfigurationError("ADMIN_PIN is not set")
        self._db = context.db
        self._pin = Pin(pin.get_secret_value())
        self._tries = Tries(context.db, context.fast_copy)

    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Show the form."""
        show(response, "login.html", message="")

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Compare the PIN. Other sites' pages are turned away first: they could use up this address's tries."""
        sessions.require_own_origin(request)
        given = sessions.read_form(request).get("pin", "")
        address = request.context.address
        try:
            self._tries.count(address)
            is_right = self._pin.is_right(given)
        except TooManyRequests as error:
            show(response, "login.html", message=error.one_line())
            response.status = 429
            response.set_header("Retry-After", str(error.fields["retry_after_s"]))
            return
        if not is_right:
            log.warning("login.failed", address=address)
            show(response, "login.html", message="That PIN is wrong.")
            response.status = 401
            return
        self._tries.forgive(address)
        with recorded(self._db, who="web session", what="sign in", target="pages", address=address):
            sessions.begin(self._db, request, response)
        raise falcon.HTTPSeeOther("/")


class Logout:
    """Sign out, here or everywhere."""

    scopes = {"POST": "page"}

    def __init__(self, context: Context) -> None:
        self._db = context.db

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """End this browser's session; with `everywhere` in the form, all of them."""
        if "everywhere" in sessions.read_own_form(request):
            web_sessions.end_all(self._db)
        else:
            web_sessions.end(self._db, request.context.session.digest)
        sessions.end(request, response)
        raise falcon.HTTPSeeOther("/login")


ROUTES: list[tuple[str, type]] = [("/login", Login), ("/logout", Logout)]
