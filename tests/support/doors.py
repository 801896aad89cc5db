"""A door in front of a server: it lets the first connections through and is then shut, as if the server had gone."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def door_to(port: int, *, opens: int) -> Iterator[int]:
    """Yield the port of a door to a loopback port. After `opens` connections nobody listens there any more."""
    listener = socket.create_server(("127.0.0.1", 0))
    passing: list[socket.socket] = []

    def let_in() -> None:
        for _ in range(opens):
            try:
                outside, _address = listener.accept()
            except OSError:
                return
            inside = socket.create_connection(("127.0.0.1", port))
            passing.extend((outside, inside))
            for pair in ((outside, inside), (inside, outside)):
                threading.Thread(target=_pass_on, args=pair, daemon=True).start()
        listener.close()

    threading.Thread(target=let_in, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        for one in (listener, *passing):
            one.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
