"""Worker: has one message on its way to Meta at a time.

PIPELINE_CONCURRENCY of them per pool; children of the pool's Workers supervisor (one_for_one, permanent). Traps exits,
so that a stop waits for the answer under way. A crash leaves its claim to the DoubtResolver: it may have been sent.
OTP model: gen_server.
"""

from dataclasses import dataclass
from typing import Any

from titanflow.actors.number.gate import Gate
from titanflow.domain import echo
from titanflow.domain.outcomes import Outcome, Rejected
from titanflow.domain.rendering import CompiledTemplate, MissingValue
from titanflow.meta.client import MetaClient
from titanflow.meta.error_policy import MISSING_VALUE
from titanflow.supervision import Cast, GenServer, NoReply, Pid, Stop, Via, cast


@dataclass(frozen=True, slots=True)
class Deliver(Cast):
    """Send one claimed message."""

    campaign_id: int
    log_id: int
    attempt: int
    phone: str
    variables: dict[str, Any]
    template: CompiledTemplate
    gate: Gate


@dataclass(frozen=True, slots=True)
class Ready(Cast):
    """To the dispatcher: this worker is free. delivered: of the message it had, None after a start."""

    worker: Pid
    delivered: Outcome | None


@dataclass(frozen=True, slots=True)
class Delivered(Cast):
    """To the recorder: what became of one attempt."""

    campaign_id: int
    log_id: int
    attempt: int
    template_id: int
    outcome: Outcome


class Worker(GenServer):
    """Waits for its departure, POSTs, tells recorder and dispatcher."""

    mailbox_limit = 16

    def __init__(self, client: MetaClient, dispatcher: Via, recorder: Via) -> None:
        self._client, self._dispatcher, self._recorder = client, dispatcher, recorder

    def init(self) -> None:
        """Say that there is a new worker."""
        self.trap_exit = True
        cast(self._dispatcher, Ready(self.pid, None))

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Deliver one message."""
        match message:
            case Deliver():
                outcome = self._deliver(message)
                cast(
                    self._recorder,
                    Delivered(
                        message.campaign_id, message.log_id, message.attempt, message.template.template_id, outcome
                    ),
                )
                cast(self._dispatcher, Ready(self.pid, outcome))
                return None
        return super().handle_cast(message)

    def _deliver(self, message: Deliver) -> Outcome:
        template = message.template.render(message.variables)
        if isinstance(template, MissingValue):
            return Rejected(MISSING_VALUE, template.sentence())
        echoed = echo.encode(message.log_id, message.attempt)
        return self._client.send_template(
            message.phone,
            template,
            echoed,
            may_leave=lambda: departs(self, message.gate),
            has_left=lambda: message.gate.has_left(self.now_ns()),
        )


def departs(worker: GenServer, gate: Gate) -> bool:
    """Wait for a departure of the number, in a worker. False if nothing may leave any more."""
    while (at_ns := gate.reserve(worker.now_ns())) is not None:
        wait_ns = at_ns - worker.now_ns()
        if wait_ns > 0:
            worker.sleep_ms(wait_ns / 1e6)
        if gate.leave(at_ns, worker.now_ns()):
            return True
    return False
