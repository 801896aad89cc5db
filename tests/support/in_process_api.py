"""The API without a server: the WSGI app on real PostgreSQL and Redis, asked in the test's own process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import falcon.testing
from pydantic import SecretStr

from tests.support.conformance import Conformance
from titanflow.actors.node.node import Node
from titanflow.domain.vault import Vault
from titanflow.http import openapi
from titanflow.http.app import API_ROUTES, create_app
from titanflow.http.context import Context
from titanflow.services import tokens
from titanflow.settings import Settings
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.supervision import SHUTDOWN, start, stop, via

KEY = "a key for the tests alone"


@dataclass
class Api:
    """A client with a token of scope admin, and what is behind it."""

    client: falcon.testing.TestClient
    db: Database
    token: str
    context: Context

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> falcon.testing.Result:
        """One request below /api/v1. body: JSON, or bytes as they are."""
        given = {"Authorization": f"Bearer {token or self.token}"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"body": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        answer = self.client.simulate_request(method, f"/api/v1{path}", headers=given, **sent)
        if "Content-Encoding" not in answer.headers:
            judge = _judge()
            judge.judge(
                method, f"/api/v1{path}", answer.status_code, answer.headers.get("Content-Type", ""), answer.content
            )
            assert judge.faults == [], judge.faults
        return answer


@cache
def _judge() -> Conformance:
    return Conformance(openapi.document(API_ROUTES, version="0"))


@contextmanager
def an_api(database_url: str, redis_url: str, data_dir: Path, *, with_node: bool = False) -> Iterator[Api]:
    """Make the app. with_node: this process counts as a node, but has no tree."""
    settings = Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        secret_key=(SecretStr(KEY),),
        admin_pin=SecretStr("83-92-01"),
        meta_app_secret=(SecretStr("secret"),),
        meta_verify_token=SecretStr("token"),
        data_dir=data_dir,
    )
    db, fast_copy = Database(database_url, pool_size=4), FastCopy(redis_url)
    context = Context(settings, db, fast_copy, Vault([KEY]), None)  # type: ignore[arg-type]  # None: no tree is asked
    node = start(Node(db), name=via("node")) if with_node else None
    try:
        token = tokens.create(db, "test", "admin")
        yield Api(falcon.testing.TestClient(create_app(context)), db, token, context)
    finally:
        if node is not None:
            stop(node, reason=SHUTDOWN)
        fast_copy.close()
        db.close()
