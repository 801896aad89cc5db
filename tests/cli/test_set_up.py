"""A wrong set-up: one clear line, a non-zero exit code, no traceback."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

_GOOD = {
    "DATABASE_URL": "postgresql://127.0.0.1:9/nowhere",
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "SECRET_KEY": "x" * 32,
    "ADMIN_PIN": "83-92-01",
    "META_APP_SECRET": "secret",
    "META_VERIFY_TOKEN": "token",
}


def _run(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key not in _GOOD}
    return subprocess.run(
        [sys.executable, "-m", "titanflow", *arguments],
        env={**kept, "DATA_DIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ADMIN_PIN": ""}, "ADMIN_PIN is not set"),
        ({"ADMIN_PIN": "123456"}, "ADMIN_PIN can't be used"),
        ({"META_APP_SECRET": ""}, "META_APP_SECRET is not set"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY can't be used"),
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL can't be used"),
        ({"BIND": "nonsense"}, "BIND can't be used"),
        ({}, "PostgreSQL can't be reached"),
    ],
)
def test_serve_says_what_is_wrong_in_one_line(tmp_path: Path, change: dict[str, str], said: str) -> None:
    result = _run(tmp_path, "serve", **{**_GOOD, **change})
    assert result.returncode not in (0, 1)
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = _run(tmp_path, "serve", **_GOOD, BIND=f"127.0.0.1:{taken.getsockname()[1]}")
    assert result.returncode != 0
    assert "can't be used" in result.stderr
    assert "Traceback" not in result.stderr


def test_doctor_prints_the_error_policy(tmp_path: Path) -> None:
    result = _run(tmp_path, "doctor", "--errors", "--json")
    assert result.returncode == 0
    assert '"code": 131049' in result.stdout
