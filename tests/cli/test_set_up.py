"""A wrong set-up: one clear line, a non-zero exit code, no traceback, nothing left running."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.embedded.conftest import assert_nothing_left
from tests.support.doors import door_to
from tests.support.servers import short_folder
from titanflow import embedded
from titanflow.cli import server
from titanflow.cli.api_client import ApiClient
from titanflow.cli.stage import free_port
from titanflow.errors import TitanFlowError

_GOOD = {
    "DATABASE_URL": "postgresql://127.0.0.1:9/nowhere",
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "SECRET_KEY": "x" * 32,
    "ADMIN_PIN": "83-92-01",
    "META_APP_SECRET": "secret",
    "META_VERIFY_TOKEN": "token",
}
_SOURCE = Path(__file__).resolve().parents[2]


def _start(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    kept = {key: value for key, value in os.environ.items() if key not in _GOOD}
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env={**kept, "DATA_DIR": str(tmp_path), **environment},
        cwd=_SOURCE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _run(tmp_path: Path, *arguments: str, module: str = "titanflow", **environment: str) -> tuple[int, str, str]:
    """Run to the end: the exit code and both outputs. What it started must have ended with it."""
    process = _start(tmp_path, module, *arguments, **environment)
    try:
        out, err = process.communicate(timeout=90)
        assert _session(process.pid) == []
    finally:
        _end_session(process.pid)
    return process.returncode, out, err


def _session(leader: int) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def _end_session(leader: int) -> None:
    if _session(leader):
        os.killpg(leader, signal.SIGKILL)


def _assert_one_line(result: tuple[int, str, str], said: str) -> None:
    code, _, err = result
    assert code not in (0, 1), err
    assert said in err
    assert len(err.strip().splitlines()) == 1, err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ADMIN_PIN": ""}, "ADMIN_PIN is not set"),
        ({"META_APP_SECRET": ""}, "META_APP_SECRET is not set"),
        ({"DATABASE_URL": "postgresql://me:secret-word@[::1/x"}, "DATABASE_URL can't be used"),
        ({}, "PostgreSQL can't be reached"),
    ],
)
def test_serve_says_what_is_wrong_in_one_line(tmp_path: Path, change: dict[str, str], said: str) -> None:
    result = _run(tmp_path, "serve", **{**_GOOD, **change})
    _assert_one_line(result, said)
    assert "secret-word" not in result[2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ADMIN_PIN": "123456"}, "ADMIN_PIN can't be used"),
        ({"META_VERIFY_TOKEN": ""}, "META_VERIFY_TOKEN is not set"),
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY can't be used"),
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL can't be used"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:9/x?bogus=1"}, "DATABASE_URL can't be used"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:port/x"}, "PostgreSQL can't be reached"),
        ({"REDIS_URL": ""}, "REDIS_URL is not set"),
        ({"REDIS_URL": "http://x"}, "REDIS_URL can't be used"),
        ({"BIND": "nonsense"}, "BIND can't be used"),
        ({"META_GRAPH_URL": "nonsense"}, "META_GRAPH_URL can't be used"),
        ({"POOL_SIZE": "many"}, "POOL_SIZE can't be used"),
    ],
)
def test_each_setting_is_named_by_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], said: str
) -> None:
    for name, value in {**_GOOD, "DATA_DIR": str(tmp_path), "BIND": f"127.0.0.1:{free_port()}", **change}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(TitanFlowError) as refused:
        server.run(use_embedded=False)

    assert said in refused.value.one_line()
    assert "\n" not in refused.value.one_line()


@pytest.mark.parametrize("change", [{}, {"ADMIN_PIN": ""}, {"BIND": "nonsense"}])
def test_gunicorn_alone_says_it_in_one_line_too(tmp_path: Path, change: dict[str, str]) -> None:
    code, out, err = _run(tmp_path, "-c", "gunicorn.conf.py", module="gunicorn", **{**_GOOD, **change})
    assert (code != 0, out, len(err.strip().splitlines())) == (True, "", 1), err


def test_a_database_that_is_not_there_or_not_ours(tmp_path: Path, database_url: str, redis_url: str) -> None:
    wrong = urlunsplit(urlsplit(database_url)._replace(path="/nowhere"))
    _assert_one_line(_run(tmp_path, "serve", **{**_GOOD, "DATABASE_URL": wrong}), "does not exist")
    parts = urlsplit(database_url)
    wrong = urlunsplit(parts._replace(netloc=f"{parts.username}:wrong@{parts.hostname}:{parts.port}"))
    _assert_one_line(_run(tmp_path, "serve", **{**_GOOD, "DATABASE_URL": wrong}), "password authentication failed")


def test_a_user_who_may_not_create_tables(tmp_path: Path, servers: embedded.EmbeddedServers, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP TABLE schema_migrations")
        connection.execute("DROP ROLE IF EXISTS weak")
        connection.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'")
    parts = urlsplit(database_url)
    weak = urlunsplit(parts._replace(netloc=f"weak:weak@{parts.hostname}:{parts.port}"))

    _assert_one_line(_run(tmp_path, "migrate", **{**_GOOD, "DATABASE_URL": weak}), "The migrations can't be applied")


def test_redis_away_or_with_a_wrong_password(tmp_path: Path, database_url: str, redis_url: str) -> None:
    good = {**_GOOD, "DATABASE_URL": database_url}
    _assert_one_line(_run(tmp_path, "serve", **good), "Redis can't be reached")
    parts = urlsplit(redis_url)
    wrong = urlunsplit(parts._replace(netloc=f":wrong@{parts.hostname}:{parts.port}"))
    _assert_one_line(_run(tmp_path, "serve", **{**good, "REDIS_URL": wrong}), "Redis can't be reached")


@pytest.mark.parametrize("command", ["serve", "migrate", "doctor"])
def test_a_database_newer_than_the_code(tmp_path: Path, database_url: str, redis_url: str, command: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO schema_migrations (name, sha256) VALUES ('9999_from_the_future', 'x')")

    result = _run(tmp_path, command, **{**_GOOD, "DATABASE_URL": database_url, "REDIS_URL": redis_url})

    _assert_one_line(result, "The database is newer than this program: it has migration 9999_from_the_future")


@contextmanager
def _shut_after(url: str, opens: int) -> Iterator[str]:
    parts = urlsplit(url)
    assert parts.port is not None
    with door_to(parts.port, opens=opens) as port:
        login, at, _ = parts.netloc.rpartition("@")
        yield urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{port}"))


@pytest.mark.parametrize(
    ("postgres", "redis", "said"),
    [
        (2, 99, "PostgreSQL"),  # the pre-check's two connections; the worker finds nobody
        (4, 99, "PostgreSQL"),  # and the worker's migrations; the tree finds nobody
        (99, 1, "Redis"),  # the pre-check's ping; the worker finds nobody
    ],
)
def test_storage_that_goes_away_while_the_worker_boots(
    tmp_path: Path, database_url: str, redis_url: str, postgres: int, redis: int, said: str
) -> None:
    with ExitStack() as stack:
        doors = {
            "DATABASE_URL": stack.enter_context(_shut_after(database_url, postgres)),
            "REDIS_URL": stack.enter_context(_shut_after(redis_url, redis)),
            "BIND": f"127.0.0.1:{free_port()}",
            "LOG_LEVEL": "error",
        }
        code, out, err = _run(tmp_path, "serve", **{**_GOOD, **doors})

    assert code == 3  # gunicorn's own for a worker that can't boot
    assert "serves on" not in out
    assert said in err.splitlines()[-1]
    assert len([line for line in err.splitlines() if "library.said" not in line]) == 1, err
    assert "Traceback" not in err


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def test_a_taken_port_is_said(tmp_path: Path, taken: int) -> None:
    _assert_one_line(
        _run(tmp_path, "serve", **_GOOD, BIND=f"127.0.0.1:{taken}"),
        f"BIND 127.0.0.1:{taken} can't be used: Address already in use.",
    )


def test_a_taken_port_ends_the_servers_that_serve_started(taken: int) -> None:
    with short_folder() as folder:
        good = {key: value for key, value in _GOOD.items() if key not in ("DATABASE_URL", "REDIS_URL")}
        _assert_one_line(
            _run(folder / "data", "serve", "--embedded", **good, BIND=f"127.0.0.1:{taken}"), "Address already in use"
        )
        assert_nothing_left(folder / "data")


def test_a_demo_on_a_taken_port_says_so_and_talks_to_nobody_else(taken: int) -> None:
    with short_folder() as folder:
        _assert_one_line(_run(folder / "data", "demo", "--exit", "--port", str(taken)), f"127.0.0.1:{taken} can't be")
        assert_nothing_left(folder / "data" / "demo")


def test_a_sandbox_on_a_taken_port_says_so(tmp_path: Path, taken: int) -> None:
    code, _, err = _run(
        tmp_path, "sandbox", "--port", str(taken), "--webhook-url", "http://127.0.0.1:9/", "--app-secret", "x"
    )
    assert code != 0
    assert f"Port {taken} can't be used" in err
    assert len(err.strip().splitlines()) == 1


def test_a_sandbox_says_where_it_is_and_ends_with_its_command(tmp_path: Path) -> None:
    sandbox = _start(
        tmp_path, "titanflow", "sandbox", "--webhook-url", "http://127.0.0.1:9/", "--app-secret", "x", "--json"
    )
    assert sandbox.stdout is not None
    try:
        address = json.loads(sandbox.stdout.readline())["address"]
        assert ApiClient(address, "").get("/_sandbox/summary")["accepted"] == 0
        sandbox.terminate()
        sandbox.communicate(timeout=30)
        assert _session(sandbox.pid) == []
    finally:
        _end_session(sandbox.pid)
    assert sandbox.returncode == 0


def test_a_demo_with_an_unknown_fault_profile_starts_nothing(tmp_path: Path) -> None:
    code, _, err = _run(tmp_path, "demo", "--faults", "nonsense")
    assert code == 2
    assert "mixed" in err
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_is_terminated_leaves_nothing_running() -> None:
    with short_folder() as folder:
        demo = _start(folder / "data", "titanflow", "demo", "--contacts", "100")
        port = 0
        assert demo.stdout is not None
        try:
            for line in demo.stdout:
                if "Up after" in line:
                    port = int(line.split("http://127.0.0.1:")[1].split()[0])
                    break
            assert ApiClient(f"http://127.0.0.1:{port}", "").is_up("/health/live")
            demo.terminate()
            demo.communicate(timeout=60)
        finally:
            _end_session(demo.pid)

        assert demo.returncode == 128 + signal.SIGTERM
        assert not ApiClient(f"http://127.0.0.1:{port}", "").is_up("/health/live")
        assert_nothing_left(folder / "data" / "demo")


def test_serve_says_where_it_serves_once_it_does(tmp_path: Path, database_url: str, redis_url: str) -> None:
    bind = f"127.0.0.1:{free_port()}"
    good = {**_GOOD, "DATABASE_URL": database_url, "REDIS_URL": redis_url, "BIND": bind}
    serving = _start(tmp_path, "titanflow", "serve", "--json", **good)
    deadline = time.monotonic() + 60
    assert serving.stdout is not None
    try:
        while f"TitanFlow serves on http://{bind}" not in serving.stdout.readline():
            assert time.monotonic() < deadline
        assert ApiClient(f"http://{bind}", "").is_up("/health/ready")
        serving.terminate()
        serving.communicate(timeout=60)
        assert _session(serving.pid) == []
    finally:
        _end_session(serving.pid)
    assert serving.returncode == 0


def test_doctor_prints_the_error_policy(tmp_path: Path) -> None:
    code, out, _ = _run(tmp_path, "doctor", "--errors", "--json")
    assert code == 0
    assert '"code": 131049' in out
