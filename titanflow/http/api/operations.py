"""/supervision, /nodes, /tokens: for operators."""

import falcon
from pydantic import Field

from titanflow.errors import NotFound
from titanflow.http.bodies import Body, read_json
from titanflow.http.context import Context
from titanflow.services import tokens as service
from titanflow.storage import reports, tokens
from titanflow.supervision import observe


class Supervision:
    """The running tree of this node."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Answer the tree as it is now."""
        tree = observe(self._context.root)
        response.media = tree.as_dict() if tree else None


class Nodes:
    """All living nodes."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Answer nodes with their leases."""
        items = reports.nodes(self._context.db)
        response.media = {"items": items, "next_cursor": None, "total": len(items)}


class NewToken(Body):
    """A token to be made."""

    name: str = Field(min_length=1, max_length=100)
    scope: str = Field(pattern="^(read|send|admin)$")


class Tokens:
    """List and create."""

    scopes = {"GET": "admin", "POST": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Answer all, without anything that could be used."""
        items = tokens.list_all(self._context.db)
        response.media = {"items": items, "next_cursor": None, "total": len(items)}

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Make one; this is the only time it is shown."""
        body = read_json(request, NewToken)
        response.status = 201
        response.media = {"name": body.name, "token": service.create(self._context.db, body.name, body.scope)}


class Token:
    """One token."""

    scopes = {"DELETE": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_delete(self, _: falcon.Request, response: falcon.Response, token_id: int) -> None:
        """Revoke it; takes effect within five seconds."""
        if not tokens.revoke(self._context.db, token_id):
            raise NotFound(f"There is no token {token_id}", code="token_not_found")
        response.status = 204


ROUTES = [
    ("/supervision", Supervision),
    ("/nodes", Nodes),
    ("/tokens", Tokens),
    ("/tokens/{token_id:int}", Token),
]
