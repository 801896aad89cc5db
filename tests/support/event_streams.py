"""A listener to server-sent events, as a browser's EventSource is one."""

import json
import socket
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Heard:
    """One event."""

    event: str
    data: Any
    id: str | None


class Listener:
    """A connection that reads events one by one. deadline_s: of each read."""

    def __init__(self, port: int, path: str, token: str, *, last_event_id: str = "", deadline_s: float = 30) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=deadline_s)
        lines = [f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", "Accept: text/event-stream"]
        lines += [f"Last-Event-ID: {last_event_id}"] if last_event_id else []
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        self._text = ""

    def next(self) -> Heard | None:
        """Return the next event; None if the stream has ended. Comments and `retry` are skipped."""
        while True:
            while "\n\n" in self._text:
                block, _, self._text = self._text.partition("\n\n")
                fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
                if "event" in fields:
                    return Heard(fields["event"], json.loads(fields["data"]), fields.get("id"))
            size = int(self._file.readline().strip() or b"0", 16)
            if size == 0:
                return None
            self._text += self._file.read(size).decode()
            self._file.readline()

    def until(self, event: str, **wanted: Any) -> Heard:
        """Return the first event of this kind with these members. Fails at the end of the stream."""
        while (heard := self.next()) is not None:
            if heard.event == event and all(heard.data.get(name) == value for name, value in wanted.items()):
                return heard
        raise AssertionError(f"the stream ended without {event} {wanted}")

    def close(self) -> None:
        """Go away."""
        self._file.close()
        self._socket.close()
