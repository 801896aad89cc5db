"""The client on real sockets: what was surely not sent, what may have been, and when the gate is asked."""

import socket
import threading

from titanflow.domain.outcomes import Accepted, Rejected, Uncertain
from titanflow.meta.client import MetaClient
from titanflow.meta.error_policy import LEASE_LOST, NOT_CONNECTED

_BODY = b'{"messages":[{"id":"wamid.One"}]}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: " + str(len(_BODY)).encode() + b"\r\n\r\n" + _BODY


class _Meta:
    """Accepts one connection and answers with fixed bytes; knows what it has read."""

    def __init__(self, answer: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connected = threading.Event()
        self.read = b""
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        peer, _ = self._listener.accept()
        self.connected.set()
        peer.settimeout(5)
        self.read = peer.recv(65536)
        if self._answer:
            peer.sendall(self._answer)
        peer.close()
        self._listener.close()


def _client(port: int) -> MetaClient:
    return MetaClient(f"http://127.0.0.1:{port}", "v25.0", "7", "token", concurrency=2)


def _unheard() -> None:
    pass


def test_the_gate_is_asked_with_the_connection_open_and_nothing_written() -> None:
    """Decision 0004: a handshake behind the gate shifted departures, and a second held more than its rate."""
    meta = _Meta(_ANSWER)
    seen: list[tuple[bool, bytes]] = []

    def may_leave() -> bool:
        seen.append((meta.connected.wait(timeout=5), meta.read))
        return True

    outcome = _client(meta.port).send_template("+491", {}, "m:1:1", may_leave=may_leave, has_left=_unheard)
    assert outcome == Accepted("wamid.One")
    assert seen == [(True, b"")]
    assert b'"biz_opaque_callback_data":"m:1:1"' in meta.read


def test_the_gate_hears_when_the_bytes_are_out() -> None:
    meta = _Meta(_ANSWER)
    told: list[str] = []

    def may_leave() -> bool:
        told.append("asked")
        return True

    _client(meta.port).send_template("+491", {}, "m:1:1", may_leave=may_leave, has_left=lambda: told.append("left"))

    assert told == ["asked", "left"]


def test_a_closed_gate_lets_nothing_out() -> None:
    meta = _Meta(_ANSWER)
    client = _client(meta.port)

    outcome = client.send_template("+491", {}, "m:1:1", may_leave=lambda: False, has_left=_unheard)

    assert isinstance(outcome, Rejected)
    assert outcome.rule is LEASE_LOST
    client.close()
    meta._thread.join(timeout=6)
    assert meta.read == b""


def test_a_refused_connection_is_surely_not_sent() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        outcome = _client(probe.getsockname()[1]).send_template(
            "+491", {}, "m:1:1", may_leave=lambda: True, has_left=_unheard
        )
    assert isinstance(outcome, Rejected)
    assert outcome.rule is NOT_CONNECTED


def test_a_connection_closed_without_an_answer_is_uncertain() -> None:
    outcome = _client(_Meta(b"").port).send_template("+491", {}, "m:1:1", may_leave=lambda: True, has_left=_unheard)
    assert isinstance(outcome, Uncertain)


def test_an_answer_cut_short_is_uncertain() -> None:
    outcome = _client(_Meta(_ANSWER[:-5]).port).send_template(
        "+491", {}, "m:1:1", may_leave=lambda: True, has_left=_unheard
    )
    assert isinstance(outcome, Uncertain)
