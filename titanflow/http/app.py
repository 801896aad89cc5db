"""The WSGI app: routes, JSON, errors, authentication."""

from functools import partial
from typing import Any

import falcon
import falcon.media
import orjson

from titanflow.http import health, problems
from titanflow.http.api import (
    alarms,
    audit_log,
    campaigns,
    contacts,
    doubts,
    exports,
    media,
    operations,
    phone_numbers,
    rehearsals,
    suppressions,
    templates,
)
from titanflow.http.audit import AuditTrail
from titanflow.http.auth import Authentication
from titanflow.http.context import Context
from titanflow.http.web import doubts as doubts_page
from titanflow.http.web import pages
from titanflow.http.webhooks.door import PATHS, Door
from titanflow.http.webhooks.resource import Webhook

_API = (
    phone_numbers,
    templates,
    media,
    campaigns,
    contacts,
    doubts,
    rehearsals,
    operations,
    alarms,
    audit_log,
    suppressions,
    exports,
)
_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
}


class _SecurityHeaders:
    def process_response(self, _: Any, response: falcon.Response, __: Any, ___: bool) -> None:
        for name, value in _SECURITY.items():
            response.set_header(name, value)


def create_app(context: Context, door: Door | None = None) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the app. Every resource class says which scope each method needs. door: shared with the worker."""
    app = falcon.App()
    app.add_middleware([_SecurityHeaders(), Authentication(context), AuditTrail(context)])
    handler = falcon.media.JSONHandler(dumps=partial(orjson.dumps, option=orjson.OPT_UTC_Z), loads=orjson.loads)
    app.resp_options.media_handlers["application/json"] = handler
    problems.install(app)
    webhook = Webhook(context, door or Door(context.settings))
    for path in PATHS:
        app.add_route(path, webhook)
    for path, resource in [*health.ROUTES, *pages.ROUTES, *doubts_page.ROUTES]:
        app.add_route(path, resource(context))
    for module in _API:
        for path, resource in module.ROUTES:
            app.add_route(f"/api/v1{path}", resource(context))
    return app
