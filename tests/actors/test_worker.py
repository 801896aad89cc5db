"""Promise 7, the last step: a worker tells the gate when the bytes are out, not when they were about to be."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from titanflow.actors.number.gate import Gate
from titanflow.actors.number.reply_worker import DeliverReply, ReplyWorker
from titanflow.actors.number.worker import Deliver, Worker
from titanflow.domain.outcomes import Accepted, Outcome
from titanflow.domain.rendering import compile_template
from titanflow.meta.client import MetaClient
from titanflow.storage.outbox import ReplyClaim
from titanflow.supervision import KILL, Cast, GenServer, cast, exit_process, start, via
from titanflow.supervision.testing import eventually, no_leaked_actors


class _HearingGate(Gate):
    __slots__ = ("heard",)

    def has_left(self, now_ns: int) -> None:
        super().has_left(now_ns)
        self.heard = now_ns


class _Line(MetaClient):
    """Meta's side of one write, which takes a moment. What a client does otherwise is held by tests/meta."""

    def __init__(self) -> None:
        self.out_ns = 0

    def send(self, to: str, content: Any, echo: str, *, may_leave: Callable[[], bool], has_left: Any) -> Outcome:
        assert may_leave()
        time.sleep(0.005)
        self.out_ns = time.monotonic_ns()
        has_left()
        return Accepted("wamid.1")


def _deliver(gate: Gate) -> Cast:
    return Deliver(1, 7, 1, "+4915112345678", {}, compile_template(1, "hi", "en", [], variables={}, media={}), gate)


def _reply(gate: Gate) -> Cast:
    content = {"type": "text", "text": {"body": "Hello"}}
    return DeliverReply(ReplyClaim(7, 1, "+4915112345678", content, None, None), gate)


@pytest.mark.parametrize(("kind", "message"), [(Worker, _deliver), (ReplyWorker, _reply)])
def test_a_departure_counts_from_when_its_bytes_are_out(
    kind: type[Worker] | type[ReplyWorker], message: Callable[[Gate], Cast]
) -> None:
    line = _Line()
    gate = _HearingGate(1000, now_ns=time.monotonic_ns(), lease_until_ns=10**18)
    gate.heard = 0
    with no_leaked_actors():
        worker: GenServer = kind(line, via("nobody"), via("nobody"))
        pid = start(worker)
        cast(pid, message(gate))
        eventually(lambda: gate.heard > 0)
        exit_process(pid, KILL)

    assert gate.heard >= line.out_ns
