"""What `bench webhook` measures beside the server: a plain Falcon handler under gunicorn's gevent worker.

It checks the signature and writes each status with one UPDATE and one commit before it answers 200. It keeps no
counters, no roll-ups, no ranks and nothing apart.
"""

import hashlib
import hmac
import os
from typing import Any

import falcon
import orjson
import psycopg_pool

_SET = {
    "sent": "UPDATE message_logs SET state = 'sent', sent_at = to_timestamp(%s) WHERE wamid = %s",
    "delivered": "UPDATE message_logs SET state = 'delivered', delivered_at = to_timestamp(%s) WHERE wamid = %s",
    "read": "UPDATE message_logs SET state = 'read', read_at = to_timestamp(%s) WHERE wamid = %s",
}


class Webhook:
    """POST: updates."""

    def __init__(self) -> None:
        self._secret = os.environ["META_APP_SECRET"].encode()
        self._pool = psycopg_pool.ConnectionPool(
            os.environ["DATABASE_URL"], min_size=8, max_size=8, kwargs={"autocommit": True}, open=True
        )

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """One UPDATE and one commit a status."""
        body: bytes = request.bounded_stream.read()
        signature = "sha256=" + hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signature, request.get_header("X-Hub-Signature-256") or ""):
            raise falcon.HTTPUnauthorized
        for entry in orjson.loads(body)["entry"]:
            for change in entry["changes"]:
                for one in change["value"].get("statuses", []):
                    self._write(one)
        response.text = "ok"

    def _write(self, one: dict[str, Any]) -> None:
        with self._pool.connection() as connection:
            connection.execute(_SET[one["status"]], [int(one["timestamp"]), one["id"]])


def create() -> falcon.App[falcon.Request, falcon.Response]:
    """The app, for `gunicorn "bench.naive_webhook:create()"`."""
    app = falcon.App()
    app.add_route("/api/webhooks/whatsapp", Webhook())
    return app
