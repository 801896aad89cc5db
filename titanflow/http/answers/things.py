"""What the operations of numbers, templates, media, alarms, tokens and the running server answer."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field, RootModel

from titanflow.http.contract import Answer
from titanflow.supervision import ProcessInfo


class PhoneNumber(Answer):
    """A phone number; its access token is never shown."""

    phone_number_id: str
    waba_id: str
    display_phone_number: str
    name: str
    max_mps: int
    quality: str = Field(description="Meta's: GREEN, YELLOW, RED, UNKNOWN")
    tier: str
    status: str
    throughput: str
    portfolio_id: str | None
    state: Literal["active", "paused", "exhausted", "blocked"]
    state_reason: str | None
    paused_until: datetime | None
    created_at: datetime
    updated_at: datetime


class NumberStateNow(Answer):
    """The state after a pause or resume."""

    id: str
    state: Literal["active", "paused", "exhausted", "blocked"]


class Template(Answer):
    """A template with the names of its parameters."""

    id: int
    waba_id: str
    name: str
    language: str
    status: str
    category: str
    quality: str
    parameter_format: Literal["POSITIONAL", "NAMED"]
    components: list[dict[str, Any]]
    updated_at: datetime
    parameters: list[str]


class SyncedAccount(Answer):
    """One account's part of a sync. error: why it couldn't be read."""

    waba_id: str
    synced: int
    error: str | None


class TemplatesSynced(Answer):
    """How many templates were read."""

    synced: int
    wabas: list[SyncedAccount]


class MediaFile(Answer):
    """A file for headers."""

    id: int
    kind: str
    mime_type: str
    size_bytes: int
    sha256: str
    filename: str | None
    created_at: datetime


class MediaUpload(Answer):
    """The file at Meta, for one number."""

    phone_number_id: str
    meta_media_id: str | None
    uploaded_at: datetime | None
    expires_at: datetime | None
    error: str | None
    retry_at: datetime | None


class MediaFileWithUploads(MediaFile):
    """A file, and where it was uploaded."""

    uploads: list[MediaUpload]


class Alarm(Answer):
    """What somebody should know about."""

    id: int
    kind: str
    scope: str
    target: str
    sentence: str
    fix: str
    count: int
    first_seen_at: datetime
    last_seen_at: datetime
    cleared_at: datetime | None
    cleared_by: str | None


class AlarmCleared(Answer):
    """An alarm that is dealt with."""

    id: int
    state: Literal["cleared"]


class Lease(Answer):
    """What a node owns right now."""

    kind: str
    id: int
    epoch: int


class Node(Answer):
    """A living process."""

    id: int
    host: str
    pid: int
    version: str
    started_at: datetime
    expires_at: datetime
    leases: list[Lease]


class SupervisionTree(RootModel[ProcessInfo]):
    """The running tree, from its root."""


class ProcessRestarted(Answer):
    """The process that was ended."""

    pid: int
    kind: str
    name: str | None


class Token(Answer):
    """A token, without anything that could be used."""

    id: int
    name: str
    scopes: list[str]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


class TokenMade(Answer):
    """A new token: the only time it is shown."""

    name: str
    token: str
    expires_at: datetime | None


class AuditEntry(Answer):
    """Who did what. outcome: null while it is under way, or if the process died meanwhile."""

    id: int
    at: datetime
    who: str
    what: str
    target: str
    outcome: str | None
    detail: dict[str, Any]


class SuppressionRow(Answer):
    """A person who must not be sent to."""

    phone: str
    reason: Literal["opted_out", "blacklisted", "invalid_number", "recently_messaged"]
    source: str
    note: str | None
    created_at: datetime
    expires_at: datetime | None


class Suppression(SuppressionRow):
    """A person who must not be sent to, or must not have been."""

    is_over: bool = Field(description="It has ended; the person may be sent to")


class SuppressionWritten(Suppression):
    """What is kept now."""

    pending_contacts: int = Field(description="Contacts that wait and that it keeps from being sent to")


class RejectedSuppression(Answer):
    """One of the list that can't be used."""

    index: int
    phone: str
    reason: str
    why: str


class SuppressionsAdded(Answer):
    """What became of a list."""

    added: int
    changed: int
    unchanged: int
    rejected: list[RejectedSuppression]
    pending_contacts: int


class Health(Answer):
    """The process lives; or it is ready to work."""

    status: Literal["live", "ready"]


class RetentionNow(Answer):
    """How many days what is kept."""

    log_days: int = Field(description="A campaign's contacts and messages, after its end")
    conversation_days: int | None = Field(description="A conversation, after its latest message; null: for good")
    media_days: int = Field(description="The bytes of files that people sent")
