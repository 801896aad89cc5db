"""What an error code means beyond its own message: the number slows down, pauses, is blocked; a campaign stops.

Used for refusals in Meta's answers (Recorder) and for failures reported by webhook (WebhookIngestor), so that both
ways lead to the same place. The rules are meta/error_policy; nothing here decides about a message.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from titanflow.actors.number import rate_limiter
from titanflow.domain.outcomes import ErrorRule
from titanflow.storage import desired
from titanflow.storage.database import Database

log = structlog.get_logger()

# A pause this long is a row, so that it survives a restart; a shorter one is the limiter's.
_LASTING_S = 30.0


@dataclass(frozen=True, slots=True)
class Happened:
    """So many messages of one campaign, number and template met a rule."""

    rule: ErrorRule
    campaign_id: int
    number_id: int
    template_id: int
    count: int


class Breakers:
    """Counts failures of one code in a row, per campaign. A success starts anew."""

    def __init__(self) -> None:
        self._in_a_row: dict[int, tuple[int, int]] = {}

    def success(self, campaign_id: int) -> None:
        """A message of the campaign was accepted."""
        self._in_a_row.pop(campaign_id, None)

    def trips(self, campaign_id: int, rule: ErrorRule, count: int) -> bool:
        """Count failures; return True once they are more than the rule bears."""
        code, before = self._in_a_row.get(campaign_id, (rule.code, 0))
        total = count + (before if code == rule.code else 0)
        self._in_a_row[campaign_id] = (rule.code, total)
        return 0 < rule.breaker <= total


def apply(db: Database, breakers: Breakers, happened: Happened, *, nudge: Callable[[], None]) -> None:
    """Carry out what a rule asks for. nudge: called when the desired state has changed. Raises StorageUnavailable."""
    rule, number_id = happened.rule, happened.number_id
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
        case "breaker" if breakers.trips(happened.campaign_id, rule, happened.count):
            with db.connection() as connection:
                desired.pause_campaigns(connection, [happened.campaign_id], by="engine", reason=reason)
            log.error("campaign.paused", campaign_id=happened.campaign_id, error_code=rule.code)
            nudge()
        case _:
            pass
