"""POST /supervision/{pid}/restart on a real server."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.support.servers import short_folder
from titanflow.cli.api_client import ApiClient
from titanflow.cli.stage import Stage
from titanflow.errors import TitanFlowError


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with short_folder() as folder:
        made = Stage(folder / "data")
        try:
            made.start()
            yield made
        finally:
            made.stop()


def _processes(stage: Stage) -> list[dict[str, Any]]:
    waiting, found = [stage.api.get("/api/v1/supervision")], []
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += one["children"]
    return found


def _pid_of(stage: Stage, kind: str) -> int | None:
    return next((int(one["pid"]) for one in _processes(stage) if one["kind"] == kind), None)


def test_a_process_that_an_admin_ends_is_started_anew(stage: Stage) -> None:
    before = _pid_of(stage, "DoubtResolver")

    answer = stage.api.post(f"/api/v1/supervision/{before}/restart")

    assert (answer["pid"], answer["kind"]) == (before, "DoubtResolver")
    deadline = time.monotonic() + 10
    while (after := _pid_of(stage, "DoubtResolver")) in (None, before):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(TitanFlowError) as gone:
        stage.api.post(f"/api/v1/supervision/{before}/restart")
    assert gone.value.code == "process_not_found"
    assert after is not None


def test_the_root_has_nobody_who_would_start_it_again(stage: Stage) -> None:
    root = stage.api.get("/api/v1/supervision")["pid"]

    with pytest.raises(TitanFlowError) as refused:
        stage.api.post(f"/api/v1/supervision/{root}/restart")

    assert refused.value.code == "not_restartable"


def test_a_tree_that_has_used_up_its_restarts_takes_its_process_along(stage: Stage) -> None:
    """As in OTP, where a permanent application ends the node. gunicorn starts a new worker, with a new tree."""
    first = stage.api.get("/api/v1/nodes")["items"][0]["pid"]
    deadline = time.monotonic() + 60

    while (now := _os_pid(stage)) in (None, first):
        assert time.monotonic() < deadline, "the server stays as it is, without a tree"
        with suppress(TitanFlowError, TypeError):  # it is going down, or has no tree to show
            stage.api.post(f"/api/v1/supervision/{_pid_of(stage, 'Node')}/restart")
        time.sleep(0.05)

    while not ApiClient(stage.address, "").is_up("/health/ready"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert now is not None


def _os_pid(stage: Stage) -> int | None:
    """The newest node's, if the server answers."""
    try:
        return max((int(one["pid"]) for one in stage.api.get("/api/v1/nodes")["items"]), default=None)
    except TitanFlowError:
        return None
