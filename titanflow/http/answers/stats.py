"""What the operations of /stats and the comparison of campaigns answer."""

from datetime import date, datetime

from pydantic import Field

from titanflow.http.answers.campaigns import CampaignState, Counts
from titanflow.http.contract import Answer


class Bases(Answer):
    """What each percentage is a part of."""

    delivered_pct: str
    read_pct: str
    failed_pct: str
    replied_pct: str


class Figures(Answer):
    """What became of messages: a read one counts as sent and delivered too. null: a percentage of nothing."""

    sent: int
    delivered: int
    delivered_pct: float | None
    read: int
    read_pct: float | None
    failed: int
    failed_pct: float | None
    replied: int
    replied_pct: float | None
    of: Bases


class FiguresOfPeriod(Figures):
    """Figures from when to when."""

    from_: datetime = Field(alias="from")
    to: datetime


class Changes(Answer):
    """By how many per cent each figure grew in the same hours; null: from nothing."""

    sent: float | None
    delivered: float | None
    read: float | None
    failed: float | None
    replied: float | None


class ActiveCampaign(Answer):
    """A campaign that runs or is paused."""

    id: int
    name: str
    state: CampaignState
    state_by: str
    state_reason: str | None
    started_at: datetime | None
    counts: Counts
    total: int
    rate_now: float
    sentence: str = Field(description="What it does, and what is left")


class NumberFigures(Figures):
    """A phone number with its figures; null members: it was deleted."""

    phone_number_id: str | None
    display_phone_number: str | None
    name: str | None
    state: str | None
    state_reason: str | None
    quality: str | None
    tier: str | None


class NumberToday(NumberFigures):
    """A phone number with today's figures."""

    max_mps: int


class Dashboard(Answer):
    """How everything stands."""

    timezone: str
    now: datetime
    today: FiguresOfPeriod
    week_before: FiguresOfPeriod = Field(description="The same hours, up to the last full quarter, seven days before")
    change_pct: Changes = Field(description="Today against a week before, both up to the last full quarter of an hour")
    campaigns: list[ActiveCampaign] = Field(description="Running ones, then paused ones, at most 50")
    campaigns_by_state: dict[CampaignState, int]
    in_doubt: int = Field(description="Messages of all campaigns that may have been sent or not")
    open_alarms: int
    numbers: list[NumberToday]


class Counted(Answer):
    """Plain figures of a short time: what is delivered in an hour was partly sent in the one before."""

    sent: int
    delivered: int
    read: int
    failed: int
    replied: int


class Hour(Counted):
    """An hour of the zone's clock; the first of the period may be shorter."""

    hour: datetime
    local: str = Field(description="The same by the zone's clock")


class Day(Counted):
    """A day of the zone."""

    day: date
    from_: datetime = Field(alias="from")


class Bounds(Answer):
    """From when up to when, at quarters of an hour."""

    timezone: str
    from_: datetime = Field(alias="from")
    to: datetime


class Hourly(Bounds):
    """Hour by hour."""

    items: list[Hour]
    totals: Figures


class Daily(Bounds):
    """Day by day."""

    items: list[Day]
    totals: Figures


class ByNumber(Bounds):
    """Number by number, the one that sent most first."""

    items: list[NumberFigures]
    totals: Figures


class TemplateFigures(Figures):
    """A template with its figures; null members: it was deleted."""

    id: int | None
    name: str | None
    language: str | None
    category: str | None
    status: str | None
    quality: str | None


class ByTemplate(Bounds):
    """Template by template, the one that was sent most first."""

    items: list[TemplateFigures]
    totals: Figures


class Failure(Answer):
    """Those who failed with one code."""

    code: str = Field(description="Meta's; below 0 ours; `unknown` if there was none")
    count: int
    count_pct: float | None
    sentence: str
    fix: str


class FailuresBase(Answer):
    """What the percentage is a part of."""

    count_pct: str


class Failures(Bounds):
    """Failures by code, the most frequent first."""

    items: list[Failure]
    total: int
    of: FailuresBase


class RepliesWithin(Answer):
    """Replies longer than the group before and at most so long after the message was sent. null: longer than that."""

    within_seconds: int | None
    replied: int
    within_pct: float | None = Field(description="Of all replies, those up to here")


class RepliesBases(Answer):
    """What each percentage is a part of."""

    replied_pct: str
    within_pct: str


class Replies(Bounds):
    """Who answered, and how fast."""

    sent: int
    delivered: int
    replied: int
    replied_pct: float | None
    of: RepliesBases
    median_seconds: float | None = Field(description="By a straight line within its group")
    mean_seconds: float | None
    times: list[RepliesWithin]


class Compared(Figures):
    """A campaign beside others."""

    id: int
    name: str
    state: CampaignState
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    counts: Counts
    total: int
    failures: dict[str, int] = Field(description="Meta's code, or `unknown` -> people")
    messages_per_second: float | None = Field(
        description="From the first quarter of an hour with a message to the last"
    )
    reply_median_seconds: float | None


class Comparison(Answer):
    """Campaigns in the order asked for."""

    items: list[Compared]
