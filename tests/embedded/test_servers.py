"""Starting, sharing, killing and mending the embedded servers."""

import os
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

import psycopg
import pytest
import redis

from tests.embedded.conftest import Owners, answers, processes_naming, wait_until_gone
from titanflow import embedded
from titanflow.embedded import launcher, locks
from titanflow.embedded.layout import Kind, Layout, read_state
from titanflow.embedded.servers import RestartMode
from titanflow.errors import Conflict, Unavailable


def test_both_servers_work_and_end_with_the_block(data_dir: Path) -> None:
    with embedded.start(data_dir) as servers:
        assert answers(servers.urls)
        with psycopg.connect(servers.urls.database_url) as connection:
            settings = connection.execute(
                "SELECT current_database(), current_setting('fsync'), current_setting('synchronous_commit'),"
                " current_setting('full_page_writes'), current_setting('TimeZone'),"
                " current_setting('server_encoding'), current_setting('max_connections')"
            ).fetchone()
        assert settings == ("titanflow", "on", "on", "on", "UTC", "UTF8", "200")
        with redis.Redis.from_url(servers.urls.redis_url, decode_responses=True) as client:
            assert client.config_get("appendonly", "appendfsync", "maxmemory-policy") == {
                "appendonly": "yes",
                "appendfsync": "everysec",
                "maxmemory-policy": "noeviction",
            }

    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(servers.urls.database_url, connect_timeout=2)
    servers.stop()  # twice is harmless


def test_strangers_need_the_password(data_dir: Path) -> None:
    with embedded.start(data_dir, durable=False) as servers:
        password = (data_dir / "embedded.password").read_text().strip()

        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(servers.urls.database_url.replace(password, "guess"), connect_timeout=2)
        with redis.Redis.from_url(servers.urls.redis_url.replace(password, "guess")) as client:
            with pytest.raises(redis.AuthenticationError):
                client.ping()
        shown = " ".join(processes_naming(data_dir))
        assert shown
        assert password not in shown


def test_find_tells_what_runs_and_only_while_it_runs(data_dir: Path) -> None:
    assert embedded.find(data_dir) is None

    with embedded.start(data_dir, redis=False, durable=False) as servers:
        assert embedded.find(data_dir) == servers.urls
        assert servers.urls.redis_url == ""
        servers.kill_postgres()
        assert embedded.find(data_dir) is None

    assert embedded.find(data_dir) is None
    assert embedded.find(data_dir / "nowhere") is None
    assert not (data_dir / "nowhere").exists()


