"""What lies where in DATA_DIR, and the small files kept there: the record of running servers, secrets."""

import base64
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from titanflow.embedded.files import draft_of
from titanflow.errors import ConfigurationError


class Kind(StrEnum):
    """The servers, by the names their files carry."""

    POSTGRES = "postgres"
    REDIS = "redis"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one DATA_DIR (absolute)."""

    data_dir: Path

    @property
    def run(self) -> Path:
        return self.data_dir / "run"

    @property
    def logs(self) -> Path:
        return self.data_dir / "logs"

    @property
    def state(self) -> Path:
        return self.data_dir / "embedded.json"

    @property
    def password(self) -> Path:
        return self.data_dir / "embedded.password"

    @property
    def start_lock(self) -> Path:
        """Held while servers are started or stopped, so that only one command does."""
        return self.run / "start.lock"

    def data(self, kind: Kind) -> Path:
        return self.data_dir / ("pg" if kind is Kind.POSTGRES else "redis")

    def log(self, kind: Kind) -> Path:
        return self.logs / f"{kind}.log"

    def server_lock(self, kind: Kind) -> Path:
        """Held by the server and its children as long as one of them lives."""
        return self.run / f"{kind}.server.lock"

    def owner_lock(self, kind: Kind) -> Path:
        """Held by the command that started the server and will stop it."""
        return self.run / f"{kind}.owner.lock"


@dataclass(frozen=True, slots=True)
class Running:
    """One running server, as embedded.json records it. `token` names the `start` that owns it."""

    pid: int
    port: int
    url: str
    owner_pid: int
    token: str


def layout_of(data_dir: Path) -> Layout:
    """Return the layout of a DATA_DIR, with its path made absolute."""
    return Layout(Path(data_dir).expanduser().resolve())


def read_state(layout: Layout) -> dict[Kind, Running]:
    """Return the recorded servers; they may have died since. A torn or foreign file counts as empty."""
    try:
        recorded = json.loads(layout.state.read_text())
        return {Kind(kind): Running(**fields) for kind, fields in recorded.items()}
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        raise ConfigurationError(
            f"{layout.state} can't be read",
            why="the embedded servers were started by another user",
            fix="Run this command as that user.",
        ) from error
    except (ValueError, TypeError, AttributeError):
        return {}


def write_state(layout: Layout, state: dict[Kind, Running]) -> None:
    """Replace the record in one step; no servers, no file. The caller holds the start lock."""
    if not state:
        layout.state.unlink(missing_ok=True)
        return
    text = json.dumps({kind: asdict(running) for kind, running in state.items()}, indent=2)
    os.replace(draft_of(layout.state, text), layout.state)


def secret_key(data_dir: Path) -> str:
    """Return the SECRET_KEY of this DATA_DIR: 32 random bytes in URL-safe base64, made by the first call.

    Kept in `secret_key`, readable by its owner alone. Raises ConfigurationError if it can't be kept.
    """
    layout = layout_of(data_dir)
    try:
        layout.data_dir.mkdir(parents=True, exist_ok=True)
        return kept_secret(layout.data_dir / "secret_key")
    except OSError as error:
        raise not_writable(layout, error) from error


def kept_secret(path: Path) -> str:
    """Return the secret kept at path, 32 random bytes, made if there is none. Mode 0600 in any case."""
    if not path.exists():
        draft = draft_of(path, base64.urlsafe_b64encode(os.urandom(32)).decode())
        with suppress(FileExistsError):  # two at once: the first one's counts
            os.link(draft, path)
        draft.unlink()
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return path.read_text().strip()


def not_writable(layout: Layout, error: OSError) -> ConfigurationError:
    """Return the one line for a DATA_DIR that can't be used."""
    return ConfigurationError(
        f"DATA_DIR {layout.data_dir} can't be used",
        why=f"{error.strerror or error} ({error.filename or layout.data_dir})",
        fix="Set DATA_DIR to a folder that this user may write.",
    )
