"""What follows from what people write, in the commit that stores it: opt-outs, and which campaign was answered."""

from collections.abc import Sequence

from titanflow.domain.replies import Heard
from titanflow.domain.stop_words import intent
from titanflow.domain.webhooks import InboundMessage
from titanflow.storage import consent, replies
from titanflow.storage.database import Connection


def follow(transaction: Connection, messages: Sequence[InboundMessage]) -> None:
    """Carry out all rules for messages that are new, inside the transaction that stored them."""
    if not messages:
        return
    heard = [Heard(one, intent(one.type, one.content)) for one in messages]
    consent.hear(transaction, heard)
    replies.attribute(transaction, heard)
