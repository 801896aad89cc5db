"""The WSGI app: routes, JSON, errors, authentication."""

import re
from functools import partial

import falcon
import falcon.media
import falcon.routing
import orjson

from titanflow import __version__
from titanflow.http import health, openapi, problems
from titanflow.http.api import (
    alarms,
    audit_log,
    campaigns,
    contacts,
    conversation_settings,
    conversations,
    description,
    doubts,
    events,
    exports,
    faqs,
    inbound_media,
    media,
    operations,
    people,
    phone_numbers,
    rehearsals,
    retention,
    stats,
    suppressions,
    templates,
)
from titanflow.http.audit import AuditTrail
from titanflow.http.auth import Authentication
from titanflow.http.context import Context
from titanflow.http.contract import Contract
from titanflow.http.idempotency import Idempotency
from titanflow.http.security import Security
from titanflow.http.web import doubts as doubts_page
from titanflow.http.web import login, pages
from titanflow.http.webhooks.door import PATHS, Door
from titanflow.http.webhooks.resource import Webhook
from titanflow.http.wire import Wire

_API = (
    phone_numbers,
    templates,
    media,
    inbound_media,
    campaigns,
    contacts,
    conversations,
    doubts,
    rehearsals,
    operations,
    alarms,
    audit_log,
    suppressions,
    exports,
    stats,
    description,
    people,
    events,
    faqs,
    conversation_settings,
    retention,
)

# What the OpenAPI document describes, in its order; and the pages for people.
API_ROUTES: list[openapi.Route] = [
    *((f"/api/v1{path}", resource) for module in _API for path, resource in module.ROUTES),
    *((path, Webhook) for path in sorted(PATHS)),
    *health.ROUTES,
]
WEB_ROUTES: list[openapi.Route] = [*pages.ROUTES, *login.ROUTES, *doubts_page.ROUTES]


class _Id(falcon.routing.BaseConverter):
    """A path's `:int`: digits alone, and no more than PostgreSQL's bigint holds."""

    def convert(self, value: str) -> int | None:
        return int(value) if re.fullmatch("[0-9]{1,19}", value) and 0 < int(value) < 2**63 else None


def create_app(context: Context, door: Door | None = None) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the app. Every resource class says which scope each method needs, and describes its operations.

    door: shared with the worker.
    """
    app = falcon.App()
    app.add_middleware(
        [
            Security(context.settings),
            Wire(),
            Authentication(context),
            Idempotency(context),
            AuditTrail(context),
            Contract(),
        ]
    )
    app.router_options.converters["int"] = _Id
    handler = falcon.media.JSONHandler(dumps=partial(orjson.dumps, option=orjson.OPT_UTC_Z), loads=orjson.loads)
    app.resp_options.media_handlers["application/json"] = handler
    problems.install(app)
    made: dict[type, object] = {Webhook: Webhook(context, door or Door(context.settings))}
    document = openapi.document(API_ROUTES, version=__version__)
    made |= {resource: resource(document) for _, resource in description.ROUTES}
    for path, resource in (*API_ROUTES, *WEB_ROUTES):
        if resource not in made:
            made[resource] = resource(context)
        app.add_route(path, made[resource])
    return app
