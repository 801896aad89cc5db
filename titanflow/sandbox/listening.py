"""The listening socket, which can be away for a while: then connections are refused."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

_BACKLOG = 1024


class Listener:
    """Listens on loopback; the port stays the same."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._protocol: Callable[[], asyncio.BaseProtocol] = asyncio.Protocol
        self._server: asyncio.Server | None = None
        self._reopening: asyncio.Task[None] | None = None

    async def open(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Listen, with such a protocol for each connection. Raises OSError if the port is taken."""
        self._protocol = protocol
        listening = socket.create_server(("127.0.0.1", self.port), backlog=_BACKLOG)
        self.port = listening.getsockname()[1]
        self._server = await asyncio.get_running_loop().create_server(self._protocol, sock=listening, backlog=_BACKLOG)

    def close(self) -> None:
        """Listen no more; open connections go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def refuse(self, for_s: float) -> None:
        """Refuse connections for some seconds."""
        self.close()
        if self._reopening is None or self._reopening.done():
            self._reopening = asyncio.create_task(self._reopen(for_s))

    async def _reopen(self, in_s: float) -> None:
        await asyncio.sleep(in_s)
        while self._server is None:
            with contextlib.suppress(OSError):  # the port may be in somebody's way for a moment
                await self.open(self._protocol)
            await asyncio.sleep(0.01)
