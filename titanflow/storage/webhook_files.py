"""Webhooks as they came, kept for days in hourly files: one gzip member a group commit, one line a body.

Not the truth, which is in the rows: they are for looking at what Meta really said, and for reading it again with a
later version (services/webhook_replay). A crash loses what one commit would have added; the rest stays readable.
"""

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from titanflow.errors import InvalidInput

_GZIP = 31  # zlib's word for a gzip member
_FASTEST = 1  # 2.5 us a body, an eighth of its size; 6 takes twice as long for a tenth less
_LONGEST = 16 * 1024 * 1024
_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d)-[\w-]+\.ndjson\.gz")
_HEAD = b'{"received_at":"'
_BODY = b'","body":'


class WebhookFiles:
    """Where one ingestor keeps what it committed. label: nobody else's, part of the files' names."""

    def __init__(self, folder: Path, label: str) -> None:
        self._folder, self._label = folder, label
        self._hour = ""
        self._file: io.FileIO | None = None

    def append(self, bodies: Sequence[bytes], *, at: datetime) -> None:
        """Add bodies to the file of this hour. Raises OSError: some of them may be there."""
        hour = at.strftime("%Y-%m-%dT%H")
        if self._file is None or hour != self._hour:
            self._file, self._hour = self._open(hour), hour
        head = _HEAD + at.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode() + _BODY
        member = zlib.compressobj(_FASTEST, zlib.DEFLATED, _GZIP)
        lines = b"".join([head + _one_line(body) + b"}\n" for body in bodies])
        left = memoryview(member.compress(lines) + member.flush())
        while left:
            left = left[self._file.write(left) :]

    def close(self) -> None:
        """Close the file, if one is open."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _open(self, hour: str) -> io.FileIO:
        self.close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{hour}-{self._label}.ndjson.gz"
        return io.FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "wb")


def _one_line(body: bytes) -> bytes:
    """The body itself: a line feed in JSON is a space. What is no JSON becomes a JSON string."""
    if body[:1] in (b"{", b"["):
        return body if b"\n" not in body else body.replace(b"\n", b" ")
    return orjson.dumps(body.decode("utf-8", "replace"))


def read(path: Path) -> Iterator[bytes]:
    """Yield the bodies of a file: gzip or not, lines as `append` writes them or bare bodies; empty lines are left out.

    A last member that a crash cut short ends it. Raises InvalidInput if it can't be read at all.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            lines = gzip.GzipFile(fileobj=raw) if packed else raw
            while line := lines.readline(_LONGEST):
                body = _body_of(line.strip())
                if body:
                    yield body
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return
    except OSError as error:
        raise InvalidInput(f"{path} can't be read", why=error.strerror or str(error)) from error


def _body_of(line: bytes) -> bytes:
    end = line.find(_BODY, len(_HEAD), len(_HEAD) + 40)
    if not line.startswith(_HEAD) or end < 0 or not line.endswith(b"}"):
        return line
    body = line[end + len(_BODY) : -1]
    if body[:1] != b'"':
        return body
    try:
        return str(orjson.loads(body)).encode()
    except orjson.JSONDecodeError:
        return body


def forget(folder: Path, *, older_than_days: int, limit: int, now: datetime | None = None) -> int:
    """Delete the files of hours that ended so long ago, at most `limit`. Returns how many. Raises OSError."""
    before = (now or datetime.now(UTC)) - timedelta(days=older_than_days, hours=1)
    gone = 0
    for path in sorted(folder.glob("*.ndjson.gz")):
        named = _NAME.fullmatch(path.name)
        if gone == limit or named is None:
            continue
        if datetime.strptime(named[1], "%Y-%m-%dT%H").replace(tzinfo=UTC) < before:
            path.unlink(missing_ok=True)
            gone += 1
    return gone


def erase(folder: Path, texts: Sequence[str], *, now: datetime | None = None) -> int:
    """Take out the bodies that hold one of the texts, from files of hours that are over. Returns how many.

    A file is rewritten beside itself and put in its place at once. Raises OSError.
    """
    this_hour = (now or datetime.now(UTC)).replace(minute=0, second=0, microsecond=0)
    wanted = [text.encode() for text in texts]
    gone = 0
    for path in sorted(folder.glob("*.ndjson.gz")):
        named = _NAME.fullmatch(path.name)
        if named is None or datetime.strptime(named[1], "%Y-%m-%dT%H").replace(tzinfo=UTC) >= this_hour:
            continue
        gone += _rewrite(path, wanted)
    return gone


def _rewrite(path: Path, texts: Sequence[bytes]) -> int:
    gone, beside = 0, path.with_suffix(".part")
    with beside.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=_FASTEST) as kept:
        os.chmod(beside, 0o600)
        for line in _lines(path):
            if any(text in line for text in texts):
                gone += 1
            else:
                kept.write(line)
    if gone:
        os.replace(beside, path)
    else:
        beside.unlink()
    return gone


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file as they are; a last member that a crash cut short ends it."""
    try:
        with gzip.open(path, "rb") as file:
            yield from file
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return
