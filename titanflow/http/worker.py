"""gunicorn's gevent worker, with a bound on what a refused request may still send.

gunicorn discards an unread body before it takes the next request of a connection, all of it, and a client that sends
fast never lets it wait: 2 GB behind a 422 or a 401 held the hub for 30 s, until the master killed the worker. Here the
rest is discarded in small bites; a client that sends on and on has its connection closed, after its answer.
"""

from typing import Any

from gunicorn.workers.ggevent import GeventWorker

from titanflow.supervision import sleep_ms

_BITE = 64 * 1024
_MOST_BYTES = 16 * 1024 * 1024  # worth reading for a client that looks at the answer only after its last byte
_PATIENCE_S = 5.0


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """One process, one node."""

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer, then make sure that nothing of the body is left. StopIteration closes the connection."""
        try:
            super().handle_request(listener_name, req, sock, addr)
        finally:
            emptied = _empty(req.body, sock)
        if not emptied:
            raise StopIteration


def _empty(body: Any, sock: Any) -> bool:
    try:
        if not body.read(1):
            return True
        sock.settimeout(_PATIENCE_S)
        for _ in range(_MOST_BYTES // _BITE):
            if not body.read(_BITE):
                sock.settimeout(None)
                return True
            sleep_ms(1)  # not 0: timers must run too
    except Exception:  # noqa: BLE001  (an edge: a body cut short or garbled is gunicorn's own errors, or the socket's)
        return False
    return False
