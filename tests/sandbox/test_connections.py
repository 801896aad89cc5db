"""The wire itself: arrivals, kept-alive connections, resets, refusals, odd requests."""

import http.client
import json
import socket
import time

import pytest

from tests.sandbox.fake_meta import DEADLINE_S, FakeMeta, a_message, running_sandbox


@pytest.fixture(autouse=True)
def _as_it_was(sandbox: FakeMeta) -> None:
    sandbox.control("DELETE", "rules")
    sandbox.control("POST", "connections", {"reset_unread": 0, "close_every": 0, "close_idle_s": 0})


def _request(echo: str, *, head: str = "") -> bytes:
    body = json.dumps(a_message("+491800000001", echo=echo)).encode()
    lines = ["POST /v25.0/160/messages HTTP/1.1", "Host: sandbox", "authorization: Bearer t", head]
    text = "\r\n".join(line for line in lines if line) + f"\r\nContent-Length: {len(body)}\r\n\r\n"
    return text.encode() + body


def _connect(sandbox: FakeMeta) -> socket.socket:
    return socket.create_connection(("127.0.0.1", sandbox.port), timeout=DEADLINE_S)


def _answer(connection: socket.socket) -> http.client.HTTPResponse:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer


def test_a_message_may_arrive_in_pieces_and_several_at_once(sandbox: FakeMeta) -> None:
    with _connect(sandbox) as connection:
        for byte in _request("piece:1:1"):
            connection.sendall(bytes([byte]))
            time.sleep(0.0005)  # or the system would join them again
        assert _answer(connection).status == 200
        connection.sendall(_request("piece:2:1") + _request("piece:3:1"))
        seen = b""
        while seen.count(b"message_status") < 2:
            more = connection.recv(65536)
            assert more
            seen += more
    echoes = [row["echo"] for row in sandbox.ledger()]
    assert [echo for echo in echoes if echo.startswith("piece:")] == ["piece:1:1", "piece:2:1", "piece:3:1"]


def test_messages_and_management_share_a_connection(sandbox: FakeMeta) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=DEADLINE_S)
    for n in range(3):
        headers = {"Authorization": "Bearer t"}
        connection.request("POST", "/v25.0/160/messages", json.dumps(a_message(echo=f"share:{n}:1")), headers)
        assert json.loads(connection.getresponse().read())["messages"]
        connection.request("GET", "/v25.0/160", headers=headers)
        assert json.loads(connection.getresponse().read())["id"] == "160"
    connection.close()


def test_a_chunked_request_is_read_too(sandbox: FakeMeta) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=DEADLINE_S)
    parts = [json.dumps(a_message(echo="chunk:1:1")).encode()]
    headers = {"Authorization": "Bearer t", "Transfer-Encoding": "chunked"}
    connection.request("POST", "/v25.0/160/messages", iter(parts), headers, encode_chunked=True)
    assert json.loads(connection.getresponse().read())["messages"]
    connection.close()


def test_a_request_is_reset_before_it_is_read(sandbox: FakeMeta) -> None:
    before = sandbox.summary()
    sandbox.control("POST", "connections", {"reset_unread": 1})
    with pytest.raises(OSError, match=r"reset|closed|Remote end"):
        sandbox.send("+491800000002", number="160")
    after = sandbox.summary()
    assert after["posts"] == before["posts"]
    assert after["connections"]["resets"] == before["connections"]["resets"] + 1
    assert sandbox.send("+491800000002", number="160").status == 200


def test_a_kept_alive_connection_is_closed_behind_an_answer(sandbox: FakeMeta) -> None:
    sandbox.control("POST", "connections", {"close_every": 1})
    with _connect(sandbox) as connection:
        connection.sendall(_request("closing:1:1"))
        answer = _answer(connection)
        assert answer.status == 200
        assert answer.getheader("Connection") is None  # nothing warned of it
        assert connection.recv(1) == b""


def test_an_idle_connection_is_closed(sandbox: FakeMeta) -> None:
    sandbox.control("POST", "connections", {"close_idle_s": 0.2})
    with _connect(sandbox) as connection:
        connection.sendall(_request("idle:1:1"))
        assert _answer(connection).status == 200
        assert connection.recv(1) == b""


def test_connections_are_refused_for_a_while_and_the_state_is_kept(sandbox: FakeMeta) -> None:
    before = len(sandbox.ledger())
    with _connect(sandbox) as idle:
        sandbox.control("POST", "connections", {"refuse_s": 1.5})
        assert idle.recv(1) == b""  # or a reset: the open one is cut as well
    refused = 0
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            _connect(sandbox).close()
        except ConnectionRefusedError:
            refused += 1
            time.sleep(0.05)
        else:
            if refused:
                break
    assert refused
    assert len(sandbox.ledger()) == before


def test_a_client_that_went_away_leaves_an_unanswered_line_in_the_ledger() -> None:
    with running_sandbox("--latency-ms", "500") as sandbox:
        with _connect(sandbox) as connection:
            connection.sendall(_request("gone:1:1"))
            while not sandbox.ledger():
                time.sleep(0.01)
        sandbox.send("+491800000003", echo="stayed:1:1")  # answered later than the other would have been
        assert [row["answered"] for row in sandbox.ledger()] == [False, True]


def test_the_worst_second_is_seen_whatever_becomes_of_its_posts(sandbox: FakeMeta) -> None:
    """The judge can find the sender guilty of being too fast."""
    sandbox.control("POST", "numbers", {"phone_number_id": "161", "mps": 20})
    codes = [sandbox.send(f"+4918100000{n:02d}", number="161", echo=f"fast:{n}:1").code for n in range(60)]
    assert codes.count(130429) > 0
    assert sandbox.summary()["max_rate_1s_by_number"]["161"] > 21
