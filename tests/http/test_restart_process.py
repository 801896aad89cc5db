"""POST /supervision/{pid}/restart on a real server."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.servers import short_folder
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
