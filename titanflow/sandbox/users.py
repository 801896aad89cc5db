"""Who the people are: a pure function of phone number and seed, the same in every run."""

import hashlib
import re
from dataclasses import dataclass

from titanflow.sandbox.profiles import Profile

USER_ID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]{1,128}")

_NAMES = ("Ann Miller", "Zoë Krüger", "Иван Петров", "سارة حسن", "Ana 🌻", "李小龍", "João d'Ávila", "Bob/Alice")
_COUNTRIES = {"1": "US", "49": "DE", "55": "BR", "52": "MX", "44": "GB", "34": "ES", "91": "IN", "351": "PT"}


@dataclass(frozen=True, slots=True)
class User:
    """What will happen to a message to this person. failure: a code that comes by webhook, or None.

    habit: a number from 0 to 1 that decides what they do beside that (reply, say STOP, hide their number).
    """

    wa_id: str
    failure: int | None
    offline: bool
    reads: bool
    pair_limited: bool
    habit: float = 0.0


def user_of(phone: str, seed: int, profile: Profile) -> User:
    """Return the person behind a number in E.164 form with the plus, or behind a business-scoped user id."""
    digest = hashlib.blake2b(f"{seed}:{phone}".encode(), digest_size=20).digest()
    fate, reading, pair, network, habit = (int.from_bytes(digest[n : n + 4]) / 2**32 for n in (0, 4, 8, 12, 16))
    failure = None
    if fate < profile.unreachable:
        failure = 131026
    elif fate < profile.unreachable + profile.limited:
        failure = 131049
    elif fate < profile.unreachable + profile.limited + profile.opted_out:
        failure = 131050
    offline, reads = network < profile.offline, reading >= profile.no_read
    return User(wa_id(phone), failure, offline, reads, pair < profile.pair, habit)


def wa_id(phone: str) -> str:
    """WhatsApp's identity of a number: Brazil loses its ninth digit, Mexico its 1."""
    digits = phone.lstrip("+")
    if digits.startswith("55") and len(digits) == 13 and digits[4] == "9":
        return digits[:4] + digits[5:]
    if digits.startswith("521") and len(digits) == 13:
        return "52" + digits[3:]
    return digits


def user_id(wa_id: str, portfolio_id: str) -> str:
    """The business-scoped id of a person: another one for each portfolio."""
    if USER_ID.fullmatch(wa_id):
        return wa_id
    country = next((_COUNTRIES[wa_id[:n]] for n in (3, 2, 1) if wa_id[:n] in _COUNTRIES), "FR")
    digest = hashlib.blake2b(f"{portfolio_id}:{wa_id}".encode(), digest_size=8).digest()
    return f"{country}.{int.from_bytes(digest)}"


def name_of(wa_id: str) -> str:
    """A profile name; many aren't ASCII."""
    return _NAMES[sum(wa_id.encode()) % len(_NAMES)]
