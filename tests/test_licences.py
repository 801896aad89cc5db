"""Every dependency allows commercial use; what says nothing, or something else, is refused."""

import subprocess
import sys
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from scripts.licences import is_fine, licence_of

_ROOT = Path(__file__).parents[1]


def test_every_dependency_allows_commercial_use() -> None:
    locks = [_ROOT / "requirements" / name for name in ("run.lock", "dev.lock")]

    ended = subprocess.run(
        [sys.executable, _ROOT / "scripts/licences.py", *locks], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert "psycopg                        LGPL-3.0-only" in ended.stdout


@pytest.mark.parametrize(
    ("headers", "fine"),
    [
        ({"License-Expression": "MIT"}, True),
        ({"License-Expression": "Apache-2.0 OR BSD-3-Clause"}, True),
        ({"Classifier": "License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)"}, True),
        ({"License": "BSD 3-Clause License\n\nCopyright"}, True),
        ({"License-Expression": "AGPL-3.0-or-later"}, False),
        ({"License-Expression": "GPL-3.0-only"}, False),
        ({"Classifier": "License :: OSI Approved :: GNU General Public License v2 (GPLv2)"}, False),
        ({"License": "MIT with Commons Clause"}, False),
        ({"License": "Proprietary"}, False),
        ({"Classifier": "License :: OSI Approved"}, False),
        ({}, False),
    ],
)
def test_a_licence_is_judged_by_its_name(headers: dict[str, str], fine: bool) -> None:
    said: Any = Message()
    for name, value in headers.items():
        said[name] = value

    assert is_fine(licence_of(said)) == fine
