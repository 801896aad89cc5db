"""Meta's webhooks: signature over the raw bytes, lenient parsing, 200 only after the commit. No line is logged here."""

import hashlib
import hmac
import time
from collections import OrderedDict

import falcon

from titanflow.actors.node import webhook_ingestor
from titanflow.domain import webhooks
from titanflow.errors import Forbidden, TooManyRequests
from titanflow.http.bodies import read_raw
from titanflow.http.context import Context

MAX_BODY_BYTES = 3 * 1024 * 1024
_BAD_PER_MINUTE = 1_000
_MOST_ADDRESSES = 10_000


class Webhook:
    """GET: Meta's handshake. POST: updates."""

    scopes = {"GET": "public", "POST": "public"}

    def __init__(self, context: Context) -> None:
        self._secrets = context.settings.app_secrets()
        token = context.settings.meta_verify_token
        self._verify_token = token.get_secret_value().encode() if token else b""
        self._bad: OrderedDict[str, tuple[int, int]] = OrderedDict()  # address -> (minute, count)

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer the challenge, 403 for a wrong token."""
        token = (request.get_param("hub.verify_token") or "").encode()
        if request.get_param("hub.mode") != "subscribe" or not hmac.compare_digest(token, self._verify_token):
            raise Forbidden("The verify token is wrong", fix="Enter META_VERIFY_TOKEN at Meta.")
        response.content_type = "text/plain"
        response.text = request.get_param("hub.challenge") or ""

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Commit the updates, then answer 200. 401 for a wrong signature, 503 if they can't be committed now."""
        body = read_raw(request, MAX_BODY_BYTES, "The webhook")
        if not self._is_signed(body, request.get_header("X-Hub-Signature-256") or ""):
            self._refuse(request.remote_addr or "")
        batch = webhooks.parse(body)
        if len(batch):
            webhook_ingestor.ingest(batch)
        response.content_type = "text/plain"
        response.data = b"ok"

    def _is_signed(self, body: bytes, header: str) -> bool:
        given = header.removeprefix("sha256=").encode("latin-1", "replace")
        return any(
            hmac.compare_digest(hmac.new(secret, body, hashlib.sha256).hexdigest().encode(), given)
            for secret in self._secrets
        )

    def _refuse(self, address: str) -> None:
        minute = int(time.monotonic() // 60)
        known, count = self._bad.pop(address, (minute, 0))
        count = count + 1 if known == minute else 1
        self._bad[address] = (minute, count)
        if len(self._bad) > _MOST_ADDRESSES:
            self._bad.popitem(last=False)
        if count > _BAD_PER_MINUTE:
            raise TooManyRequests("Too many webhooks with a wrong signature")
        raise Forbidden("The signature is wrong", fix="Check META_APP_SECRET.", code="bad_signature", status=401)
