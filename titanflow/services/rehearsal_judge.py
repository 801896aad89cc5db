"""The judge's process, seen from the rehearsal: messages go in by the batch, one verdict a batch comes out."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

_COMMAND = [sys.executable, "-m", "titanflow.sandbox.rehearsal"]


class JudgeEnded(Exception):
    """The judge's process ended in the middle."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Messages of one batch that were refused for the same cause. lines: their places in the batch, from 0."""

    code: int
    details: str
    lines: list[int]


class Judge:
    """A child process that ends when its input does, so that it can't outlive this one."""

    def __init__(self, stage: dict[str, Any]) -> None:
        self._process = subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._messages, self._verdicts = self._process.stdin, self._process.stdout
        self._send([orjson.dumps(stage)], end=b"\n")

    def send(self, messages: Sequence[bytes]) -> None:
        """Hand over a batch of NDJSON lines without their ends. One `verdict` is due for each batch, in order.

        A verdict fits into the pipe, so that one batch may be under way while the next is handed over.
        """
        self._send(messages, end=b"\n\n" if messages else b"\n")

    def verdict(self) -> list[Refused]:
        """Wait for the next verdict."""
        line = self._verdicts.readline()
        if not line.endswith(b"\n"):
            raise JudgeEnded(f"The sandbox's judge ended with code {self._process.wait()}")
        return [Refused(one["code"], one["details"], one["lines"]) for one in orjson.loads(line)["refused"]]

    def close(self) -> None:
        """End the judge and wait for it."""
        self._process.kill()
        self._process.wait()
        self._verdicts.close()
        try:
            self._messages.close()
        except BrokenPipeError:
            pass  # what was still buffered has nobody to go to

    def _send(self, lines: Sequence[bytes], *, end: bytes) -> None:
        try:
            self._messages.write(b"\n".join(lines) + end)
            self._messages.flush()
        except BrokenPipeError:
            raise JudgeEnded(f"The sandbox's judge ended with code {self._process.wait()}") from None
