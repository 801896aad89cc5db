"""Recorder: writes what became of a number's messages and replies, in batches, and lets the consequences follow.

One per phone number; child of Number <id> (one_for_all, permanent). What it holds in memory when it crashes is
claimed in PostgreSQL, hence found in doubt and resolved by the echo. OTP model: gen_server.
"""

from collections import Counter
from collections.abc import Callable

import structlog

from titanflow.actors.number import consequences, reply_sender
from titanflow.actors.number.consequences import Breakers, Happened
from titanflow.actors.number.reply_worker import DeliveredReply
from titanflow.actors.number.worker import Delivered
from titanflow.domain.outcomes import Accepted, ErrorRule, Rejected, Uncertain
from titanflow.errors import StorageUnavailable
from titanflow.meta.error_policy import NO_PROOF, OUT_OF_ATTEMPTS
from titanflow.storage import outbox
from titanflow.storage.counters import shard_of
from titanflow.storage.database import Database
from titanflow.storage.settlements import Settlement, settle
from titanflow.supervision import Cast, GenServer, NoReply, Stop

log = structlog.get_logger()

_BATCH = 500
_BATCH_MS = 50
_RETRY_MS = 500
_MAX_ATTEMPTS = 30
_LONGEST_WAIT_S = 900.0


class _Flush:
    """To self: settle what there is."""


class Recorder(GenServer):
    """Settles at most _BATCH outcomes together, none later than _BATCH_MS after it came in."""

    mailbox_limit = 20_000

    def __init__(self, db: Database, number_id: int, nudge: Callable[[], None]) -> None:
        self._db, self._number_id, self._nudge = db, number_id, nudge

    def init(self) -> None:
        """Begin empty."""
        self.trap_exit = True
        self._outcomes: list[Delivered] = []
        self._replies: list[DeliveredReply] = []
        self._flushing = False
        self._breakers = Breakers()
        self._happened: list[Happened] = []  # whose consequences are still to be carried out

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Take an outcome in."""
        match message:
            case Delivered():
                self._outcomes.append(message)
                if not self._flushing:
                    self._flushing = True
                    self.send_after(_BATCH_MS, _Flush())
                elif len(self._outcomes) == _BATCH:
                    self.send_after(0, _Flush())
                return None
            case DeliveredReply():
                self._replies.append(message)
                if not self._flushing:
                    self._flushing = True
                    self.send_after(_BATCH_MS, _Flush())
                return None
        return super().handle_cast(message)

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Settle."""
        if not isinstance(message, _Flush):
            return super().handle_info(message)
        self._flushing = False
        self._flush()
        return None

    def terminate(self, reason: object) -> None:
        """Write what is left; the workers have stopped before."""
        while self._outcomes or self._replies:
            before = len(self._outcomes) + len(self._replies)
            self._flush()
            if len(self._outcomes) + len(self._replies) >= before:
                log.error("claims.not_settled", number_id=self._number_id, count=before, why="the database is away")
                return

    def observed_state(self) -> dict[str, object]:
        """For `observe()`."""
        return {"number_id": self._number_id, "unsettled": len(self._outcomes) + len(self._replies)}

    def _flush(self) -> None:
        batch = self._outcomes[:_BATCH]
        if not batch and not self._happened and not self._replies:
            return
        try:
            if self._replies:
                self._settle_replies()
            if batch:
                settle(self._db, [_settlement(one) for one in batch], node_id=shard_of(self._number_id))
                del self._outcomes[: len(batch)]
                self._happened += self._what_happened(batch)
            consequences.carry_out(self._db, self._happened, nudge=self._nudge)
        except StorageUnavailable as error:
            log.warning("claims.not_settled_yet", number_id=self._number_id, count=len(batch), why=error.why)
            self._flushing = True
            self.send_after(_RETRY_MS, _Flush())
            return
        if (self._outcomes or self._replies) and not self._flushing:
            self._flushing = True
            self.send_after(0, _Flush())

    def _settle_replies(self) -> None:
        batch = self._replies[:_BATCH]
        replies = [Delivered(0, one.message_id, one.attempt, one.template_id or 0, one.outcome) for one in batch]
        outbox.settle(self._db, [_settlement(one) for one in replies])
        del self._replies[: len(batch)]
        self._happened += self._what_happened(replies)
        reply_sender.nudge(self._number_id)  # the next ones of their conversations may leave

    def _what_happened(self, batch: list[Delivered]) -> list[Happened]:
        """Count what is no acceptance by rule, campaign and template; how many in a row, and how long Meta says."""
        met: Counter[tuple[ErrorRule, int, int]] = Counter()
        longest: Counter[tuple[ErrorRule, int, int]] = Counter()
        told: dict[tuple[ErrorRule, int, int], float] = {}
        for one in batch:
            match one.outcome:
                case Accepted():
                    self._breakers.success(one.campaign_id, self._number_id)
                    continue
                case Rejected(rule, _, retry_after_s):
                    key = (rule, one.campaign_id, one.template_id)
                    if retry_after_s is not None:
                        told[key] = max(retry_after_s, told.get(key, 0.0))
                case Uncertain(_, known):
                    rule = known or NO_PROOF
                    key = (rule, one.campaign_id, one.template_id)
            met[key] += 1
            longest[key] = max(longest[key], self._breakers.failure(one.campaign_id, self._number_id, rule))
        return [
            Happened(key[0], key[1], self._number_id, key[2], count, longest[key], told.get(key))
            for key, count in met.items()
        ]


def _settlement(one: Delivered) -> Settlement:
    match one.outcome:
        case Accepted(wamid):
            return Settlement(one.log_id, one.attempt, "sent", wamid=wamid)
        case Rejected(rule, detail) if rule.verdict == "final":
            return Settlement(one.log_id, one.attempt, "failed", error_code=rule.code, error_detail=detail)
        case Rejected(rule, detail) if one.attempt >= _MAX_ATTEMPTS:
            last = f"{OUT_OF_ATTEMPTS.sentence}; the last time: {detail}"
            return Settlement(
                one.log_id, one.attempt, "failed", error_code=OUT_OF_ATTEMPTS.code, error_detail=last[:300]
            )
        case Rejected(rule, detail, retry_after_s):
            return Settlement(
                one.log_id,
                one.attempt,
                "retrying",
                error_code=rule.code,
                error_detail=detail,
                due_in_s=retry_after_s or _wait_s(rule, one),
            )
        case Uncertain(reason, rule_or_none):
            return Settlement(
                one.log_id,
                one.attempt,
                "in_doubt",
                error_code=rule_or_none.code if rule_or_none else None,
                error_detail=reason,
            )


def _wait_s(rule: ErrorRule, one: Delivered) -> float:
    """When a refused message may go again, in seconds: growing, and spread so that they don't come back as one."""
    if rule.scope == "contact":  # Meta's rule for a pair: 4^X seconds
        wait_s = max(rule.pause_s, 4.0 ** min(one.attempt, 6))
    else:
        wait_s = max(1.0, rule.pause_s) * 1.5 ** min(one.attempt - 1, 8)
    spread = (one.log_id * 2654435761 % 1000) / 1000
    return min(wait_s, _LONGEST_WAIT_S) * (1 + 0.5 * spread)
