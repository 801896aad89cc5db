"""Sends messages of one phone number over kept-alive connections: one POST a message, never a second one.

Built on geventhttpclient's connection pool and parser, below its `request`: only here it is known for certain
whether a byte of the request was written. Before that a failure is Rejected (nothing left); after it, Uncertain.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson
from geventhttpclient.connectionpool import ConnectionPool, SSLConnectionPool
from geventhttpclient.response import HTTPParseError, HTTPResponse

from titanflow.domain.outcomes import Outcome, Rejected, Uncertain
from titanflow.meta import answers
from titanflow.meta.error_policy import LEASE_LOST, NOT_CONNECTED

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
_MAX_ANSWER_BYTES = 256 * 1024
_READ_BYTES = 16 * 1024


class _Answer(HTTPResponse):
    """geventhttpclient's parser, which keeps the body in one bytearray."""

    def __init__(self) -> None:
        super().__init__("POST")
        self.body = bytearray()

    def _on_body(self, piece: bytearray) -> None:
        self.body += piece


class MetaClient:
    """The connection of one phone number to Meta. Safe for as many greenlets as `concurrency`."""

    def __init__(
        self,
        graph_url: str,
        api_version: str,
        phone_number_id: str,
        access_token: str,
        *,
        concurrency: int,
    ) -> None:
        parts = urlsplit(graph_url)
        host = parts.hostname or ""
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        pool = SSLConnectionPool if tls else ConnectionPool
        self._pool: ConnectionPool = pool(
            host,
            port,
            host,
            port,
            size=concurrency,
            connection_timeout=CONNECT_TIMEOUT_S,
            network_timeout=ANSWER_TIMEOUT_S,
        )
        self._head = (
            f"POST {parts.path.rstrip('/')}/{api_version}/{phone_number_id}/messages HTTP/1.1\r\n"
            f"Host: {parts.netloc}\r\nAuthorization: Bearer {access_token}\r\n"
            "Content-Type: application/json\r\nAccept: application/json\r\nContent-Length: "
        ).encode("ascii")

    def send_template(
        self,
        to: str,
        template: dict[str, Any],
        echo: str,
        *,
        may_leave: Callable[[], bool],
        has_left: Callable[[], None],
    ) -> Outcome:
        """POST one template message, as `send` does. template: as CompiledTemplate.render makes it."""
        content = {"type": "template", "template": template}
        return self.send(to, content, echo, may_leave=may_leave, has_left=has_left)

    def send(
        self,
        to: str,
        content: Mapping[str, Any],
        echo: str,
        *,
        may_leave: Callable[[], bool],
        has_left: Callable[[], None],
    ) -> Outcome:
        """POST one message and wait for the answer, at most ANSWER_TIMEOUT_S. Never raises, never repeats.

        to: E.164 with the plus, or a business-scoped user id. content: Meta's object with its `type`. echo:
        domain/echo.py. may_leave: asked with the connection open and the bytes ready, and may wait; only the write
        follows. False: nothing leaves. has_left: told right after the write.
        """
        body = orjson.dumps(
            {
                "messaging_product": "whatsapp",
                "recipient_type": "individual",
                "to" if to[:1] == "+" else "recipient": to,
                "biz_opaque_callback_data": echo,
                **content,
            }
        )
        try:
            sock = self._pool.get_socket()
        except OSError as error:  # DNS, connect, TLS: no byte of the request was written
            return Rejected(NOT_CONNECTED, f"{type(error).__name__}: {error}"[:300])
        request = self._head + str(len(body)).encode() + b"\r\n\r\n" + body
        reusable = False
        try:
            if not may_leave():
                reusable = True
                return Rejected(LEASE_LOST, "nothing may leave from here any more")
            sock.sendall(request)
            has_left()
            answer = self._read(sock)
            reusable = not answer.should_close()
        except TimeoutError:
            return Uncertain(f"no answer within {ANSWER_TIMEOUT_S:.0f} s")
        except (OSError, HTTPParseError) as error:
            return Uncertain(f"{type(error).__name__}: {error}"[:300])
        finally:
            if reusable:
                self._pool.return_socket(sock)
            else:
                self._pool.release_socket(sock)
        if answer.status_code == 200:
            return answers.read(200, bytes(answer.body))
        return answers.read(
            answer.status_code,
            bytes(answer.body),
            retry_after=_header(answer, "retry-after"),
            usage=_header(answer, "x-business-use-case-usage"),
        )

    def _read(self, sock: Any) -> _Answer:
        """Read one whole answer. Raises TimeoutError after ANSWER_TIMEOUT_S in all, OSError if it is cut short."""
        answer = _Answer()
        deadline_ns = time.monotonic_ns() + int(ANSWER_TIMEOUT_S * 1e9)
        while not answer.message_complete:
            data = sock.recv(_READ_BYTES)
            if not data:
                raise ConnectionError("the connection was closed before the answer was complete")
            answer.feed(data)
            if len(answer.body) > _MAX_ANSWER_BYTES:
                raise ConnectionError(f"the answer is longer than {_MAX_ANSWER_BYTES} bytes")
            if not answer.message_complete and time.monotonic_ns() > deadline_ns:
                raise TimeoutError
        return answer

    def close(self) -> None:
        """Close the idle connections; those in use close when their answer is in."""
        self._pool.close()


def _header(answer: _Answer, name: str) -> str | None:
    text = answer.get(name)
    return text if isinstance(text, str) else None
