"""/openapi.json and /docs: the API as programs and as people read it."""

from typing import Any

import falcon
import orjson

from titanflow.http.contract import Content, operation
from titanflow.http.web import docs

DOCUMENT = Content(("application/json",), "The OpenAPI 3.1 document")
PAGE = Content(("text/html",), "The page")
_CACHED = "public, max-age=300"


class OpenApi:
    """This document."""

    scopes = {"GET": "public"}

    def __init__(self, document: dict[str, Any]) -> None:
        self._data = orjson.dumps(document)

    @operation(DOCUMENT)
    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Answer the OpenAPI document."""
        response.set_header("Cache-Control", _CACHED)
        response.content_type = "application/json"
        response.data = self._data


class Docs:
    """The document for people."""

    scopes = {"GET": "public"}

    def __init__(self, document: dict[str, Any]) -> None:
        self._page = docs.page(document)

    @operation(PAGE)
    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Show the document as a page."""
        response.set_header("Cache-Control", _CACHED)
        response.content_type = "text/html; charset=utf-8"
        response.text = self._page


ROUTES = [("/openapi.json", OpenApi), ("/docs", Docs)]
