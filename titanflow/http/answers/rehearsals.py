"""What the operations of rehearsals answer."""

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from titanflow.http.contract import Answer

RehearsalState = Literal["running", "done", "failed", "cancelled"]


class Audience(Answer):
    """Who would get a message."""

    total: int
    to_send: int
    excluded: int
    sent_before: int
    would_fail: int


class Example(Answer):
    """One of the people concerned; the phone is masked."""

    contact_id: int
    phone: str


class ForetoldFailure(Answer):
    """One way to fail."""

    code: int = Field(description="Meta's; below zero: ours")
    parameter: str | None
    sentence: str
    fix: str
    count: int
    first: list[Example]


class Day(Answer):
    """A day of sending."""

    date: date
    messages: int


class Duration(Answer):
    """How long it would take."""

    seconds: tuple[float, float] | None
    says: str
    starts_at: datetime
    ends_at: tuple[datetime, datetime] | None
    messages_per_second: float
    timezone: str
    days: list[Day]
    days_in_all: int
    rests_on: list[str]


class CountryCosts(Answer):
    """The costs of one country's messages."""

    country: str
    category: str
    messages: int
    rate: float
    low: float
    high: float


class CountryWithoutRate(Answer):
    """Messages whose price isn't known."""

    country: str
    messages: int


class Costs(Answer):
    """What Meta would charge."""

    currency: str | None
    low: float
    high: float
    by_country: list[CountryCosts]
    without_rate: list[CountryWithoutRate]
    table: str
    notes: str | None
    problem: str | None
    rests_on: str


class ForetoldLimit(Answer):
    """What would slow it down. seconds: null if it stops everything."""

    kind: str
    sentence: str
    seconds: float | None
    people: int


class RehearsalResult(Answer):
    """What would happen."""

    rehearsed_at: datetime
    audience: Audience
    exclusions: dict[str, int]
    excluded_at_the_claim: dict[str, int]
    rejected_lines: dict[str, int]
    failures: list[ForetoldFailure]
    duration: Duration
    costs: Costs
    limits: list[ForetoldLimit]


class RehearsalRow(Answer):
    """A rehearsal as lists show it."""

    id: int
    campaign_id: int
    state: RehearsalState
    checked: int
    error: str | None
    requested_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Rehearsal(RehearsalRow):
    """A rehearsal: how far it is, then what would happen."""

    total: int
    result: RehearsalResult | None
