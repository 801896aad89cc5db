"""Webhooks as they came: byte for byte, readable after a crash, by whoever owns the server alone."""

import gzip
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from titanflow.errors import InvalidInput
from titanflow.storage.webhook_files import WebhookFiles, read

_AT = datetime(2026, 11, 25, 13, 59, 59, 123456, tzinfo=UTC)
_BODIES = [b'{"entry":[]}', rb'{"name":"A\ud83d","path":"a\/b"}', '{"ä":"\U0001f44d"}'.encode(), b"[1]"]


def _only(folder: Path) -> Path:
    [path] = folder.iterdir()
    return path


def test_bodies_come_back_byte_for_byte_from_many_commits(tmp_path: Path) -> None:
    files = WebhookFiles(tmp_path / "webhooks", "7-0")
    for body in _BODIES:
        files.append([body, body], at=_AT)

    path = _only(tmp_path / "webhooks")

    assert list(read(path)) == [body for body in _BODIES for _ in range(2)]
    assert path.name == "2026-11-25T13-7-0.ndjson.gz"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = gzip.decompress(path.read_bytes()).splitlines()[0]
    assert json.loads(first) == {"received_at": "2026-11-25T13:59:59.123456Z", "body": {"entry": []}}


def test_what_is_no_json_and_what_has_line_feeds_stays_one_line(tmp_path: Path) -> None:
    WebhookFiles(tmp_path, "1").append([b'<html>\n"</html>', b'{\n "a": 1}'], at=_AT)

    path = _only(tmp_path)

    assert list(read(path)) == [b'<html>\n"</html>', b'{  "a": 1}']
    assert [json.loads(line)["body"] for line in gzip.decompress(path.read_bytes()).splitlines()] == [
        '<html>\n"</html>',
        {"a": 1},
    ]


def test_each_hour_has_a_file(tmp_path: Path) -> None:
    files = WebhookFiles(tmp_path, "1")
    for hours in range(3):
        files.append([b"{}"], at=_AT + timedelta(hours=hours))

    assert [path.name[11:13] for path in sorted(tmp_path.iterdir())] == ["13", "14", "15"]


def test_a_file_that_a_crash_cut_short_is_read_up_to_there(tmp_path: Path) -> None:
    files = WebhookFiles(tmp_path, "1")
    files.append(_BODIES, at=_AT)
    whole = _only(tmp_path).stat().st_size
    files.append(_BODIES, at=_AT)
    cut = _only(tmp_path).read_bytes()[: whole + 15]
    _only(tmp_path).write_bytes(cut)

    assert list(read(_only(tmp_path))) == _BODIES


def test_bare_bodies_one_a_line_are_read_too_and_unreadable_files_said_so(tmp_path: Path) -> None:
    plain = tmp_path / "captured.ndjson"
    plain.write_bytes(b"\n".join([*_BODIES, b"", b"what?"]))

    assert list(read(plain)) == [*_BODIES, b"what?"]
    with pytest.raises(InvalidInput):
        list(read(tmp_path / "nobody"))


def test_no_room_is_an_error_of_the_caller(tmp_path: Path) -> None:
    (tmp_path / "webhooks").write_bytes(b"a file in the way")
    files = WebhookFiles(tmp_path / "webhooks", "1")

    for _ in range(2):
        with pytest.raises(OSError):
            files.append([b"{}"], at=_AT)
