"""Tasks where the recorded scenarios do not go: owned by plain code, bounded, lazy, stopped early."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.supervision.servers import Ask, Counter
from titanflow.supervision import (
    CallExit,
    Crash,
    Pid,
    StartError,
    TaskDone,
    TaskExit,
    TaskSupervisor,
    async_link,
    async_nolink,
    async_stream,
    async_task,
    call,
    sleep_ms,
    start,
    start_task,
    stop,
    which_children,
)
from titanflow.supervision.testing import eventually, living


@pytest.fixture
def tasks() -> Iterator[Pid]:
    """A TaskSupervisor."""
    pid = start(TaskSupervisor(max_children=4))
    yield pid
    stop(pid)


def _later(ms: float, value: int) -> int:
    sleep_ms(ms)
    return value


def _fail() -> None:
    raise ValueError("no")


def test_plain_code_awaits_a_task(tasks: Pid) -> None:
    assert async_nolink(tasks, _later, 2, 42).await_result(1) == 42
    assert async_task(tasks, max, 3, 4).await_result(1) == 4
    assert async_link(lambda: "free").await_result(1) == "free"


def test_plain_code_survives_a_crash_of_its_task_and_learns_why(tasks: Pid) -> None:
    task = async_task(tasks, _fail)

    with pytest.raises(CallExit) as caught:
        task.await_result(1)

    assert isinstance(caught.value.reason, Crash)


def test_a_task_that_is_not_ready_may_be_asked_again(tasks: Pid) -> None:
    task = async_nolink(tasks, _later, 20, 6)

    assert task.yield_result(0.002) is None
    assert task.yield_result(1) == TaskDone(6)


def test_awaiting_too_long_says_timeout_and_a_shutdown_ends_the_task(tasks: Pid) -> None:
    slow = async_nolink(tasks, lambda: sleep_ms(60_000))
    with pytest.raises(CallExit, match="timeout"):
        slow.await_result(0.002)

    assert slow.shutdown("brutal_kill") is None
    assert eventually(lambda: which_children(tasks) == [])


def test_shutting_a_linked_task_down_does_not_end_its_owner(tasks: Pid) -> None:
    """Task.shutdown unlinks first: the owner does not trap exits."""
    owner = start(Counter())

    def use_a_task(_: Counter) -> object:
        return async_task(tasks, lambda: sleep_ms(60_000)).shutdown("brutal_kill")

    assert call(owner, Ask(use_a_task)) is None
    assert owner.alive
    stop(owner)


def test_the_bound_on_tasks_is_kept(tasks: Pid) -> None:
    running = [async_nolink(tasks, lambda: sleep_ms(60_000)) for _ in range(4)]

    with pytest.raises(StartError, match="max_children"):
        start_task(tasks, _fail)

    for task in running:
        task.shutdown("brutal_kill")


def test_a_stream_takes_items_only_as_they_can_run(tasks: Pid) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    def double(number: int) -> int:
        sleep_ms(1)
        return number * 2

    stream = async_stream(tasks, double, items(), max_concurrency=2)
    first = next(stream)
    assert isinstance(stream, Iterator)
    most = len(taken)
    stream.close()  # type: ignore[attr-defined]  # it is a generator

    assert first == TaskDone(0)
    assert most <= 4
    assert eventually(lambda: which_children(tasks) == [])


def test_a_stream_in_plain_code_yields_crashes_as_outcomes(tasks: Pid) -> None:
    def reciprocal(number: int) -> float:
        return 1 / number

    outcomes: list[Any] = list(async_stream(tasks, reciprocal, [1, 0, 2], max_concurrency=3))

    assert outcomes[0] == TaskDone(1.0)
    assert isinstance(outcomes[1], TaskExit)
    assert outcomes[2] == TaskDone(0.5)


def test_a_stream_that_needs_more_tasks_than_allowed_says_so(tasks: Pid) -> None:
    with pytest.raises(StartError, match="max_children"):
        list(async_stream(tasks, lambda _: sleep_ms(1_000), range(9), max_concurrency=9))

    assert eventually(lambda: which_children(tasks) == [])
    assert [pid.kind for pid in living()] == ["TaskSupervisor"]


def test_a_stream_kills_what_takes_too_long(tasks: Pid) -> None:
    outcomes = list(async_stream(tasks, lambda ms: sleep_ms(ms), [1, 60_000], timeout_ms=20, on_timeout="kill_task"))

    assert outcomes == [TaskDone(None), TaskExit("timeout")]
