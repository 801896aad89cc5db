"""Holds every answer that a test gets over HTTP against the OpenAPI document: status, media type, code, members."""

import http.client
import io
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import orjson
import pytest

from titanflow.http import openapi
from titanflow.http.app import API_ROUTES, WEB_ROUTES

_OF_NO_OPERATION = {404: "not_found", 405: "method_not_allowed", 503: "starting"}
_OF_ANY = (
    b'"uri_too_long"',
    b'"headers_too_large"',
    b'"bad_request"',
)  # gunicorn's, of what never gets to an operation
_PARAMETER = re.compile(r"\\\{\w+\\\}")


@dataclass
class Conformance:
    """The document, ready to judge answers. faults: what was not as described, in words."""

    document: dict[str, Any]
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._paths = sorted(
            ((re.compile(_PARAMETER.sub("[^/]+", re.escape(path))), path) for path in self.document["paths"]),
            key=lambda one: one[1].count("{"),
        )
        self._pages = [re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)) for path, _ in WEB_ROUTES]
        self._validators: dict[str, Any] = {}

    def judge(self, method: str, url: str, status: int, media_type: str, body: bytes | None) -> None:
        """Note what is wrong with an answer. body: None if it is a stream that nobody should wait for."""
        path = urlsplit(url).path
        found = next((shown for pattern, shown in self._paths if pattern.fullmatch(path)), None)
        one = self.document["paths"].get(found, {}).get(method.lower())
        if one is None or (status == 404 and body and b'"not_found"' in body):
            if not any(pattern.fullmatch(path) for pattern in self._pages) and method not in ("OPTIONS", "HEAD"):
                self._judge_nothing(method, path, status, body)
            return
        if status in (400, 414, 431) and body and any(code in body for code in _OF_ANY):
            return
        where = f"{method} {found} -> {status}"
        answer = one["responses"].get(str(status))
        if answer is None:
            self.faults.append(f"{where}: the status is not described: {(body or b'')[:300]!r}")
            return
        answer = self._resolved(answer)
        content = answer.get("content", {})
        plain = media_type.partition(";")[0].strip()
        media = next((one for name, one in content.items() if name.partition(";")[0].strip() == plain), None)
        if media is None:
            if content or body:
                self.faults.append(f"{where}: {media_type!r} is not one of {sorted(content)}: {(body or b'')[:200]!r}")
        elif body is not None and plain.endswith("json") and media["schema"] != {"type": "string"}:
            self._check(where, media["schema"], body)

    def _judge_nothing(self, method: str, path: str, status: int, body: bytes | None) -> None:
        code = _OF_NO_OPERATION.get(status)
        if code is None or body is None or orjson.loads(body).get("code") != code:
            self.faults.append(f"{method} {path} is in no document and answered {status}: {(body or b'')[:200]!r}")

    def _resolved(self, answer: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in answer:
            return answer
        shared: dict[str, Any] = self.document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        return shared

    def _check(self, where: str, schema: dict[str, Any], body: bytes) -> None:
        key = orjson.dumps(schema).decode()
        if key not in self._validators:
            whole = {**schema, "components": self.document["components"]}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        for error in self._validators[key].iter_errors(orjson.loads(body)):
            at = "/".join(str(part) for part in error.instance_path)
            self.faults.append(f"{where}: {at or 'the body'}: {error.message[:300]}")


def watch(monkeypatch: pytest.MonkeyPatch) -> Conformance:
    """Judge whatever http.client gets from now on, below /api and the like."""
    judge = Conformance(openapi.document(API_ROUTES, version="0"))
    asked: dict[int, tuple[str, str]] = {}
    put, get = http.client.HTTPConnection.putrequest, http.client.HTTPConnection.getresponse

    def putrequest(connection: Any, method: str, url: str, *arguments: Any, **more: Any) -> None:
        asked[id(connection)] = method, url
        put(connection, method, url, *arguments, **more)

    def getresponse(connection: Any) -> http.client.HTTPResponse:
        response = get(connection)
        method, url = asked.pop(id(connection), ("", ""))
        if not urlsplit(url).path.startswith(("/api", "/health", "/metrics")):
            return response
        media_type = response.getheader("Content-Type") or ""
        body = None
        if media_type.endswith("json") or media_type.startswith(("application/json", "application/problem+json")):
            body = response.read()
            response.read = io.BytesIO(body).read  # type: ignore[method-assign, assignment]
        elif method != "HEAD" and response.length == 0:
            body = b""
        judge.judge(method, url, response.status, media_type, body)
        return response

    monkeypatch.setattr(http.client.HTTPConnection, "putrequest", putrequest)
    monkeypatch.setattr(http.client.HTTPConnection, "getresponse", getresponse)
    return judge
