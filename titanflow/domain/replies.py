"""What counts as a reply to a campaign's message, and how reply times are grouped. Pure; never raises.

docs/decisions/0017-replies.md says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from titanflow.domain.stop_words import Intent, Wish
from titanflow.domain.webhooks import InboundMessage

# Upper bounds of the groups of reply times, in seconds; the last one has none.
WITHIN_S = (10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400, 172_800, 259_200, 2**31 - 1)

# Not said by the person to us: news about their account, a chat that was opened, a change of what was said before.
_NO_ANSWER = frozenset({"system", "request_welcome", "edit", "revoke", "errors"})


@dataclass(frozen=True, slots=True)
class Heard:
    """A new inbound message, where it is in the inbox, and what it says about being written to."""

    message: InboundMessage
    message_id: int
    conversation_id: int
    number_id: int
    wish: Wish | None

    @property
    def intent(self) -> Intent | None:
        """STOP, START or neither."""
        return self.wish.intent if self.wish else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a message answers. quoted: the wamid it refers to. by_time: else the last message sent to the person."""

    quoted: str | None
    by_time: bool


def answer_of(kind: str, content: Mapping[str, Any]) -> Answer | None:
    """Return what an inbound message may answer, None if it is no answer. content: Meta's object, of any shape."""
    if kind in _NO_ANSWER:
        return None
    if kind == "reaction":
        reaction = content.get("reaction")
        if not isinstance(reaction, dict) or not reaction.get("emoji"):
            return None  # taken back
        quoted = _wamid(reaction.get("message_id"))
        return Answer(quoted, by_time=False) if quoted else None
    context = content.get("context")
    return Answer(_wamid(context.get("id")) if isinstance(context, dict) else None, by_time=True)


def _wamid(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