def test_a_second_start_borrows_and_never_stops_what_it_borrowed(data_dir: Path) -> None:
    with embedded.start(data_dir, redis=False, durable=False) as first:
        with embedded.start(data_dir, durable=False) as second:
            assert second.urls.database_url == first.urls.database_url
            assert answers(second.urls)
            with pytest.raises(Conflict):
                second.kill_postgres()

        assert embedded.find(data_dir) == first.urls  # the second one's Valkey is gone, PostgreSQL is not
        with psycopg.connect(first.urls.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_concurrent_starts_agree_on_one_pair(owners: Owners, data_dir: Path) -> None:
    started = [owners.start(data_dir) for _ in range(3)]

    urls = {owner.urls() for owner in started}

    assert len(urls) == 1
    assert answers(urls.pop())
    owner_pid = read_state(Layout(data_dir))[Kind.POSTGRES].owner_pid
    for borrower in [one for one in started if one.process.pid != owner_pid]:
        assert borrower.end() == 0
    assert embedded.find(data_dir) is not None
    assert next(one for one in started if one.process.pid == owner_pid).end() == 0
    wait_until_gone(data_dir)


def test_committed_rows_and_keys_outlive_kill_9_of_the_servers(data_dir: Path) -> None:
    with embedded.start(data_dir) as servers:
        with psycopg.connect(servers.urls.database_url) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (at timestamptz)")
            connection.execute("INSERT INTO kept VALUES (now())")
        with redis.Redis.from_url(servers.urls.redis_url) as client:
            client.set("kept", "yes")

        servers.kill_postgres()
        servers.kill_redis()
        urls_before = servers.urls

        assert sorted(servers.mend()) == ["PostgreSQL", "Valkey"]
        assert servers.mend() == []
        assert servers.urls == urls_before
        with psycopg.connect(servers.urls.database_url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1,)
            connection.execute("DROP TABLE kept")
        with redis.Redis.from_url(servers.urls.redis_url) as client:
            assert client.get("kept") == b"yes"


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_postgres_restarts_at_the_same_url_under_a_busy_client(data_dir: Path, mode: RestartMode) -> None:
    with embedded.start(data_dir, redis=False, durable=False) as servers:
        with psycopg.connect(servers.urls.database_url, autocommit=True) as client:
            before = client.execute("SELECT pg_postmaster_start_time()").fetchone()
            assert before is not None

            servers.restart_postgres(mode)

            with pytest.raises(psycopg.OperationalError):
                client.execute("SELECT 1")
        with psycopg.connect(servers.urls.database_url) as again:
            after = again.execute("SELECT pg_postmaster_start_time()").fetchone()
        assert after is not None
        assert after > before


def test_redis_restarts_at_the_same_url_with_its_keys(data_dir: Path) -> None:
    with embedded.start(data_dir, postgres=False) as servers:
        with redis.Redis.from_url(servers.urls.redis_url) as client:
            client.set("before", "restart")

            servers.restart_redis()

            assert client.get("before") == b"restart"


def test_the_servers_of_a_killed_owner_stop(owners: Owners, data_dir: Path) -> None:
    owner = owners.start(data_dir)
    urls = owner.urls()
    with psycopg.connect(urls.database_url):
        owner.end(signal.SIGKILL)
        wait_until_gone(data_dir)

    assert embedded.find(data_dir) is None


def test_a_slow_watcher_leaves_the_servers_of_the_next_owner_alone(owners: Owners, data_dir: Path) -> None:
    """Neither are the dead owner's servers borrowed, nor does its watcher stop those that came after."""
    owner = owners.start(data_dir)
    owner.urls()
    old = read_state(Layout(data_dir))[Kind.POSTGRES].pid
    (watcher,) = _watchers(data_dir)
    os.kill(watcher, signal.SIGSTOP)
    owner.end(signal.SIGKILL)

    with embedded.start(data_dir, durable=False) as servers:
        os.kill(watcher, signal.SIGCONT)
        while watcher in _watchers(data_dir):
            time.sleep(0.01)

        assert answers(servers.urls)
        assert read_state(Layout(data_dir))[Kind.POSTGRES].pid != old


def test_orphans_without_owner_and_watcher_are_replaced(owners: Owners, data_dir: Path) -> None:
    owner = owners.start(data_dir)
    owner.urls()
    for watcher in _watchers(data_dir):
        os.kill(watcher, signal.SIGKILL)
    owner.end(signal.SIGKILL)
    orphans = {running.pid for running in read_state(Layout(data_dir)).values()}
    (data_dir / "embedded.json").unlink()  # and even what is known of them is lost

    with embedded.start(data_dir, durable=False) as servers:
        assert answers(servers.urls)
        assert orphans.isdisjoint(running.pid for running in read_state(Layout(data_dir)).values())


def test_servers_are_killed_and_stopped_where_the_system_hides_locks(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_holds", lambda process, path: False)

    with embedded.start(data_dir, durable=False) as servers:
        servers.kill_postgres()
        servers.restart_postgres()
        assert answers(servers.urls)


def test_a_pid_file_that_names_a_stranger_is_no_obstacle(data_dir: Path) -> None:
    """PostgreSQL refuses to start if the process named there lives, whatever it is."""
    with embedded.start(data_dir, redis=False, durable=False) as servers:
        server = servers._owned[Kind.POSTGRES]
        pid_file = data_dir / "pg" / "postmaster.pid"
        left_behind = pid_file.read_text().splitlines()
    stranger = _spawn(server.launcher, ["sleep", "60"], data_dir)
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *left_behind[1:]]) + "\n")
        server.launcher.hand_over(pid_file)

        with embedded.start(data_dir, redis=False, durable=False) as servers:
            with psycopg.connect(servers.urls.database_url) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(timeout=5)


