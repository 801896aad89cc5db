"""Use cases around an upload: take a file in, checked as it comes; begin its import; cancel it."""

import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from titanflow.actors.node import importer
from titanflow.domain.csv_reading import BadFile, FileCheck
from titanflow.errors import Conflict, InvalidInput, NotFound
from titanflow.services import campaigns
from titanflow.storage import imports
from titanflow.storage.database import Database
from titanflow.supervision import sleep_ms

MAX_UPLOAD_BYTES = 1024**3
MAX_FILE_BYTES = 4 * 1024**3
_PIECE = 64 * 1024
_GZIP = b"\x1f\x8b"


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the end."""


def receive(
    db: Database, data_dir: Path, campaign_id: int, stream: Readable, *, default_country: str | None
) -> dict[str, Any]:
    """Take a CSV in (gzip or not) and begin its import. Returns the import.

    Raises InvalidInput with the line number for a file that can't be used, Conflict for a campaign that can't take
    contacts; then nothing is left of the file.
    """
    campaign = campaigns.get(db, campaign_id)
    if campaign["state"] not in ("draft", "ready"):
        raise _wrong_state(campaign)
    uploads = data_dir / "uploads"
    uploads.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = uploads / f"{secrets.token_hex(16)}.csv"
    kept = False
    try:
        _save(stream, path)
        made = imports.create(db, campaign_id, file=path.name, default_country=default_country)
        if made is None:
            raise _wrong_state(campaigns.get(db, campaign_id))
        kept = True
    except BadFile as bad:
        raise InvalidInput(
            "The file can't be imported", why=f"line {bad.line}: {bad.sentence}", code="invalid_csv", line=bad.line
        ) from None
    finally:
        if not kept:
            path.unlink(missing_ok=True)
    importer.nudge()
    return made


def get(db: Database, campaign_id: int, import_id: int) -> dict[str, Any]:
    """Return an import. Raises NotFound."""
    found = imports.get(db, campaign_id, import_id)
    if found is None:
        raise NotFound(f"Campaign {campaign_id} has no import {import_id}", code="import_not_found")
    return found


def cancel(db: Database, campaign_id: int, import_id: int) -> dict[str, Any]:
    """End a running import; none of its contacts come in."""
    get(db, campaign_id, import_id)
    imports.fail(db, import_id, error="Cancelled", state="cancelled")
    return get(db, campaign_id, import_id)


def _save(stream: Readable, path: Path) -> None:
    check = FileCheck()
    received = written = 0
    unpack: _Gzip | None = None
    with path.open("xb") as file:
        path.chmod(0o600)
        while piece := stream.read(_PIECE):
            if received == 0 and piece[:2] == _GZIP:
                unpack = _Gzip(check)
            received += len(piece)
            if received > MAX_UPLOAD_BYTES:
                raise _too_large(MAX_UPLOAD_BYTES)
            for part in unpack.parts(piece) if unpack else (piece,):
                written += len(part)
                if written > MAX_FILE_BYTES:
                    raise _too_large(MAX_FILE_BYTES)
                check.feed(part)
                file.write(part)
            sleep_ms(1)  # a fast client never lets us wait for it: the others' turn
        if unpack is not None and not unpack.complete:
            raise BadFile("The gzip file is cut short", check.line)
        check.finish()


class _Gzip:
    """Unpacks piece by piece, so that a bomb is noticed while it is small. A file may have several members."""

    def __init__(self, check: FileCheck) -> None:
        self._check = check
        self._member: Any = zlib.decompressobj(31)

    @property
    def complete(self) -> bool:
        return bool(self._member.eof)

    def parts(self, piece: bytes) -> Iterator[bytes]:
        try:
            while piece:
                if self._member.eof:  # zeros may fill up the file behind the last member, as gzip(1) has it
                    piece = piece.lstrip(b"\0")
                    if not piece:
                        return
                    self._member = zlib.decompressobj(31)
                part = self._member.decompress(piece, _PIECE)
                piece = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
                yield part
        except zlib.error:
            raise BadFile("The gzip file is damaged", self._check.line) from None


def _too_large(limit: int) -> InvalidInput:
    return InvalidInput(
        f"The file is larger than {limit // 1024**2} MiB", fix="Split it.", code="too_large", status=413
    )


def _wrong_state(campaign: dict[str, Any]) -> Conflict:
    if campaign["state"] == "importing":
        return Conflict("Another import is running", fix="Wait until it is done.", code="import_running")
    return Conflict(
        f"Campaign {campaign['id']} is {campaign['state']} and takes no contacts",
        fix="It would have to be draft or ready.",
        code="wrong_state",
        state=campaign["state"],
    )
