"""The connection: aiohttp's for everything but messages, which it takes by itself, without a task or an await.

A message is stamped when its first byte is seen, before it is parsed: by those stamps the sender's rate is judged.
"""

import asyncio
import re
import time

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from titanflow.sandbox import messages
from titanflow.sandbox.answers import Answer, http, on_the_wire
from titanflow.sandbox.state import Meta

_START = b"POST /v"
_TARGET = re.compile(rb"POST /v\d+\.\d+/([^/ ?]+)/(marketing_)?messages(?:\?[^ ]*)? HTTP/1\.1\r\n")
_HEADER = re.compile(rb"\r\n(authorization|content-length|connection|transfer-encoding): *([^\r]*)", re.IGNORECASE)
_LONGEST_HEAD = 16 * 1024
_LARGEST_BODY = 4 * 2**20


class Chaos:
    """What goes wrong with connections. Counts what it did."""

    def __init__(self) -> None:
        self.doors: set[Door] = set()
        self.reset_unread = 0  # so many more requests are reset before they are read
        self.close_every = 0  # every so many answers the server closes the connection, silently, behind the answer
        self.close_idle_s = 0.0  # a connection that was idle for so long is closed by the server
        self.answers = self.resets = self.closes = self.dropped = 0

    def drop_connections(self) -> int:
        """Cut every open connection, whatever is under way on it."""
        cut = 0
        for door in list(self.doors):
            if door.transport is not None:
                door.transport.abort()
                cut += 1
        self.dropped += cut
        return cut

    def as_json(self) -> dict[str, object]:
        """What is set, and what it counted."""
        return {
            "open": len(self.doors),
            "reset_unread": self.reset_unread,
            "close_every": self.close_every,
            "close_idle_s": self.close_idle_s,
            "resets": self.resets,
            "closes": self.closes,
            "dropped": self.dropped,
        }


class Door(RequestHandler):
    """One connection."""

    __slots__ = ("_answering", "_at", "_chaos", "_earliest", "_idle_timer", "_meta", "_unread")

    def __init__(self, meta: Meta, chaos: Chaos, manager: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(manager, loop=loop, access_log=None)  # type: ignore[arg-type]
        self._meta, self._chaos = meta, chaos
        self._unread = b""
        self._at = 0.0
        self._answering = False
        self._idle_timer: asyncio.TimerHandle | None = None
        # Made when the connection is accepted. Its first request may have waited with it, long before it is read.
        self._earliest: float | None = meta.ledger.glances.earliest

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be counted among the open connections."""
        super().connection_made(transport)
        self._chaos.doors.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Be forgotten."""
        self._chaos.doors.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a message, or hand the bytes to aiohttp."""
        at = time.monotonic()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._unread:
            self._unread += data
        elif self._answering:
            self._unread = data
            self._at = at
        elif self._current_request is None and not self._messages and _may_be_a_message(data):
            self._unread, self._at = data, at
        else:
            super().data_received(data)
            return
        if not self._answering:
            self._advance()

    def _advance(self) -> None:
        """Take the message that is in the buffer, if it is there as a whole."""
        unread = self._unread
        end = unread.find(b"\r\n\r\n")
        if end < 0 and len(unread) < _LONGEST_HEAD:
            return
        target = _TARGET.match(unread)
        if target is None:
            self._unread = b""
            super().data_received(unread)
            return
        token, length, closes = "", -1, False
        for name, value in _HEADER.findall(unread, target.end() - 2, end):
            match name.lower():
                case b"authorization":
                    token = value.decode("latin-1").removeprefix("Bearer ").strip()
                case b"content-length":
                    length = int(value) if value.isdigit() else -1
                case b"connection":
                    closes = value.lower() == b"close"
                case _:  # transfer-encoding: aiohttp knows it
                    self._unread = b""
                    super().data_received(unread)
                    return
        if length < 0 or length > _LARGEST_BODY:
            self._unread = b""
            self._write(http(411 if length < 0 else 413, b"{}"), "close")
            return
        whole = end + 4 + length
        if len(unread) < whole:
            return
        self._unread = unread[whole:]
        if self._chaos.reset_unread > 0:
            self._chaos.reset_unread -= 1
            self._chaos.resets += 1
            self._write(b"", "abort")
            return
        answer = messages.take(
            self._meta,
            self._at,
            target[1].decode(),
            token,
            unread[end + 4 : whole],
            marketing_path=bool(target[2]),
            earliest=self._earliest,
        )
        self._earliest = None
        self._answering = True
        if answer.wait_s > 0:
            self._loop.call_later(answer.wait_s, self._finish, answer, closes)
        else:
            self._finish(answer, closes)

    def _finish(self, answer: Answer, closes: bool) -> None:
        self._answering = False
        chaos = self._chaos
        chaos.answers += 1
        content, then = on_the_wire(answer)
        if closes and then == "keep":
            then = "close"
        elif chaos.close_every and chaos.answers % chaos.close_every == 0 and then == "keep":
            chaos.closes += 1
            then = "close"
        if self._write(content, then) and answer.row is not None and not answer.kind:
            self._meta.ledger.answered(answer.row)
        if then != "keep":
            return
        if chaos.close_idle_s:
            self._idle_timer = self._loop.call_later(chaos.close_idle_s, self._close_idle)
        if self._unread:
            self._at = time.monotonic()
            self._advance()

    def _close_idle(self) -> None:
        self._chaos.closes += 1
        self._write(b"", "close")

    def _write(self, content: bytes, then: str) -> bool:
        """Write bytes, then keep, close or abort the connection. False if it is gone already."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return False
        if content:
            transport.write(content)
        if then == "close":
            transport.close()
        elif then == "abort":
            transport.abort()
        return True


def _may_be_a_message(data: bytes) -> bool:
    return data.startswith(_START) or (len(data) < len(_START) and _START.startswith(data))


def message_routes(meta: Meta) -> list[web.RouteDef]:
    """The same for a message that aiohttp had to read: a chunked one, or one behind a request still under way."""

    async def post(request: web.Request) -> web.StreamResponse:
        at = time.monotonic()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        marketing = request.path.endswith("/marketing_messages")
        number_id = request.match_info["id"]
        answer = messages.take(meta, at, number_id, token, await request.read(), marketing_path=marketing)
        await asyncio.sleep(answer.wait_s)
        content, then = on_the_wire(answer)
        transport = request.transport
        if transport is not None and not transport.is_closing():
            transport.write(content)
            if answer.row is not None and not answer.kind:
                meta.ledger.answered(answer.row)
            transport.abort() if then == "abort" else transport.close()
        return web.Response()

    path = r"/{version:v\d+\.\d+}/{id}/"
    return [web.post(path + name, post) for name in ("messages", "marketing_messages")]
