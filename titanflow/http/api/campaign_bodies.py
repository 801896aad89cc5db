"""The bodies of /campaigns: what a campaign is made of."""

import re
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from titanflow.domain import links, send_windows
from titanflow.http.bodies import Body

_PARAMETER = r"^(body\.\w{1,64}|header\.(link|\w{1,64})|button\.\d\.1)$"


class Binding(Body):
    """What fills a template's parameter: a CSV column with an optional default, or a constant."""

    column: str | None = Field(default=None, min_length=1, max_length=200)
    default: str = Field(default="", max_length=1024)
    value: str | None = Field(default=None, max_length=1024)


class Media(Body):
    """The media of a header: a link that Meta can fetch, or a file of /media, which is uploaded to Meta once."""

    link: str | None = Field(default=None, max_length=2000, pattern=r"^[Hh][Tt][Tt][Pp][Ss]://\S+$")
    media_id: int | None = Field(default=None, ge=1, lt=2**31)
    filename: str | None = Field(default=None, max_length=200)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.link is None) == (self.media_id is None):
            raise ValueError("give either link or media_id")
        _check_link(self.link)
        return self


def _check_link(link: str | None) -> None:
    why = links.refusal(link) if link is not None else None
    if why:
        raise ValueError(f"this link can't be given to Meta: {why}")


class WindowRange(Body):
    """A daily span by the wall clock; one that ends before it begins goes on over midnight."""

    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(min_length=1, max_length=7)
    from_: str = Field(alias="from", max_length=5, description="HH:MM, the first minute")
    to: str = Field(max_length=5, description="HH:MM, up to 24:00; nothing is sent from this minute on")


class SendWindow(Body):
    """When the campaign may send: one range, or several in `ranges`."""

    timezone: str = Field(max_length=60, description="An IANA name, such as America/Sao_Paulo")
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] | None = Field(default=None, max_length=7)
    from_: str | None = Field(default=None, alias="from", max_length=5)
    to: str | None = Field(default=None, max_length=5)
    ranges: list[WindowRange] | None = Field(default=None, min_length=1, max_length=21)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        one = (self.days, self.from_, self.to)
        if self.ranges is not None and one != (None, None, None):
            raise ValueError("give either days, from and to, or ranges")
        send_windows.parse(self.model_dump(by_alias=True, exclude_none=True))
        return self


class ResendAfter(Body):
    """Let messages in doubt be sent again after so many hours. Some of those people will get the message twice."""

    resend_after_hours: int = Field(ge=1, le=8760)


class CampaignFields(Body):
    """A campaign's fields. template_ids: the first is sent, the others are fallbacks, in order."""

    name: str = Field(min_length=1, max_length=200)
    template_ids: list[int] = Field(default=[], max_length=20)
    phone_number_ids: list[str] = Field(default=[], max_length=100)
    variables: dict[str, Binding] = {}
    media: Media | None = None
    default_country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    schedule_at: datetime | None = None
    max_mps: int | None = Field(default=None, ge=1, le=100_000)
    dedupe_days: int = Field(default=0, ge=0, le=365)
    audience_cap: int | None = Field(default=None, ge=1, le=100_000_000)
    send_window: SendWindow | None = None
    doubt_policy: Literal["never_resend"] | ResendAfter = Field(
        default="never_resend",
        description="What becomes of messages that may have been sent or not (in_doubt). never_resend: they wait for"
        " Meta's report or an operator's word; nobody gets a message twice. resend_after_hours: they are sent again"
        " after so long; whoever got the first one gets it twice, and the campaign stays open until then.",
    )

    @field_validator("variables")
    @classmethod
    def _bound(cls, variables: dict[str, Binding]) -> dict[str, Binding]:
        for name, binding in variables.items():
            if not re.fullmatch(_PARAMETER, name):
                raise ValueError(f"'{name}' is no parameter: use body.1, body.first_name, header.link or button.0.1")
            if (binding.column is None) == (binding.value is None):
                raise ValueError(f"'{name}' needs either a column or a value")
            if name == "header.link":
                _check_link(binding.value or binding.default or None)
        return variables

    def values(self) -> dict[str, Any]:
        """As the storage takes them; members that were not given are absent."""
        given = self.model_dump(exclude_unset=True)
        if "variables" in given:
            given["variables"] = {
                name: {key: value for key, value in one.items() if value is not None}
                for name, one in given["variables"].items()
            }
        if "media" in given:
            given["media"] = {key: value for key, value in (given["media"] or {}).items() if value is not None}
        if given.get("send_window"):
            assert self.send_window is not None
            given["send_window"] = self.send_window.model_dump(by_alias=True, exclude_none=True)
        return given


class CampaignChange(CampaignFields):
    """What may be changed; what is absent stays."""

    name: str = Field(default="", max_length=200)


DEFAULTS: dict[str, Any] = {  # of a draft, for what was not given
    "variables": {},
    "media": {},
    "default_country": None,
    "schedule_at": None,
    "max_mps": None,
    "dedupe_days": 0,
    "audience_cap": None,
    "send_window": None,
    "doubt_policy": "never_resend",
}
