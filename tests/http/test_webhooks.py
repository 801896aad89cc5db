"""The door for webhooks: the short way in the worker and the long way through the app answer alike."""

import hashlib
import hmac
import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from tests.support.servers import short_folder
from titanflow.cli.stage import Stage

_PATH = "/api/webhooks/whatsapp"
_SECRET = "of the tests"
_EMPTY = b'{"entry": []}'


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with short_folder() as folder:
        made = Stage(folder / "data", environment={"META_APP_SECRET": f"new,{_SECRET}"})
        try:
            made.start()
            yield made
        finally:
            made.stop()


def _signed(body: bytes) -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(_SECRET.encode(), body, hashlib.sha256).hexdigest()}


def _post(
    connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str], *, chunked: bool = False
) -> tuple[int, str | None, bytes]:
    given = {**headers, "Transfer-Encoding": "chunked"} if chunked else headers
    connection.request("POST", _PATH, iter([body]) if chunked else body, given, encode_chunked=chunked)
    answer = connection.getresponse()
    return answer.status, answer.getheader("Content-Type"), answer.read()


@pytest.fixture
def connection(stage: Stage) -> Iterator[http.client.HTTPConnection]:
    made = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=60)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("body", "signed", "status"),
    [(_EMPTY, True, 200), (b"not JSON", True, 200), (b"", True, 200), (_EMPTY, False, 401)],
)
def test_both_ways_answer_alike(connection: http.client.HTTPConnection, body: bytes, signed: bool, status: int) -> None:
    """One connection for both: neither way leaves it in a state that the next request would suffer from."""
    headers = _signed(body) if signed else {}

    short, long, again = (_post(connection, body, headers, chunked=chunked) for chunked in (False, True, False))

    assert short[0] == status
    assert short[1:] == long[1:] == again[1:]
    assert short[0] == long[0] == again[0]
    if status != 200:
        assert json.loads(short[2])["code"] == "bad_signature"


def test_a_client_that_wants_to_close_is_closed(connection: http.client.HTTPConnection) -> None:
    assert _post(connection, _EMPTY, {**_signed(_EMPTY), "Connection": "close"})[0] == 200

    assert connection.sock is None  # http.client has seen the server's own `Connection: close`


def test_requests_in_one_breath_are_answered_in_order(stage: Stage) -> None:
    def request(headers: dict[str, str], length: int) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {_PATH} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {length}\r\n\r\n".encode() + _EMPTY

    with socket.create_connection(("127.0.0.1", stage.port), timeout=60) as raw:
        raw.sendall(request(_signed(_EMPTY), len(_EMPTY)) + request({"Connection": "close"}, len(_EMPTY)))
        answers = b""
        while data := raw.recv(65536):
            answers += data

    assert [one[:3] for one in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"401"]


def test_half_a_body_is_no_webhook(stage: Stage) -> None:
    """The signature would be that of the whole: nothing may be taken for committed."""
    head = f"POST {_PATH} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: x\r\nContent-Length: 100\r\n\r\nhalf".encode()
    with socket.create_connection(("127.0.0.1", stage.port), timeout=60) as raw:
        raw.sendall(head)
        raw.shutdown(socket.SHUT_WR)
        answer = raw.recv(65536)

    assert not answer.startswith(b"HTTP/1.1 200")


def test_only_wrongly_signed_requests_are_limited(connection: http.client.HTTPConnection) -> None:
    """1,000 a minute and address; a minute may turn over in between, hence twice as many and one more."""
    answers = [_post(connection, b"x", {})[0] for _ in range(2_001)]

    assert set(answers) == {401, 429}
    assert _post(connection, _EMPTY, _signed(_EMPTY))[0] == 200
