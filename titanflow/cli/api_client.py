"""A small HTTP client of the API, for commands: JSON in, JSON out, with time-outs and errors for people."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from titanflow.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    TitanFlowError,
    Unauthorized,
    Unavailable,
)

_TIMEOUT_S = 60.0
_KINDS: dict[int, type[TitanFlowError]] = {
    400: InvalidInput, 401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 413: InvalidInput,
    422: InvalidInput, 503: Unavailable,
}  # fmt: skip


class ApiClient:
    """Talks to one server. Every call opens a connection of its own: simple, and right after a restart."""

    def __init__(self, address: str, token: str) -> None:
        try:
            parts = urlsplit(address)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            self._host = ""
        if not self._host or parts.scheme not in ("http", "https"):
            raise InvalidInput(f"{address} is no address of a server", fix="It must look like http://127.0.0.1:8000.")
        self._scheme = parts.scheme
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str) -> Any:
        """GET, parsed. Raises TitanFlowError with the server's own words; Unavailable for 503 or no answer at all."""
        return self._call("GET", path, None, {})

    def post(self, path: str, body: Any = None) -> Any:
        """POST a JSON body."""
        data = json.dumps(body).encode() if body is not None else b""
        return self._call("POST", path, data, {"Content-Type": "application/json"})

    def patch(self, path: str, body: Any) -> Any:
        """PATCH with a JSON body."""
        return self._call("PATCH", path, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def upload(self, path: str, file: Path) -> Any:
        """POST a file as CSV."""
        with file.open("rb") as data:
            headers = {"Content-Type": "text/csv", "Content-Length": str(file.stat().st_size)}
            return self._call("POST", path, data, headers)

    def lines(self, path: str) -> Iterator[bytes]:
        """GET a stream of lines."""
        connection = self._connect()
        try:
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise Unavailable(f"{path} answered {answer.status}")
            yield from answer
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable("The server can't be reached", why=str(error)) from error
        finally:
            connection.close()

    def is_up(self, path: str) -> bool:
        """True if the path answers 200 right now."""
        connection = self._connect(timeout_s=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _connect(self, *, timeout_s: float = _TIMEOUT_S) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._scheme == "https" else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=timeout_s)

    def _call(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        connection = self._connect()
        try:
            try:
                connection.request(method, path, body=body, headers={**self._headers, **headers})
            except (BrokenPipeError, ConnectionResetError):
                pass  # a server that refuses a long upload answers before its end
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable("The server can't be reached", why=str(error) or type(error).__name__) from error
        finally:
            connection.close()
        try:
            parsed = json.loads(text) if text else None
        except ValueError:
            parsed = {"title": text[:200].decode("utf-8", "replace")}
        if answer.status >= 400:
            said = parsed if isinstance(parsed, dict) else {}
            raise _KINDS.get(answer.status, TitanFlowError)(
                str(said.get("title") or f"{method} {path} answered {answer.status}"),
                why=str(said.get("detail") or ""),
                code=str(said.get("code") or "error"),
            )
        return parsed
