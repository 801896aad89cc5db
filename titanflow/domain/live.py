"""What is happening right now, as the actors tell it: never stored, always small."""

from dataclasses import dataclass
from typing import Literal

LimitedBy = Literal["rate", "throttled", "tier", "paused", "empty", "concurrency", "database"]


@dataclass(frozen=True, slots=True)
class NumberLive:
    """One number at this moment. mps_now: what its limiter allows; rate_now: accepted messages a second, over 5 s."""

    phone_number_id: str
    mps_now: float
    rate_now: float
    in_flight: int
    limited_by: LimitedBy
    limited_detail: str


@dataclass(frozen=True, slots=True)
class CampaignLive:
    """One campaign at this moment. rate_now: accepted messages a second, over 5 s."""

    campaign_id: int
    rate_now: float
    limited_by: LimitedBy
    limited_detail: str
    numbers: tuple[NumberLive, ...]
