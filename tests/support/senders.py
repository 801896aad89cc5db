"""A campaign's sender on the virtual clock: asks the real RateLimiter, passes its gate, gets answers after a while."""

from typing import Any

from titanflow.actors.number import rate_limiter
from titanflow.actors.number.gate import Gate
from titanflow.actors.number.rate_limiter import Grant
from titanflow.supervision import GenServer, NoReply, Stop

_BATCH = 200


class _Pump:
    """To self: ask."""


class _Depart:
    """To self: the moment reserved has come."""

    def __init__(self, gate: Gate, at_ns: int) -> None:
        self.gate, self.at_ns = gate, at_ns


class _Answered:
    """To self: Meta has answered."""


class ASender(GenServer):
    """Sends `contacts` messages as a Dispatcher and its Workers would, and keeps when each left.

    usable: of so many contacts granted, one is claimed; the others are suppressed.
    """

    def __init__(self, number_id: int, campaign_id: int, contacts: int, *, answer_ms: float = 100, usable: int = 1):
        self.number_id, self.campaign_id, self.contacts = number_id, campaign_id, contacts
        self.answer_ms, self.usable = answer_ms, usable
        self.left: list[int] = []
        self.in_flight = 0
        self.grants: list[Grant] = []
        self._used = 0
        self._seen = 0

    def init(self) -> None:
        """Ask at once."""
        self.send_after(0, _Pump())

    def handle_info(self, message: Any) -> NoReply | Stop | None:
        """Ask, depart, take the answer."""
        match message:
            case _Pump():
                self.send_after(self._pump(), _Pump())
            case _Depart():
                self._depart(message)
            case _Answered():
                self.in_flight -= 1
        return None

    def _pump(self) -> float:
        wanted = min(self.contacts, _BATCH - min(self.in_flight, _BATCH))
        if not wanted and not self.in_flight:
            return 100
        grant = rate_limiter.take_permits(
            self.number_id, self.campaign_id, wanted, used=self._used, in_flight=self.in_flight
        )
        self.grants = [*self.grants[-99:], grant]
        self._used = 0
        for _ in range(grant.count):
            self.contacts -= 1
            self._seen += 1
            if self._seen % self.usable == 0:
                self._used += 1
                self.in_flight += 1
                self._reserve(grant.gate)
        return grant.wait_ms if wanted else 100

    def _reserve(self, gate: Gate) -> None:
        at_ns = gate.reserve(self.now_ns())
        assert at_ns is not None, "the lease is renewed by the test"
        self.send_after(max(0.0, (at_ns - self.now_ns()) / 1e6), _Depart(gate, at_ns))

    def _depart(self, message: _Depart) -> None:
        if message.gate.leave(message.at_ns, self.now_ns()):
            self.left.append(self.now_ns())
            self.send_after(self.answer_ms, _Answered())
        else:
            self._reserve(message.gate)
