"""Uploads whole, from the stream to the rows: what can't be used leaves nothing behind."""

import gzip
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.support.builders import a_campaign, a_sender, claimed
from titanflow.errors import InvalidInput
from titanflow.http.api.campaign_bodies import DEFAULTS
from titanflow.services import campaigns, imports
from titanflow.storage import imports as import_rows
from titanflow.storage import reports
from titanflow.storage.database import Database
from titanflow.storage.settlements import Settlement, settle

_MIB = 2**20


class _Stream:
    """Bytes as they come, made on the way; counts how many were taken."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self.taken = pieces, 0

    def read(self, size: int, /) -> bytes:
        piece = next(self._pieces, b"")
        assert len(piece) <= size
        self.taken += len(piece)
        return piece


def _draft(db: Database) -> int:
    made = campaigns.create(db, {**DEFAULTS, "name": "c"}, template_ids=[], number_ids=[])
    return int(made["id"])


def _upload(db: Database, folder: Path, campaign_id: int, data: bytes | Iterator[bytes]) -> dict[str, Any]:
    pieces = iter([data[at : at + 4096] for at in range(0, len(data), 4096)]) if isinstance(data, bytes) else data
    return imports.receive(db, folder, campaign_id, _Stream(pieces), default_country=None)


def _worker(database_url: str, folder: Path, import_id: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "titanflow.services.import_worker", str(import_id)],
        env={**os.environ, "DATABASE_URL": database_url, "DATA_DIR": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
    )


def _work(database_url: str, folder: Path, import_id: int) -> tuple[int, str]:
    worker = _worker(database_url, folder, import_id)
    said = worker.communicate(timeout=60)[1]
    return worker.returncode, said


def _is_staging(db: Database) -> bool:
    with db.connection() as connection:
        copying = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY staged%'"
        )
        return connection.execute(copying).fetchone() != (0,)


def _imported(db: Database, database_url: str, folder: Path, data: bytes) -> tuple[int, dict[str, Any]]:
    campaign_id = _draft(db)
    made = _upload(db, folder, campaign_id, data)
    assert _work(database_url, folder, made["id"]) == (0, "")
    found = import_rows.get(db, campaign_id, made["id"])
    assert found is not None
    return campaign_id, found


def _assert_untouched(db: Database, folder: Path, campaign_id: int) -> None:
    assert campaigns.get(db, campaign_id)["state"] == "draft"
    assert reports.stats(db, campaign_id)["total"] == 0
    assert reports.audit(db, campaign_id)["balanced"]
    assert list((folder / "uploads").glob("*.csv")) == []


def _two_gigabytes_of_one_line() -> Iterator[bytes]:
    yield b"phone\n+4915510000001\n"
    for _ in range(2 * 2**30 // 65536):
        yield b"7" * 65536


def test_a_line_of_two_gigabytes_is_refused_early_and_costs_no_memory(db: Database, tmp_path: Path) -> None:
    campaign_id = _draft(db)
    stream = _Stream(_two_gigabytes_of_one_line())
    tracemalloc.start()

    with pytest.raises(InvalidInput) as refused:
        imports.receive(db, tmp_path, campaign_id, stream, default_country=None)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.fields["line"] == 3
    assert stream.taken < _MIB
    assert peak < 4 * _MIB
    _assert_untouched(db, tmp_path, campaign_id)


def test_a_packed_line_without_end_is_refused_while_it_is_small(db: Database, tmp_path: Path) -> None:
    campaign_id = _draft(db)
    bomb = gzip.compress(b"phone\n" + b"7" * (64 * _MIB))
    tracemalloc.start()

    with pytest.raises(InvalidInput) as refused:
        _upload(db, tmp_path, campaign_id, bomb)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.fields["line"] == 2
    assert peak < 4 * _MIB
    _assert_untouched(db, tmp_path, campaign_id)


_ROWS = b"phone,name\n" + b"".join(b"+49155%08d,Ana %d\n" % (n, n) for n in range(20_000))


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", 1),
        (gzip.compress(b""), 1),
        (b"\x1f\x8b", 1),
        (b"\x1f\x8bnonsense", 1),
        (_ROWS + b"+4915599999999,\xc3(\n", 20_002),
        (b"phone,name\n+4915510000001,M\xc3\xbcller\n+4915510000002,M\xfcller\n", 3),
        (gzip.compress(b"phone,name\n+4915510000001,M\xfcller\n"), 2),
        (gzip.compress(b"phone\n+4915510000001\n") + gzip.compress(b"+491551000\xff0002\n"), 3),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line(db: Database, tmp_path: Path, data: bytes, line: int) -> None:
    """Weakness L18 of the Elixir system: a truncated or corrupt file ended the import quietly, as ready."""
    campaign_id = _draft(db)

    with pytest.raises(InvalidInput) as refused:
        _upload(db, tmp_path, campaign_id, data)

    assert (refused.value.code, refused.value.fields["line"]) == ("invalid_csv", line)
    _assert_untouched(db, tmp_path, campaign_id)


@pytest.mark.parametrize("cut", [20, 100, 1000, -20, -9, -1])
def test_a_gzip_file_cut_anywhere_is_refused(db: Database, tmp_path: Path, cut: int) -> None:
    """Weakness L18 of the Elixir system: its importer took what there was and said ready."""
    campaign_id = _draft(db)

    with pytest.raises(InvalidInput, match="gzip file is cut short"):
        _upload(db, tmp_path, campaign_id, gzip.compress(_ROWS)[:cut])

    _assert_untouched(db, tmp_path, campaign_id)


def test_a_gzip_file_of_several_members_comes_in_whole(db: Database, database_url: str, tmp_path: Path) -> None:
    """Promise 3: parallel packers write several members; those behind the first are people too."""
    data = b"".join(gzip.compress(part) for part in (b"phone\n+4915510000001\n", b"+4915510000002\n", b"")) + b"\0" * 9

    _, imported = _imported(db, database_url, tmp_path, data)

    assert (imported["state"], imported["rows"], imported["accepted"]) == ("done", 2, 2)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            b'+4915510000001,Ana\n+4915510000002,"Bo\n+4915510000003,Cy\n',
            "line 3: A quote opened in this line",
        ),
        (
            b'+4915510000001,"Ana\n' + b"+4915510000003,Cy\n" * 200 + b'x,"Di"\n',
            "line 2: A quote opened in this line",
        ),
        (b'+4915510000001,"' + (b"x" * 60_000 + b"\n") * 3 + b'"\n', "can't be read"),
    ],
)
def test_a_quote_left_open_swallows_nobody(
    db: Database, database_url: str, tmp_path: Path, rows: bytes, said: str
) -> None:
    """Promise 3: the rows behind an open quote would be one cell, and their people gone without a word."""
    campaign_id, imported = _imported(db, database_url, tmp_path, b"phone,name\n" + rows)

    assert imported["state"] == "failed"
    assert said in imported["error"]
    assert reports.stats(db, campaign_id)["total"] == 0
    assert campaigns.get(db, campaign_id)["state"] == "draft"


def test_cells_over_several_lines_and_empty_lines_come_in(db: Database, database_url: str, tmp_path: Path) -> None:
    """Weakness L18 of the Elixir system: an empty line aborted the import with earlier chunks committed."""
    rows = (
        b'phone,note\r\n+4915510000001,"two\r\nlines"\r\n\r\n+4915510000002,5" pipe\r\n,\r\nx\r\n+4915510000003,"end\n"'
    )

    _, imported = _imported(db, database_url, tmp_path, rows)

    assert (imported["state"], imported["accepted"]) == ("done", 3)
    assert [(one["line"], one["reason"]) for one in imported["first_errors"]] == [(7, "wrong_column_count")]


def test_an_import_whose_process_died_is_done_by_the_next(db: Database, database_url: str, tmp_path: Path) -> None:
    """Weakness L19 of the Elixir system: a restart during an import left a draft that nobody could resume."""
    campaign_id = _draft(db)
    made = _upload(db, tmp_path, campaign_id, _ROWS)
    killed = _worker(database_url, tmp_path, made["id"])
    deadline = time.monotonic() + 30
    while not _is_staging(db):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    killed.kill()
    killed.communicate(timeout=30)
    assert reports.stats(db, campaign_id)["total"] == 0
    assert [one["id"] for one in import_rows.running(db)] == [made["id"]]

    assert _work(database_url, tmp_path, made["id"]) == (0, "")
    assert _work(database_url, tmp_path, made["id"]) == (0, "")

    found = import_rows.get(db, campaign_id, made["id"])
    assert found is not None
    assert (found["state"], found["accepted"]) == ("done", 20_000)
    assert reports.stats(db, campaign_id)["total"] == 20_000


def test_a_person_comes_in_once_however_often_the_list_does(db: Database, database_url: str, tmp_path: Path) -> None:
    """Weakness D12 of the Elixir system: a double click or a second file made duplicate contacts."""
    campaign_id = _draft(db)
    found = []
    for rows in (b"phone\n+4915510000001\n0049 155 10000001\n+4915510000002\n", b"phone\n+49 155 10000002\n"):
        made = _upload(db, tmp_path, campaign_id, rows)
        assert _work(database_url, tmp_path, made["id"]) == (0, "")
        found.append(import_rows.get(db, campaign_id, made["id"]))

    assert [(one["accepted"], one["duplicates"]) for one in found if one] == [(2, 1), (0, 1)]
    assert reports.stats(db, campaign_id)["total"] == 2


@pytest.mark.parametrize(
    ("state", "reached"), [("sent", True), ("in_doubt", True), ("failed", False), ("retrying", False)]
)
def test_only_who_may_have_been_reached_was_recently_messaged(
    db: Database,
    database_url: str,
    tmp_path: Path,
    state: Literal["sent", "in_doubt", "failed", "retrying"],
    reached: bool,
) -> None:
    """Weakness C13 of the Elixir system: refused sends counted as contacted, and hid people never reached."""
    earlier = a_campaign(db, contacts=1, first_phone=4915510000001)
    [one] = claimed(db, earlier, a_sender(db, earlier.number_id))
    assert one.log_id is not None
    settle(db, [Settlement(one.log_id, 1, state, wamid="w" if state == "sent" else None)], node_id=1)
    values = {**DEFAULTS, "name": "c", "dedupe_days": 7}
    campaign_id = int(campaigns.create(db, values, template_ids=[], number_ids=[])["id"])

    made = _upload(db, tmp_path, campaign_id, f"phone\n{earlier.phones[0]}\n".encode())
    assert _work(database_url, tmp_path, made["id"]) == (0, "")

    stats = reports.stats(db, campaign_id)
    assert (stats["counts"]["excluded"], stats["counts"]["pending"]) == ((1, 0) if reached else (0, 1))
    assert stats["excluded"] == ({"recently_messaged": 1} if reached else {})
