"""The import's own process: reads a checked file, normalises, stages, merges once. `python -m ... IMPORT_ID`.

Killed anywhere, it has changed nothing but the progress shown; started again, it ends the same.
"""

import csv
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from titanflow import settings
from titanflow.domain.csv_reading import BadFile, Header, read_header
from titanflow.domain.phones import BadPhone, normalise
from titanflow.domain.vault import Vault
from titanflow.errors import ConfigurationError
from titanflow.storage.imports import Staging, staging
from titanflow.telemetry import masking

_BLOCK = 1_000
_TELL_EVERY_S = 1.0
_MOST_LINES = 100  # of one row; a longer one has swallowed its neighbours
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class _Reader:
    def __init__(self, stage: Staging, country: str | None) -> None:
        self._stage, self._country = stage, country
        self.rows = 0
        self.rejected: list[tuple[int, str, str]] = []
        self.by_reason: Counter[str] = Counter()
        self._parent = os.getppid()

    def blocks(self, path: Path) -> Iterator[str]:
        """Yield COPY text of the good rows, a thousand at a time."""
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = read_header(file.readline().rstrip("\r\n"))
            reader = csv.reader(file, delimiter=header.delimiter)
            rows: list[str] = []
            told = time.monotonic()
            line, last_line = 2, 0
            for cells in _whole(reader):
                line, last_line = last_line + 2, reader.line_num
                if last_line - line + 2 > _MOST_LINES:
                    raise BadFile(f"A quote opened in this line is not closed within {_MOST_LINES} lines", line)
                if not any(cells):
                    continue
                self.rows += 1
                row = self._row(header, line, cells)
                if row is not None:
                    rows.append(row)
                if len(rows) >= _BLOCK:
                    yield "".join(rows)
                    rows.clear()
                if time.monotonic() - told > _TELL_EVERY_S:
                    told = time.monotonic()
                    self._stage.tell(self.rows)
                    if os.getppid() != self._parent:
                        sys.exit(0)  # the server died: its successor starts this import again
            yield "".join(rows)
        if last_line >= line and _is_odd(path, line):
            raise BadFile("A quote opened in this line is never closed", line)

    def _row(self, header: Header, line: int, cells: list[str]) -> str | None:
        if len(cells) != len(header.columns):
            self._reject(line, "wrong_column_count", f"{len(cells)} of {len(header.columns)} columns")
            return None
        raw = cells[header.phone]
        try:
            phone = normalise(raw, self._country)
        except BadPhone as bad:
            self._reject(line, bad.reason, raw)
            return None
        variables = {
            name: value.strip()
            for index, (name, value) in enumerate(zip(header.columns, cells, strict=True))
            if index != header.phone
        }
        return f"{line}\t{phone}\t{orjson.dumps(variables).decode().translate(_ESCAPES)}\n"

    def _reject(self, line: int, reason: str, value: str) -> None:
        self.by_reason[reason] += 1
        self.rejected.append((line, reason, value[:64]))


def _whole(reader: Any) -> Iterator[list[str]]:
    """The reader's rows; a field beyond all measure is a quote that somebody forgot to close."""
    try:
        yield from reader
    except csv.Error as error:
        raise BadFile(f"The row that ends here can't be read: {error}", reader.line_num + 1) from None


def _is_odd(path: Path, line: int) -> bool:
    """True if the last row, which begins in this line and has others, leaves a quote open."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return sum(text.count('"') for text in islice(file, line - 1, None)) % 2 == 1


def main() -> int:
    """Run one import. Returns the exit code; 1 with one line on standard error if the file is gone."""
    configured = settings.load()
    masking.configure(phones=configured.log_phones == "masked", secrets=configured.secrets())
    masking.mask_last_words()
    with staging(configured.require_database(), int(sys.argv[1])) as stage:
        if stage is None:
            return 0
        path = configured.data_dir / "uploads" / stage.job["file"]
        if not path.is_file():
            print(f"The uploaded file {path.name} is gone", file=sys.stderr)
            return 1
        reader = _Reader(stage, stage.job["default_country"])
        try:
            stage.copy(reader.blocks(path))
        except BadFile as bad:
            stage.give_up(f"line {bad.line}: {bad.sentence}")
            return 0
        try:
            stage.merge(
                rows=reader.rows,
                rejected=reader.rejected,
                by_reason=dict(reader.by_reason),
                open_key=lambda sealed: bytes.fromhex(Vault(configured.require_secret_keys()).decrypt(sealed)),
            )
        except ConfigurationError:
            stage.give_up("Who was erased can't be told: none of the keys in SECRET_KEY fits; add the earlier one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
