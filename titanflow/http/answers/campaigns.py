"""What the operations of /campaigns answer."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from titanflow.domain.live import LimitedBy
from titanflow.http.contract import Answer

CampaignState = Literal[
    "draft", "importing", "ready", "scheduled", "running", "paused", "completed", "cancelled", "failed"
]
MessageState = Literal[
    "pending", "claimed", "retrying", "in_doubt", "excluded", "cancelled", "sent", "delivered", "read", "failed"
]


class CampaignRow(Answer):
    """A campaign as lists show it."""

    id: int
    name: str
    state: CampaignState
    state_by: str | None = Field(description="Who put it into its state: a person's token, engine, send_window, import")
    state_reason: str | None = Field(description="Why, in words for people")
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    closed_at: datetime | None = Field(description="Since then its contacts and messages are not kept; it can't resume")


class ResendAfterHours(Answer):
    """Messages in doubt are sent again after so many hours."""

    resend_after_hours: int


class Campaign(CampaignRow):
    """A campaign with everything that was set."""

    template_ids: list[int]
    phone_number_ids: list[str]
    variables: dict[str, dict[str, str]] = Field(description="Template parameter -> column, default or value")
    media: dict[str, Any]
    default_country: str | None
    schedule_at: datetime | None
    max_mps: int | None
    dedupe_days: int
    audience_cap: int | None
    send_window: dict[str, Any] | None
    doubt_policy: Literal["never_resend"] | ResendAfterHours
    updated_at: datetime
    resumes_at: datetime | None = Field(description="When its send window lets it go on")
    pauses_at: datetime | None = Field(description="When its send window ends")


class CampaignStateNow(Answer):
    """The state after a change of state."""

    id: int
    state: CampaignState
    state_reason: str | None = Field(default=None, description="Only if it waits for its send window")
    resumes_at: datetime | None = Field(default=None, description="Only if it waits for its send window")


class Counts(Answer):
    """How many contacts are in each state; they add up to the total."""

    pending: int
    claimed: int
    retrying: int
    in_doubt: int
    excluded: int
    cancelled: int
    sent: int
    delivered: int
    read: int
    failed: int


class NumberShare(Answer):
    """What one number does for the campaign."""

    phone_number_id: str
    display_phone_number: str
    state: str
    state_reason: str | None
    quality: str
    status: str
    sent: int
    delivered: int
    read: int
    failed: int
    rate_now: float
    in_flight: int
    limited_by: LimitedBy | None
    limited_detail: str | None


class TemplateShare(Answer):
    """What one template does for the campaign."""

    id: int
    name: str
    language: str
    status: str
    sent: int
    delivered: int
    read: int
    failed: int


class Budget(Answer):
    """A business portfolio's places in a rolling 24 hours."""

    portfolio_id: str
    limit: int
    used: int
    left: int
    forecast: str


class CampaignStats(Answer):
    """How a campaign stands."""

    state: CampaignState
    state_by: str | None
    state_reason: str | None
    resumes_at: datetime | None
    total: int
    counts: Counts
    excluded: dict[str, int] = Field(description="Reason -> people")
    failed: dict[str, int] = Field(description="Meta's code, or `unknown` -> people")
    pricing: dict[str, int] = Field(description="What Meta charges, `marketing` or `service/not_billable` -> messages")
    numbers: list[NumberShare]
    templates: list[TemplateShare]
    rate_now: float = Field(description="Accepted messages a second, over 5 s")
    limited_by: LimitedBy | None
    limited_detail: str | None
    budgets: list[Budget]
    eta_seconds: tuple[float, float] | None = Field(description="Low and high")


class CampaignAudit(Answer):
    """The recount from the rows."""

    total: int
    counts: Counts
    balanced: bool
    duplicates: int
    counter_drift: int
    in_doubt_oldest_seconds: float | None
    budget_drift: int
    closed_at: datetime | None = Field(description="Since then its rows are not kept; the counts are its counters")


class Message(Answer):
    """A contact of a campaign, and what became of it."""

    contact_id: int
    phone: str
    state: MessageState
    reason: str | None
    error_code: int | None
    log_id: int | None
    wamid: str | None
    attempts: int
    phone_number_id: str | None
    template: str | None
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None


class Doubt(Answer):
    """A message that may have been sent or not."""

    log_id: int
    contact_id: int
    phone: str
    attempt: int
    phone_number_id: str
    template: str
    since: datetime
    error_code: int | None
    age_seconds: float
    evidence: str
    expect: str


class DoubtsPage(Answer):
    """A page of doubts, with the campaign's policy about them."""

    items: list[Doubt]
    next_cursor: str | None
    total: int
    doubt_policy: Literal["never_resend"] | ResendAfterHours


class Resolved(Answer):
    """What an operator's word did. in_doubt: how many are left."""

    id: int
    state: CampaignState
    resolved: int
    in_doubt: int


class NotRetried(Answer):
    """Failures of one code that stay as they are."""

    count: int
    why: str


class Retried(Answer):
    """What a retry did."""

    id: int
    state: CampaignState
    retrying: int
    last_due_at: datetime | None
    not_retried: dict[str, NotRetried] = Field(description="Code -> how many, and why")


class RejectedLine(Answer):
    """A line of a CSV that became no contact."""

    line: int
    reason: str
    value: str


class Import(Answer):
    """A CSV on its way into a campaign."""

    id: int
    campaign_id: int
    state: Literal["running", "done", "failed", "cancelled"]
    rows: int
    accepted: int
    duplicates: int
    rejected: int
    by_reason: dict[str, int]
    first_errors: list[RejectedLine]
    error: str | None
    created_at: datetime
    finished_at: datetime | None
