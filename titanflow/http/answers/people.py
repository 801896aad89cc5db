"""What is known of one person."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from titanflow.http.answers.things import Suppression
from titanflow.http.contract import Answer, Page

_State = Literal[
    "pending", "claimed", "retrying", "in_doubt", "excluded", "cancelled", "sent", "delivered", "read", "failed"
]


class PersonSuppression(Suppression):
    """What the do-not-send list says now."""

    why: str | None = Field(description="A sentence; null: it has ended")


class PersonCampaign(Answer):
    """A campaign, in short."""

    id: int
    name: str
    state: str
    state_by: str
    state_reason: str | None
    started_at: datetime | None
    completed_at: datetime | None


class EarlierAttempt(Answer):
    """An attempt that was followed by another one. meaning: of its code."""

    attempt: int
    state: str
    error_code: int | None
    error_detail: str | None
    meaning: str | None
    wamid: str | None
    claimed_at: datetime
    ended_at: datetime
    phone_number_id: str | None
    template: str | None


class PersonInCampaign(Answer):
    """What became of the person in a campaign, and why."""

    campaign: PersonCampaign
    contact_id: int
    phone: str
    state: _State
    reason: str | None = Field(description="Of an exclusion")
    why: str = Field(description="A sentence for people")
    got_it: bool | None = Field(
        description="true: Meta reported it delivered; false: no, nor will it be; null: unknown"
    )
    waits_for: str | None = Field(description="What has to come about; null: nothing")
    fix: str | None = Field(description="What somebody can do about it")
    error_code: int | None
    error_detail: str | None
    next_attempt_at: datetime | None
    in_doubt_since: datetime | None
    attempt: int
    earlier_attempts: list[EarlierAttempt]
    log_id: int | None
    wamid: str | None
    phone_number_id: str | None
    template: str | None
    claimed_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    failed_at: datetime | None


class PersonMessage(Answer):
    """A message of a conversation. campaign_id, log_id: what it answers."""

    id: int
    direction: Literal["inbound", "outbound"]
    type: str
    at: datetime
    wamid: str | None
    text: str | None
    state: str | None
    campaign_id: int | None
    log_id: int | None
    intent: str | None


class PersonConversation(Answer):
    """A conversation with one of our numbers, and its latest messages."""

    id: int
    phone_number_id: str
    phone: str
    profile_name: str | None
    last_message_at: datetime
    last_inbound_at: datetime | None
    unread: int
    messages: list[PersonMessage]


class PersonRejectedLine(Answer):
    """A line of a list that never became a contact and most likely meant this person."""

    campaign_id: int
    campaign: str
    import_id: int
    line: int
    reason: str
    value: str
    at: datetime


class Person(Answer):
    """Everything that happened to a person."""

    phone: str
    also_known_as: list[str]
    suppression: PersonSuppression | None
    campaigns: Page[PersonInCampaign]
    conversations: list[PersonConversation]
    rejected_lines: list[PersonRejectedLine]
    logs_kept_days: int = Field(
        description="Campaigns that ended longer ago are closed: whom they wrote to is not kept"
    )


class Erased(Answer):
    """What there was of a person, and is no more."""

    erased: bool
    contacts: int = Field(description="They stay in the figures of their campaigns, without name")
    messages: int
    conversations: int
    rejected_lines: int
    unreadable_webhooks: int
    places_of_daily_limits: int
