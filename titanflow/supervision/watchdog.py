"""Finds a handler that never yields: measures how late the hub is, and names the actor that holds it.

Greenlets have no pre-emption: one busy loop stops everybody. A thread of the operating system watches a
timer of the hub; when that is late it reads the running stack, finds the actor in it and keeps the report.
The hub logs it when it is free again; if it stays blocked, the thread itself writes to stderr.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections import deque
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

import structlog
from gevent import monkey
from gevent.hub import get_hub

from titanflow.supervision.process import Process

log = structlog.get_logger()

_BEAT_S: Final = 0.02
_SHOUT_AFTER_S: Final = 2.0
_SAMPLES: Final = 3_000  # a minute
_STACK_LINES: Final = 25

_real_sleep = monkey.get_original("time", "sleep")
_start_thread = monkey.get_original("_thread", "start_new_thread")
_thread_id = monkey.get_original("_thread", "get_ident")


@dataclass(slots=True)
class Stall:
    """One time the hub stood still. actor: who held it; None = plain code."""

    actor: str | None
    pid: int | None
    blocked_ms: float
    stack: str


@dataclass(frozen=True, slots=True)
class HubLag:
    """How late the hub's timer came lately, in ms."""

    p50: float
    p99: float
    max: float


class Watchdog:
    """Watches the calling thread's hub from `start` to `stop`."""

    def __init__(self, threshold_ms: float = 250.0) -> None:
        self.stalls: deque[Stall] = deque(maxlen=20)
        self._threshold_s = threshold_ms / 1000
        self._lags_ms: deque[float] = deque(maxlen=_SAMPLES)
        self._beat_at = 0.0
        self._current: Stall | None = None
        self._watched = 0
        self._timer: Any = None

    def start(self) -> Watchdog:
        """Begin to watch."""
        self._watched = _thread_id()
        self._beat_at = time.monotonic()
        self._timer = get_hub().loop.timer(_BEAT_S, _BEAT_S)
        self._timer.start(self._beat)
        _start_thread(self._watch, (self._timer,))
        return self

    def stop(self) -> None:
        """Stop watching; the thread ends by itself."""
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def lag(self) -> HubLag:
        """Return the hub's lag over the last minute, or since the start."""
        lags = sorted(self._lags_ms) or [0.0]
        return HubLag(lags[len(lags) // 2], lags[min(len(lags) - 1, int(len(lags) * 0.99))], lags[-1])

    def quantile_ms(self, quantile: str) -> float:
        """Return one figure of `lag`: "0.5", "0.99" or "1"."""
        lag = self.lag()
        return {"0.5": lag.p50, "0.99": lag.p99, "1": lag.max}[quantile]

    def _beat(self) -> None:
        now = time.monotonic()
        late_s = max(0.0, now - self._beat_at - _BEAT_S)
        self._beat_at = now
        self._lags_ms.append(late_s * 1000)
        stall, self._current = self._current, None
        if stall is not None:
            stall.blocked_ms = round(late_s * 1000, 1)
            self.stalls.append(stall)
            log.error("hub.blocked", actor=stall.actor, pid=stall.pid, blocked_ms=stall.blocked_ms, stack=stall.stack)

    def _watch(self, timer: Any) -> None:
        """Runs in its own thread: no lock, no log, nothing of gevent."""
        shouted = False
        while self._timer is timer:
            _real_sleep(min(_BEAT_S, self._threshold_s / 4))
            blocked_s = time.monotonic() - self._beat_at - _BEAT_S
            if blocked_s < self._threshold_s:
                shouted = False
                continue
            if self._current is None:
                self._current = _who_runs(self._watched)
            stall = self._current
            if stall is not None and blocked_s > _SHOUT_AFTER_S and not shouted:
                shouted = True
                line = f"hub.blocked for {blocked_s:.1f} s by {stall.actor} (pid {stall.pid})\n{stall.stack}\n"
                os.write(2, line.encode())


def _who_runs(thread: int) -> Stall | None:
    frame = sys._current_frames().get(thread)
    if frame is None:
        return None
    process = _process_in(frame)
    stack = "".join(traceback.format_stack(frame, limit=_STACK_LINES))
    if process is None:
        return Stall(None, None, 0.0, stack)
    return Stall(process.pid.kind, process.pid.number, 0.0, stack)


def _process_in(frame: FrameType) -> Process | None:
    """The process whose loop is at the bottom of a stack."""
    below: FrameType | None = frame
    while below is not None:
        if below.f_code is Process._actor_loop.__code__:
            found: Process = below.f_locals["self"]
            return found
        below = below.f_back
    return None
