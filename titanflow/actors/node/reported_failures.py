"""ReportedFailures: what follows from failures that Meta reports by webhook: pauses, blocks, breakers, alarms.

One a process; child of Application (rest_for_one, permanent). Apart from the ingestors, so that nobody waits for a 200
because of it, and so that one place sees the failures that came to any of them. A crash loses what was reported in that
moment: the messages have failed, and the next failures have the same consequences. OTP model: gen_server.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from titanflow.actors.node.reconciler import nudge
from titanflow.actors.number import consequences
from titanflow.actors.number.consequences import Happened
from titanflow.domain.outcomes import ErrorRule
from titanflow.errors import StorageUnavailable
from titanflow.meta.error_policy import DOUBTFUL_CODES, rule_for
from titanflow.storage import failure_runs
from titanflow.storage.database import Database
from titanflow.storage.statuses import Reported
from titanflow.supervision import Cast, GenServer, NoReply, Stop, cast, via

log = structlog.get_logger()

_AGAIN_MS = 500
_JUDGE_MS = 250
_MOST_LOOKED_AT = 16  # failures between two looks: if all are in a run, any of them shows it


@dataclass(frozen=True, slots=True)
class FollowUp(Cast):
    """Carry out what follows from these."""

    failures: tuple[Reported, ...]


class _CarryOut:
    """To self: the database was away."""


class _Judge:
    """To self: are the failures of a moment a run?"""


@dataclass(slots=True)
class _Suspect:
    """Failures that mean something only if there are many in a row."""

    rule: ErrorRule
    template_id: int
    contact_ids: list[int] = field(default_factory=list)


def follow_up(reported: Sequence[Reported]) -> None:
    """Let failures among what statuses reported have their consequences, once they are committed."""
    failures = tuple(one for one in reported if one.error_code is not None)
    if failures:
        cast(via("reported_failures"), FollowUp(failures))


class ReportedFailures(GenServer):
    """Carries out at once what a single failure means; asks the rows about the others."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def init(self) -> None:
        """Begin empty."""
        self._happened: list[Happened] = []  # whose consequences are still to be carried out
        self._suspects: dict[tuple[int, int, tuple[int, ...]], _Suspect] = {}  # campaign, number, codes

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Take failures in."""
        match message:
            case FollowUp(failures):
                for one in failures:
                    self._heard(one)
                self._carry_out()
                return None
        return super().handle_cast(message)

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Finish what follows."""
        match message:
            case _CarryOut():
                self._carry_out()
            case _Judge():
                self._judge()
            case _:
                return super().handle_info(message)
        return None

    def _heard(self, one: Reported) -> None:
        assert one.error_code is not None
        rule = rule_for(one.error_code)
        if rule.breaker <= 1:
            self._happened.append(Happened(rule, one.campaign_id, one.number_id, one.template_id, one.count, 1))
            return
        if not self._suspects:
            self.send_after(_JUDGE_MS, _Judge())
        codes = DOUBTFUL_CODES if rule.verdict == "doubt" else (rule.code,)
        suspect = self._suspects.setdefault((one.campaign_id, one.number_id, codes), _Suspect(rule, one.template_id))
        suspect.contact_ids += one.contact_ids or []

    def _judge(self) -> None:
        """Ask the rows, at most four times a second, and only while such failures come."""
        try:
            while self._suspects:
                key = next(iter(self._suspects))
                self._happened.append(self._judged(*key, self._suspects[key]))
                del self._suspects[key]
        except StorageUnavailable as error:
            log.warning("failures.not_judged_yet", count=len(self._suspects), why=error.why)
            self.send_after(_AGAIN_MS, _Judge())
        self._carry_out()

    def _judged(self, campaign_id: int, number_id: int, codes: tuple[int, ...], suspect: _Suspect) -> Happened:
        failed = sorted(suspect.contact_ids)
        in_a_row = failure_runs.longest(
            self._db,
            failed[:: -(-len(failed) // _MOST_LOOKED_AT)],
            campaign_id=campaign_id,
            number_id=number_id,
            codes=codes,
            breaker=suspect.rule.breaker,
        )
        return Happened(suspect.rule, campaign_id, number_id, suspect.template_id, len(failed), in_a_row)

    def _carry_out(self) -> None:
        try:
            consequences.carry_out(self._db, self._happened, nudge=nudge)
        except StorageUnavailable as error:
            log.warning("consequences.not_carried_out_yet", count=len(self._happened), why=error.why)
            self.send_after(_AGAIN_MS, _CarryOut())
