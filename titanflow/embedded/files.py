"""Opening the small files of DATA_DIR: private, and owned like their folder even when root makes them."""

import os
import secrets
from pathlib import Path


def open_private(path: Path, flags: int) -> int:
    """Open or create a file of mode 0600. What root makes in a user's folder stays usable for that user.

    O_NOFOLLOW: root must not be led to a file elsewhere by a link in somebody's folder.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        like_its_folder(descriptor, path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def like_its_folder(target: int | Path, path: Path) -> None:
    """Give a file or folder at path to the owner of the folder it lies in, if we are root."""
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.chown(target, folder.st_uid, folder.st_gid)


def make_folder(path: Path, mode: int) -> None:
    """Make a folder, if it isn't there."""
    if not path.is_dir():
        path.mkdir(mode=mode)
        like_its_folder(path, path)


def draft_of(path: Path, text: str) -> Path:
    """Write text to a new file beside path, durably, and return it: to be renamed or linked to path."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(open_private(draft, os.O_WRONLY | os.O_EXCL), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    return draft
