"""Somebody who talks HTTP to a running server: a program with a token, or a browser with cookies."""

import http.client
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class Answer:
    """status, headers by lower-case name, the body as bytes and as JSON if it is any."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Visitor:
    """headers: sent with every request. cookies: kept as a browser keeps them."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Ask once. body: bytes, or anything that JSON can say."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        given = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.cookies:
            given["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, data, given)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                self.cookies[key] = rest.partition(";")[0].strip('"')
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, text)

    def submit(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        """Send a form."""
        return self.ask("POST", path, urlencode(fields).encode(), **{**FORM, **headers})

    def csrf_token(self) -> str:
        """The token of the status page."""
        found = re.search(rb'<meta name="csrf-token" content="(\w+)">', self.ask("GET", "/").body)
        assert found
        return found[1].decode()


def signed_in(port: int, pin: str, **headers: str) -> Visitor:
    """A browser after the login."""
    visitor = Visitor(port, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = visitor.submit("/login", {"pin": pin})
    assert (answer.status, answer.headers["location"]) == (303, "/"), answer
    return visitor
