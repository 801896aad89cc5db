"""ReplyWorker: has one reply of the inbox on its way to Meta at a time.

A few a number; children of the number's reply workers (one_for_one, permanent). As a campaign's Worker: traps exits, so
that a stop waits for the answer under way; a crash leaves its claim to the DoubtResolver. OTP model: gen_server.
"""

from dataclasses import dataclass
from typing import Any

from titanflow.actors.number.gate import Gate
from titanflow.actors.number.worker import Ready, departs
from titanflow.domain import echo
from titanflow.domain.outcomes import Outcome
from titanflow.meta.client import MetaClient
from titanflow.storage.outbox import MEDIA_HERE, ReplyClaim
from titanflow.supervision import Cast, GenServer, NoReply, Stop, Via, cast

_OURS_ALONE = ("shown_text",)  # members of a content that are for people, not for Meta


@dataclass(frozen=True, slots=True)
class DeliverReply(Cast):
    """Send one claimed reply."""

    claim: ReplyClaim
    gate: Gate


@dataclass(frozen=True, slots=True)
class DeliveredReply(Cast):
    """To the recorder: what became of one attempt."""

    message_id: int
    attempt: int
    template_id: int | None
    outcome: Outcome


class ReplyWorker(GenServer):
    """Waits for its departure, POSTs, tells recorder and sender."""

    mailbox_limit = 16

    def __init__(self, client: MetaClient, sender: Via, recorder: Via) -> None:
        self._client, self._sender, self._recorder = client, sender, recorder

    def init(self) -> None:
        """Say that there is a new worker."""
        self.trap_exit = True
        cast(self._sender, Ready(self.pid, None))

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Deliver one reply."""
        match message:
            case DeliverReply(claim, gate):
                outcome = self._client.send(
                    claim.to,
                    content_for_meta(claim),
                    echo.encode_reply(claim.id, claim.attempt),
                    may_leave=lambda: departs(self, gate),
                    has_left=lambda: gate.has_left(self.now_ns()),
                )
                cast(self._recorder, DeliveredReply(claim.id, claim.attempt, claim.template_id, outcome))
                cast(self._sender, Ready(self.pid, outcome))
                return None
        return super().handle_cast(message)


def content_for_meta(claim: ReplyClaim) -> dict[str, Any]:
    """Return what goes to Meta: without what is for people alone, with Meta's id of the file."""
    content = {key: value for key, value in claim.content.items() if key not in _OURS_ALONE}
    if claim.meta_media_id is None:
        return content
    filled = _filled(content, claim.meta_media_id)
    assert isinstance(filled, dict)
    return filled


def _filled(value: Any, meta_media_id: str) -> Any:
    if isinstance(value, dict):
        return {
            key: meta_media_id if key == "id" and one == MEDIA_HERE else _filled(one, meta_media_id)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_filled(one, meta_media_id) for one in value]
    return value
