"""Meta's webhooks as a Falcon resource: the handshake, and updates that don't come the short way (http/worker.py)."""

import hmac

import falcon
from pydantic import Field

from titanflow.errors import Forbidden
from titanflow.http.bodies import read_raw
from titanflow.http.context import Context
from titanflow.http.contract import Content, Query, operation
from titanflow.http.webhooks.door import MAX_BODY_BYTES, Door


class HandshakeQuery(Query):
    """Meta's handshake."""

    mode: str = Field(alias="hub.mode", description="subscribe")
    verify_token: str = Field(alias="hub.verify_token", description="META_VERIFY_TOKEN")
    challenge: str = Field(alias="hub.challenge", description="What is answered")


CHALLENGE = Content(("text/plain",), "The challenge")
UPDATES = Content(("application/json",), "Updates as Meta sends them; whatever can't be read is kept aside")
RECEIVED = Content(("text/plain",), "All of it is safe")


class Webhook:
    """GET: Meta's handshake. POST: updates."""

    scopes = {"GET": "public", "POST": "public"}

    def __init__(self, context: Context, door: Door) -> None:
        self._door = door
        token = context.settings.meta_verify_token
        self._verify_token = token.get_secret_value().encode() if token else b""

    @operation(CHALLENGE, query=HandshakeQuery, problems=("forbidden",))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer the challenge, 403 for a wrong token."""
        token = (request.get_param("hub.verify_token") or "").encode()
        if request.get_param("hub.mode") != "subscribe" or not hmac.compare_digest(token, self._verify_token):
            raise Forbidden("The verify token is wrong", fix="Enter META_VERIFY_TOKEN at Meta.")
        response.content_type = "text/plain"
        response.text = request.get_param("hub.challenge") or ""

    @operation(
        RECEIVED,
        body=UPDATES,
        problems=("bad_signature", "too_large", "too_many_requests"),
        headers={"X-Hub-Signature-256": "sha256= and the HMAC of the body with the app's secret"},
    )
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Commit the updates, then answer 200. 401 for a wrong signature, 503 if they can't be committed now."""
        body = read_raw(request, MAX_BODY_BYTES, "The webhook")
        self._door.take(body, request.get_header("X-Hub-Signature-256") or "", lambda: request.context.address)
        response.content_type = "text/plain"
        response.data = b"ok"
