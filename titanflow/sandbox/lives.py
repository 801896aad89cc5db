"""What becomes of an accepted message, and how each status of it looks in a webhook."""

import hashlib
import random
from dataclasses import dataclass
from typing import Any

import orjson

from titanflow.sandbox.errors import as_webhook
from titanflow.sandbox.ledger import STATUSES
from titanflow.sandbox.profiles import Profile
from titanflow.sandbox.users import User, name_of, user_id

VERSIONS = ("v23", "v24")


@dataclass(slots=True, eq=False)
class Life:
    """One accepted message until its last webhook. row: in the ledger. metadata: of its number."""

    row: int
    waba_id: str
    portfolio_id: str
    metadata: dict[str, str]
    wamid: str
    user: User
    echo: str
    to: str
    template: str
    category: str
    by_user_id: bool = False  # it was addressed to a business-scoped user id

    @property
    def number(self) -> str:
        """The phone number's id."""
        return self.metadata["phone_number_id"]


@dataclass(slots=True)
class Looks:
    """How webhooks look. version: of the payload. user_ids: with contacts and BSUIDs. hidden: share without phone."""

    version: str = "v24"
    user_ids: bool = False
    hidden: float = 0.0

    def hides(self, user: User) -> bool:
        """Whether this person has a user name and shows no phone number."""
        return user.habit < self.hidden

    def contact(self, wa_id: str, portfolio_id: str, *, hidden: bool) -> dict[str, Any]:
        """An element of `contacts`."""
        contact: dict[str, Any] = {"profile": {"name": name_of(wa_id)}}
        if hidden:
            contact["profile"]["username"] = f"user{wa_id[-4:]}"
        else:
            contact["wa_id"] = wa_id
        if self.user_ids:
            contact["user_id"] = user_id(wa_id, portfolio_id)
        return contact


def fate(profile: Profile, rng: random.Random, to: User, speed: float) -> list[tuple[float, str]]:
    """Draw what will be reported of an accepted message, each status with its delay in seconds: one at least."""
    sent_s = 0.0 if rng.random() < profile.early else (0.1 + rng.random() * 0.7) / speed
    if to.failure is not None:
        return [(sent_s + rng.random() / speed, "failed")]
    sent_is_missing = rng.random() < profile.sent_missing
    delivered_s = sent_s + min(30.0, rng.lognormvariate(0.0, 0.6)) / speed
    events: list[tuple[float, str]] = []
    if not to.offline and rng.random() >= profile.delivered_skipped:
        events.append((delivered_s, "delivered"))
    if not to.offline and to.reads:
        events.append((delivered_s + min(60.0, rng.lognormvariate(0.7, 0.8)) / speed, "read"))
    if not (sent_is_missing and events):
        events.insert(0, (sent_s, "sent"))
    return events


def status_bytes(life: Life, status: int, at: float, looks: Looks) -> bytes:
    """One element of `statuses`, as JSON."""
    name = STATUSES[status]
    one: dict[str, Any] = {"id": life.wamid, "status": name, "timestamp": str(int(at))}
    hidden = looks.hidden > 0 and looks.hides(life.user)
    if not hidden and not life.by_user_id:
        one["recipient_id"] = life.user.wa_id
    if looks.user_ids and (name != "failed" or life.by_user_id):
        one["recipient_user_id"] = user_id(life.user.wa_id, life.portfolio_id)
    if life.echo:
        one["biz_opaque_callback_data"] = life.echo
    if name in ("sent", "delivered"):
        one["pricing"] = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": life.category}
        if looks.version == "v23":
            conversation = hashlib.blake2b(life.wamid.encode(), digest_size=16).hexdigest()
            one["conversation"] = {"id": conversation, "origin": {"type": life.category}}
            if name == "sent":
                one["conversation"]["expiration_timestamp"] = str(int(at) + 86400)
    if name == "failed":
        one["errors"] = [as_webhook(131026 if life.user.failure is None else life.user.failure)]
    return orjson.dumps(one)
