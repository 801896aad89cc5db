"""Slow C code on a thread of its own: the hub goes on, and only so many may wait."""

import hashlib
import threading
import time

import pytest

from titanflow.supervision import Busy, NativeThread, sleep_ms, spawn_plain


def test_the_hub_goes_on_and_results_and_errors_come_back() -> None:
    thread, ticks = NativeThread(most_waiting=0), list[float]()

    def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            sleep_ms(1)

    ticking = spawn_plain(tick)
    try:
        digest = thread.run(hashlib.scrypt, b"x", salt=b"y", n=2**14, r=8, p=4)
    finally:
        ticking.kill()

    assert digest == hashlib.scrypt(b"x", salt=b"y", n=2**14, r=8, p=4)
    assert len(ticks) > 5
    with pytest.raises(ValueError, match="invalid literal"):
        thread.run(int, "x")
    assert thread.run(threading.get_native_id) != threading.get_native_id()


def test_whoever_would_wait_too_long_is_told_at_once() -> None:
    thread = NativeThread(most_waiting=1)
    answers = list[str]()

    def work() -> None:
        try:
            thread.run(time.sleep, 0.05)
            answers.append("done")
        except Busy:
            answers.append("busy")

    greenlets = [spawn_plain(work) for _ in range(4)]
    for one in greenlets:
        assert one.join(5)

    assert sorted(answers) == ["busy", "busy", "done", "done"]
