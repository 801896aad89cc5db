"""Pause, resume, cancel and the end of a send window, measured where it counts: at the last and first request that
Meta's stand-in sees, against the moment of the API's answer (both by this machine's monotonic clock). `-s` prints the
figures.
"""

import json
import statistics
import time

import pytest
from rich.console import Console

from tests.support.servers import short_folder
from titanflow.cli import books, demo
from titanflow.cli.stage import Stage
from titanflow.domain.send_windows import DAYS
from titanflow.storage.database import connect

_ROUNDS = 4
_GOAL_S = 1.0
_WORST_S = 3.0  # of a single round on a machine that does other things meanwhile


def _arrivals(stage: Stage) -> list[float]:
    return sorted(json.loads(line)["at"] for line in stage.meta.lines("/_sandbox/ledger"))


def _last_before(times: list[float], until: float, answered: float) -> float:
    """Seconds from the answer to the last request before `until`; negative: it had left before the answer."""
    return max((at for at in times if at < until), default=answered) - answered


def _told(name: str, numbers: int, rate: float, seconds: list[float]) -> None:
    figures = " ".join(f"{1000 * one:.0f}" for one in sorted(seconds))
    middle = statistics.median(seconds)
    print(f"{name}, {numbers} number(s), {rate:.0f}/s before: {figures} ms, median {1000 * middle:.0f}")
    assert middle < _GOAL_S, (name, seconds)
    assert max(seconds) < _WORST_S, (name, seconds)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("numbers", [1, 2])
def test_pause_resume_and_cancel_take_effect_within_a_second(numbers: int) -> None:
    with short_folder() as folder:
        stage = Stage(folder / "data", latency_ms=100, speed=8)
        options = demo.Options(8_000, numbers, 400 * numbers, 100.0, "clean", False, True, None, 0, folder / "data")
        try:
            stage.start()
            campaign_id, max_mps = demo.prepare(stage, options, Console(quiet=True))
            path = f"/api/v1/campaigns/{campaign_id}"
            marks: list[tuple[str, float, float]] = []  # action, when asked, when answered
            for action in ["start", *["pause", "resume"] * _ROUNDS, "cancel"]:
                asked = time.monotonic()
                stage.api.post(f"{path}/{action}")
                marks.append((action, asked, time.monotonic()))
                time.sleep(1.5)  # how long it is silent, or sends, is the measurement
            times = _arrivals(stage)
            demo.settle(stage)
            result = books.compare(stage.api, stage.meta, campaign_id, max_mps=max_mps)
        finally:
            stage.stop()

    ends = [asked for _, asked, _ in marks[1:]] + [float("inf")]
    silence = {"pause": list[float](), "cancel": list[float]()}
    first = {"start": list[float](), "resume": list[float]()}
    for (action, asked, answered), end in zip(marks, ends, strict=True):
        if action in silence:
            silence[action].append(_last_before(times, end, answered))
        else:
            first[action].append(min((at for at in times if asked < at < end), default=end) - answered)
    running = [(answered, end) for (action, _, answered), end in zip(marks, ends, strict=True) if action in first]
    rate = max(sum(1 for at in times if end - 1 <= at < end) for _, end in running)
    for name, seconds in {**silence, **first}.items():
        _told(name, numbers, rate, seconds)
    assert result.held, result


@pytest.mark.timeout(180)
def test_the_end_of_a_send_window_is_silence_within_a_second() -> None:
    """The window ends in mid-campaign; nobody asks for anything."""
    with short_folder() as folder:
        stage = Stage(folder / "data", latency_ms=100, speed=8)
        options = demo.Options(5_000, 2, 600, 100.0, "clean", False, True, None, 0, folder / "data")
        try:
            stage.start()
            campaign_id, max_mps = demo.prepare(stage, options, Console(quiet=True))
            path = f"/api/v1/campaigns/{campaign_id}"
            stage.api.post(f"{path}/start")
            with connect(
                stage.database_url
            ) as connection:  # minutes are the window's grain; the test can't wait for one
                day = DAYS[(time.gmtime().tm_wday + 3) % 7]
                window = json.dumps({"timezone": "UTC", "days": [day], "from": "09:00", "to": "20:00"})
                row = connection.execute(
                    "UPDATE campaigns SET send_window = %s, window_turns_at = now() + interval '2.5 s' WHERE id = %s"
                    " RETURNING extract(epoch FROM window_turns_at)::float8",
                    [window, campaign_id],
                ).fetchone()
            assert row is not None
            ends = float(row[0]) - time.time() + time.monotonic()  # as the ledger tells time
            time.sleep(5)
            campaign = stage.api.get(path)
            times = _arrivals(stage)
            stage.api.patch(path, {"send_window": None})  # it goes on at once
            deadline = time.monotonic() + 90
            while stage.api.get(path)["state"] != "completed" and time.monotonic() < deadline:
                time.sleep(0.2)
            demo.settle(stage)
            result = books.compare(stage.api, stage.meta, campaign_id, max_mps=max_mps)
        finally:
            stage.stop()

    rate = sum(1 for at in times if ends - 1 <= at < ends)
    _told("end of the window", 2, rate, [_last_before(times, float("inf"), ends)])
    assert (campaign["state"], campaign["state_by"]) == ("paused", "send_window")
    assert campaign["state_reason"].startswith("Outside its send window; goes on ")
    assert result.held, result
