"""A client that sends without end harms nobody else."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from titanflow.cli.api_client import ApiClient
from titanflow.cli.stage import Stage

_TWO_GIGABYTES = 2 * 2**30


def _one_line() -> Iterator[bytes]:
    yield b"phone\n"
    for _ in range(_TWO_GIGABYTES // 65536):
        yield b"7" * 65536


def _send(stage: Stage, path: str, token: str, **headers: str) -> tuple[int, bytes]:
    """Send until the end or until the server hangs up; then read the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=60)
    try:
        try:
            given = {"Authorization": f"Bearer {token}", **headers}
            connection.request("POST", path, _one_line(), given, encode_chunked="Transfer-Encoding" in headers)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _workers(stage: Stage) -> dict[int, int]:
    """The server's processes, each with the most memory it ever had, in bytes."""
    assert stage._server is not None
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) != stage._server.pid:
                continue
            lines = (folder / "status").read_text().splitlines()
        except OSError:
            continue
        found[int(folder.name)] = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    return found


@pytest.mark.parametrize(("who", "chunked", "status"), [("ours", False, 422), ("ours", True, 422), ("", False, 401)])
def test_two_gigabytes_in_one_line_are_refused_while_the_others_are_served(
    stage: Stage, who: str, chunked: bool, status: int
) -> None:
    """Promise 8: gunicorn alone held the hub for 30 s over the unread rest, then killed the worker."""
    campaign_id = stage.api.post("/api/v1/campaigns", {"name": "c"})["id"]
    before = _workers(stage)
    answer: list[Any] = []
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(6 + _TWO_GIGABYTES)}
    token = stage.token if who else "tf_wrong"
    path = f"/api/v1/campaigns/{campaign_id}/contacts"
    sender = threading.Thread(target=lambda: answer.append(_send(stage, path, token, **framing)))

    sender.start()
    slowest = 0.0
    while sender.is_alive():
        began = time.monotonic()
        assert ApiClient(stage.address, "").get("/health/live") == {"status": "live"}
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.01)

    sender.join()
    assert answer[0][0] == status, answer
    assert who == "" or json.loads(answer[0][1])["line"] == 2
    assert slowest < 10  # on an idle machine it is a hundredth of a second
    after = _workers(stage)
    assert after.keys() == before.keys()
    assert max(after[pid] - before[pid] for pid in after) < 64 * 2**20
    assert stage.api.get(f"/api/v1/campaigns/{campaign_id}")["state"] == "draft"
    assert list((stage.data_dir / "uploads").glob("*.csv")) == []


def _head(stage: Stage, campaign_id: int, headers: str) -> bytes:
    path = f"/api/v1/campaigns/{campaign_id}/contacts"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stage.token}\r\n{headers}\r\n\r\n".encode()


_HALF = b"phone\n+4915510000001\n+4915510000002\n"
_FORM = b'--x\r\nContent-Disposition: form-data; name="f"; filename="c.csv"\r\n\r\n' + _HALF


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ("Content-Length: 1000", _HALF),
        ("Transfer-Encoding: chunked", b"%x\r\n%s\r\n" % (len(_HALF), _HALF)),
        ("Transfer-Encoding: chunked", b"%x\r\n%s" % (len(_HALF) + 10, _HALF)),
        ("Transfer-Encoding: chunked", b"%x\r\n%s\r\nnonsense\r\n" % (len(_HALF), _HALF)),
        ("Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000", _FORM),
        (f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(_FORM)}", _FORM),
        ("Content-Length: 0", b""),
        ("Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 8", b"--x--\r\n\r"),
    ],
)
def test_an_upload_that_breaks_off_brings_nobody_in(stage: Stage, headers: str, sent: bytes) -> None:
    """Promise 1: half a list that nobody knows to be half would be sent to as if it were all."""
    campaign_id = stage.api.post("/api/v1/campaigns", {"name": "c"})["id"]

    with socket.create_connection(("127.0.0.1", stage.port), timeout=20) as client:
        client.sendall(_head(stage, campaign_id, headers) + sent)
        client.shutdown(socket.SHUT_WR)
        status = client.makefile("rb").readline().split()[1]

    assert status in (b"400", b"422")
    assert stage.api.get(f"/api/v1/campaigns/{campaign_id}")["state"] == "draft"
    assert list((stage.data_dir / "uploads").glob("*.csv")) == []


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ("Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(_HALF), _HALF)),
        (
            f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(_FORM) + 9}",
            _FORM + b"\r\n--x--\r\n",
        ),
    ],
)
def test_a_list_may_come_in_chunks_or_as_a_form(stage: Stage, headers: str, sent: bytes) -> None:
    campaign_id = stage.api.post("/api/v1/campaigns", {"name": "c"})["id"]

    with socket.create_connection(("127.0.0.1", stage.port), timeout=20) as client:
        client.sendall(_head(stage, campaign_id, headers) + sent)
        assert client.makefile("rb").readline().split()[1] == b"202"

    deadline = time.monotonic() + 60
    while stage.api.get(f"/api/v1/campaigns/{campaign_id}")["state"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert stage.api.get(f"/api/v1/campaigns/{campaign_id}/stats")["total"] == 2