def test_a_server_started_by_hand_is_left_alone(data_dir: Path) -> None:
    with embedded.start(data_dir, redis=False, durable=False) as servers:
        server = servers._owned[Kind.POSTGRES]
        port = servers._ports[Kind.POSTGRES]
    by_hand = _spawn(server.launcher, [str(part) for part in server.command(port)], data_dir)
    try:
        while not server.is_ready(by_hand.pid, port):
            assert by_hand.poll() is None
            time.sleep(0.01)

        with pytest.raises(Conflict, match="by hand"):
            embedded.start(data_dir, durable=False)

        assert by_hand.poll() is None
    finally:
        by_hand.send_signal(signal.SIGINT)
        by_hand.wait(timeout=20)


def test_a_port_taken_meanwhile_is_replaced(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        ports = iter([taken, 31_999, taken, 31_998])
        monkeypatch.setattr("titanflow.embedded.servers._free_port", lambda: next(ports))

        with embedded.start(data_dir, durable=False) as servers:
            assert answers(servers.urls)
            assert list(ports) == []


def test_a_new_password_replaces_a_lost_one(data_dir: Path) -> None:
    with embedded.start(data_dir, durable=False) as servers:
        before = servers.urls
    (data_dir / "embedded.password").unlink()

    with embedded.start(data_dir, durable=False) as servers:
        assert answers(servers.urls)
        assert servers.urls.database_url.split("@")[0] != before.database_url.split("@")[0]


def test_a_first_start_that_was_killed_in_the_middle_is_done_again(data_dir: Path) -> None:
    data_dir = data_dir.with_name("half-made")
    (data_dir / "pg.new" / "base").mkdir(parents=True)

    with embedded.start(data_dir, redis=False, durable=False) as servers:
        with psycopg.connect(servers.urls.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not (data_dir / "pg.new").exists()


def test_records_and_logs_are_their_owners_alone(data_dir: Path) -> None:
    with embedded.start(data_dir, durable=False):
        private = ["embedded.json", "embedded.password", "logs", "logs/postgres.log", "pg", "redis"]

        assert [name for name in private if (data_dir / name).stat().st_mode & 0o077] == []


def test_other_greenlets_run_while_a_server_starts(data_dir: Path) -> None:
    ticks = 0
    over = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not over.wait(0.005):
            ticks += 1

    ticker = threading.Thread(target=tick)
    ticker.start()
    with embedded.start(data_dir, durable=False):
        over.set()
        ticker.join()

    assert ticks > 5


def test_a_server_that_cannot_start_says_why_in_one_line(data_dir: Path) -> None:
    with embedded.start(data_dir, redis=False, durable=False):
        pass
    hba = data_dir / "pg" / "pg_hba.conf"
    good = hba.read_text()
    hba.write_text("nonsense\n")
    try:
        with pytest.raises(Unavailable) as raised:
            embedded.start(data_dir, durable=False)
    finally:
        hba.write_text(good)

    assert "\n" not in raised.value.one_line()
    assert "pg_hba.conf" in raised.value.one_line()


def test_a_lock_outlives_its_taker_in_those_who_inherited_it(tmp_path: Path) -> None:
    descriptor = locks.take(tmp_path / "lock", timeout_s=1)
    child = subprocess.Popen(["sleep", "60"], pass_fds=(descriptor,))
    os.close(descriptor)

    assert locks.is_held(tmp_path / "lock")
    assert locks.holders(tmp_path / "lock") == [child.pid]
    with pytest.raises(Unavailable):
        locks.take(tmp_path / "lock", timeout_s=0.05)

    child.kill()
    child.wait(timeout=5)
    assert not locks.is_held(tmp_path / "lock")
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600


def _spawn(how: launcher.Launcher, command: list[str | Path] | list[str], data_dir: Path) -> subprocess.Popen[bytes]:
    with (data_dir / "by-hand.log").open("ab") as log:
        return how.spawn(command, log=log, keep_open=log.fileno())


def _watchers(data_dir: Path) -> list[int]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_text(errors="replace")
        except OSError:
            continue
        if "titanflow.embedded.watcher" in line and f"{data_dir}\0" in line:
            found.append(int(file.parent.name))
    return found
