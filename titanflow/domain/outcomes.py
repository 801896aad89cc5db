"""What became of one POST to Meta: three outcomes, nothing in between."""

from dataclasses import dataclass
from typing import Literal

Scope = Literal["message", "contact", "template", "campaign", "number", "account", "app"]
Verdict = Literal["final", "again", "doubt"]
Action = Literal["none", "slow_down", "pause", "block", "next_template", "suppress", "opt_out", "breaker"]

# Lone throttles are part of finding the rate; only one right after the hold says that the trouble goes on.
_THROTTLE_QUIET_S = 2.0


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """What one of Meta's error codes means, what follows from it, and what to tell people.

    verdict: what a refusal with it means for the message. scope: whom the action hits. pause_s: the first pause (of
    a contact: how long it is suppressed), doubled while it goes on up to max_pause_s. breaker: the action follows only
    so many in a row (0: each one). recover_s: the numbers in scope are halved in rate too, and would need so long from
    nothing back to their allowance (0: the rate stays). alarm: raised at the first one, whatever the action.
    """

    code: int
    verdict: Verdict
    scope: Scope
    action: Action
    sentence: str
    fix: str
    pause_s: float = 0.0
    max_pause_s: float = 0.0
    breaker: int = 0
    recover_s: float = 0.0
    alarm: bool = False

    @property
    def quiet_s(self) -> float:
        """A pause that comes this soon after the last one's end is the same trouble going on, and is longer."""
        return _THROTTLE_QUIET_S if self.action == "slow_down" else self.max_pause_s

    @property
    def sentence_and_code(self) -> str:
        """For alarms, which tell apart what happened and what to do."""
        return f"{self.sentence} (code {self.code})"

    @property
    def reason(self) -> str:
        """What a stopped number or campaign shows: the sentence, the code, what to do."""
        return f"{self.sentence_and_code}. {self.fix}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Meta answered 200 and gave a wamid: taken, nothing more. held: kept back for quality assessment."""

    wamid: str
    held: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """Meta surely did not take it, or no byte of it left. rule.verdict says if it may be sent again.

    retry_after_s: how long Meta itself says to wait; it takes the place of the rule's pause.
    """

    rule: ErrorRule
    detail: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Uncertain:
    """It may have been taken: never sent again by itself. rule: present if Meta named a code."""

    reason: str
    rule: ErrorRule | None = None


Outcome = Accepted | Rejected | Uncertain
