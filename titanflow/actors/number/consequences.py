"""What an error code means beyond its own message: the number slows down, pauses, is blocked; a campaign stops.

Used for refusals in Meta's answers (Recorder) and for failures reported by webhook (WebhookIngestor), so that both
ways lead to the same place. The rules are meta/error_policy; nothing here decides about a message. What must hold on
other nodes or after a restart is a row (storage/pauses.py); the numbers of this node are told at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from titanflow.actors.number import rate_limiter
from titanflow.domain.outcomes import ErrorRule
from titanflow.meta.error_policy import MEDIA_CODES
from titanflow.storage import alarms, desired, media_uploads, pauses
from titanflow.storage.alarms import Alarm
from titanflow.storage.database import Database

log = structlog.get_logger()

# Refusals after which the template that we know may not be the one that Meta has; a stopped one is read again anyway.
_REREAD_CODES = frozenset((132000, 132012))


@dataclass(frozen=True, slots=True)
class Happened:
    """So many messages of one campaign, number and template met a rule. in_a_row: the longest run without a success.

    told_s: how long Meta itself says to wait, if it does.
    """

    rule: ErrorRule
    campaign_id: int
    number_id: int
    template_id: int
    count: int
    in_a_row: int
    told_s: float | None = None


class Breakers:
    """Counts failures in a row: of one code per campaign, of doubtful answers per number. A success starts anew."""

    def __init__(self) -> None:
        self._refused: dict[int, tuple[int, int]] = {}  # campaign -> code, how many in a row
        self._doubtful: dict[int, int] = {}  # number -> how many in a row, whatever the code

    def success(self, campaign_id: int, number_id: int) -> None:
        """A message was accepted."""
        self._refused.pop(campaign_id, None)
        self._doubtful.pop(number_id, None)

    def failure(self, campaign_id: int, number_id: int, rule: ErrorRule, count: int = 1) -> int:
        """Count failures; return how many there are in a row now."""
        if rule.verdict == "doubt":
            total = self._doubtful[number_id] = self._doubtful.get(number_id, 0) + count
            return total
        code, before = self._refused.get(campaign_id, (rule.code, 0))
        total = count + (before if code == rule.code else 0)
        self._refused[campaign_id] = (rule.code, total)
        if rule.action == "breaker" and total >= rule.breaker:  # a resumed campaign begins anew
            del self._refused[campaign_id]
        return total


def carry_out(db: Database, happened: list[Happened], *, nudge: Callable[[], None]) -> None:
    """Carry out what the rules ask for, and take from the list what is done. Raises StorageUnavailable: call again."""
    while happened:
        _apply(db, happened[0], nudge)
        happened.pop(0)


def _apply(db: Database, happened: Happened, nudge: Callable[[], None]) -> None:
    rule = happened.rule
    if rule.alarm and rule.scope not in ("number", "account", "app"):  # those raise theirs when they stop
        alarm = Alarm("error_code", "code", str(rule.code), rule.sentence_and_code, rule.fix)
        with db.connection() as connection:
            alarms.raise_alarm(connection, alarm, count=happened.count)
    if rule.code in _REREAD_CODES:
        desired.reread_template(db, happened.template_id)
    if rule.code in MEDIA_CODES and media_uploads.refused(db, happened.campaign_id, happened.number_id):
        log.warning(
            "media.refused", campaign_id=happened.campaign_id, number_id=happened.number_id, error_code=rule.code
        )
        return
    if happened.in_a_row < rule.breaker:  # a single one means little: it may be the person, or Meta's hiccup
        return
    match rule.action:
        case "slow_down" | "pause":
            _pause(db, happened, nudge)
        case "block":
            blocked = pauses.block(db, rule, happened.number_id)
            if blocked:
                log.error("number.blocked", number_ids=blocked, error_code=rule.code, scope=rule.scope)
                nudge()
        case "next_template":
            status = "DISABLED" if rule.code == 132016 else "PAUSED"
            if desired.stop_template(db, happened.template_id, status=status):
                log.warning("template.stopped", template_id=happened.template_id, error_code=rule.code)
        case "breaker":
            with db.connection() as connection:
                paused = desired.pause_campaigns(connection, [happened.campaign_id], by="engine", reason=rule.reason)
            if paused:
                log.error("campaign.paused", campaign_id=happened.campaign_id, error_code=rule.code, reason=rule.reason)
                nudge()
        case _:
            pass  # none; suppress and opt_out are written with the message itself, storage/effects.py


def _pause(db: Database, happened: Happened, nudge: Callable[[], None]) -> None:
    rule = happened.rule
    brakes = pauses.pause(db, rule, happened.number_id, told_s=happened.told_s)
    for brake in brakes:
        rate_limiter.obey(brake)
    if brakes:
        log.warning(
            "number.throttled" if brakes[0].throttled else "number.paused",
            number_ids=[brake.number_id for brake in brakes],
            error_code=rule.code,
            scope=rule.scope,
            pause_s=round(brakes[0].hold_s, 1),
            mps_now=brakes[0].slowed_mps,
        )
        nudge()
