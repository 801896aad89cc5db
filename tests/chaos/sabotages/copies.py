"""A copy of the source tree with one sabotage in it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.sabotages.catalogue import Sabotage

_ROOT = Path(__file__).resolve().parents[3]
_COPIED = ("titanflow", "migrations")


@contextmanager
def sabotaged_copy(sabotage: Sabotage) -> Iterator[Path]:
    """Yield the folder of a copy that is broken in one place. Raises LookupError if the place is not there."""
    with tempfile.TemporaryDirectory(prefix="tf-sabotage-") as folder:
        copy = Path(folder)
        for name in _COPIED:
            shutil.copytree(_ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(_ROOT / "gunicorn.conf.py", copy)
        for change in sabotage.changes:
            file = copy / "titanflow" / change.file
            text = file.read_text()
            if change.right not in text:
                raise LookupError(f"{change.file} no longer holds {change.right!r} ({sabotage.name})")
            file.write_text(text.replace(change.right, change.wrong))
        yield copy
