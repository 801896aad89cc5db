"""What the operations of the inbox answer."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from titanflow.http.contract import Answer

_STATE = Literal["queued", "claimed", "in_doubt", "cancelled", "excluded", "sent", "failed", "delivered", "read"]


class LastMessage(Answer):
    """The latest message of a conversation."""

    id: int
    direction: Literal["inbound", "outbound"]
    kind: str
    text: str | None
    state: _STATE | None


class Conversation(Answer):
    """One person with one of our numbers."""

    phone: str = Field(description="E.164, or Meta's user id of a person who hides the number")
    phone_number_id: str
    name: str | None = Field(description="The person's own profile name")
    unread: int = Field(description="Exactly how many messages of theirs nobody has read")
    assigned_to: str | None
    labels: list[str]
    archived_at: datetime | None
    last_message_at: datetime
    last_inbound_at: datetime | None
    created_at: datetime
    service_window_ends_at: datetime | None = Field(description="24 hours after their last message; null: never wrote")
    service_window_open: bool = Field(description="Whether a reply that is no template may be sent now")
    last_message: LastMessage | None


class OneConversation(Conversation):
    """A conversation, and the other numbers that the person talks with."""

    other_phone_number_ids: list[str]


class Delivery(Answer):
    """What became of a reply."""

    attempt: int
    template_id: int | None
    error_code: int | None
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    failed_at: datetime | None
    by: str | None = Field(description="Who wrote it: a token, or the part of the server that answered")
    reason: str | None = Field(description="Why it is where it is, for people")


class InboxMessage(Answer):
    """A message, ready to be shown."""

    id: int
    direction: Literal["inbound", "outbound"]
    kind: str = Field(
        description="text, button, interactive, template, image, video, audio, document, sticker, reaction, location,"
        " contacts, order, system; unsupported: whatever else"
    )
    text: str | None = Field(description="What it says in words")
    at: datetime
    wamid: str | None
    reply_to: str | None = Field(description="The wamid of the message that it answers")
    details: dict[str, Any] = Field(
        description="By kind: choice, media, location, contacts, reaction, order, template, system, flow, errors"
    )
    raw: dict[str, Any] = Field(description="Meta's own object")
    intent: Literal["stop", "start"] | None = Field(description="It was a word of opting out or in")
    campaign_id: int | None = Field(description="The campaign whose message it answers")
    state: _STATE | None = Field(description="Of a reply; null for what came in")
    delivery: Delivery | None
