"""What an error code means beyond its own message: the number slows down, pauses, is blocked; a campaign stops.

Used for refusals in Meta's answers (Recorder) and for failures reported by webhook (WebhookIngestor), so that both
ways lead to the same place. The rules are meta/error_policy; nothing here decides about a message.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from titanflow.actors.number import rate_limiter
from titanflow.domain.outcomes import ErrorRule
from titanflow.meta.error_policy import MEDIA_CODES
from titanflow.storage import desired, media_uploads
from titanflow.storage.database import Database

log = structlog.get_logger()

# A pause this long is a row, so that it survives a restart; a shorter one is the limiter's.
_LASTING_S = 30.0

# Refusals after which the template that we know may not be the one that Meta has; a stopped one is read again anyway.
_REREAD_CODES = frozenset((132000, 132012))


@dataclass(frozen=True, slots=True)
class Happened:
    """So many messages of one campaign, number and template met a rule. in_a_row: the longest run without a success."""

    rule: ErrorRule
    campaign_id: int
    number_id: int
    template_id: int
    count: int
    in_a_row: int


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
        return total


def apply(db: Database, happened: Happened, *, nudge: Callable[[], None]) -> None:
    """Carry out what a rule asks for. nudge: called when the desired state has changed. Raises StorageUnavailable."""
    rule, number_id = happened.rule, happened.number_id
    if rule.code in _REREAD_CODES:
        desired.reread_template(db, happened.template_id)
    if rule.code in MEDIA_CODES and media_uploads.refused(db, happened.campaign_id, number_id):
        log.warning("media.refused", campaign_id=happened.campaign_id, number_id=number_id, error_code=rule.code)
        return
    if happened.in_a_row < rule.breaker:  # a single one means little: it may be the person, or Meta's hiccup
        return
    reason = f"{rule.sentence} (code {rule.code}). {rule.fix}"
    match rule.action:
        case "slow_down":
            rate_limiter.slow_down(number_id, rule.code)
        case "pause" if rule.pause_s < _LASTING_S:
            rate_limiter.hold(number_id, rule.pause_s, reason)
        case "pause":
            rate_limiter.hold(number_id, rule.pause_s, reason)
            desired.pause_number(db, number_id, pause_s=rule.pause_s, reason=reason)
            log.warning("number.paused", number_id=number_id, error_code=rule.code, pause_s=rule.pause_s)
            nudge()
        case "block":
            rate_limiter.hold(number_id, _LASTING_S, reason)
            whole_account = rule.scope in ("account", "app")
            desired.block_numbers(db, reason=reason, number_id=number_id, whole_account=whole_account)
            log.error("number.blocked", number_id=number_id, error_code=rule.code, whole_account=whole_account)
            nudge()
        case "next_template":
            desired.stop_template(db, happened.template_id, status="DISABLED" if rule.code == 132016 else "PAUSED")
            log.warning("template.stopped", template_id=happened.template_id, error_code=rule.code)
        case "breaker":
            with db.connection() as connection:
                desired.pause_campaigns(connection, [happened.campaign_id], by="engine", reason=reason)
            log.error("campaign.paused", campaign_id=happened.campaign_id, error_code=rule.code)
            nudge()
        case _:
            pass
