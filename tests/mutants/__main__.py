"""`python -m tests.mutants`: each mutation of the kernel must be caught by the recorded scenarios.

Works on a copy in a temporary folder. Exit 1 if a mutant survives, or if its text is no longer there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants.mutations import MUTATIONS, Mutation

_ROOT = Path(__file__).resolve().parents[2]
_TIME_LIMIT_S = 60
_COPIED = ("titanflow/__init__.py", "titanflow/supervision", "tests/__init__.py", "tests/conformance")


def main(words: list[str]) -> int:
    """Try them all (with words: only those whose name contains one)."""
    survivors = []
    chosen = [mutation for mutation in MUTATIONS if not words or any(word in mutation.name for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        _copy_to(copy)
        if _conforms(copy) is not None:
            print("the kernel itself does not conform: mend it first")
            return 1
        for mutation in chosen:
            verdict = _try(copy, mutation)
            print(f"{'SURVIVED' if verdict is None else 'caught  '} {mutation.name}{f': {verdict}' if verdict else ''}")
            if verdict is None:
                survivors.append(mutation)
    print(f"{len(chosen) - len(survivors)} caught, {len(survivors)} survived")
    return 1 if survivors or not chosen else 0


def _copy_to(folder: Path) -> None:
    for name in _COPIED:
        source, target = _ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, target)


def _try(folder: Path, mutation: Mutation) -> str | None:
    """How the mutant was caught; None if it was not."""
    file = folder / "titanflow" / "supervision" / mutation.file
    text = file.read_text()
    if mutation.right not in text:
        raise SystemExit(f"{mutation.file} no longer holds: {mutation.right!r} ({mutation.name})")
    file.write_text(text.replace(mutation.right, mutation.wrong))
    try:
        return _conforms(folder)
    finally:
        file.write_text(text)


def _conforms(folder: Path) -> str | None:
    """None if every scenario passes, else the last line of what went wrong."""
    command = [sys.executable, "-B", "-m", "tests.conformance"]
    try:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return "it hangs"
    if run.returncode == 0:
        return None
    lines = (run.stdout.strip() or run.stderr.strip()).splitlines()
    return lines[-1] if lines else "it breaks down"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
