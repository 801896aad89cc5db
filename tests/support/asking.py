"""Asks a server on the stage over HTTP, as a program would, with a token or without."""

import http.client
import json
from typing import Any

from titanflow.cli.stage import Stage


def ask(
    stage: Stage, method: str, path: str, body: object = None, *, token: str | None = None, **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """Return status, body and headers (names in lower case). token: in place of the stage's; "" for none."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=20)
    bearer = stage.token if token is None else token
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if bearer:
        given["Authorization"] = f"Bearer {bearer}"
    try:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, data, given)
        answer = connection.getresponse()
        text = answer.read()
        parsed = json.loads(text) if text[:1] in (b"{", b"[") else text
        return answer.status, parsed, {key.lower(): value for key, value in answer.getheaders()}
    finally:
        connection.close()
