"""Who the people are: a pure function of phone number and seed, the same in every run."""

import hashlib
from dataclasses import dataclass

from titanflow.sandbox.profiles import Profile


@dataclass(frozen=True, slots=True)
class User:
    """What will happen to a message to this person. failure: a code that comes by webhook, or None."""

    wa_id: str
    failure: int | None
    offline: bool
    reads: bool
    pair_limited: bool


def user_of(phone: str, seed: int, profile: Profile) -> User:
    """Return the person behind a number in E.164 form with the plus."""
    digest = hashlib.blake2b(f"{seed}:{phone}".encode(), digest_size=16).digest()
    fate, habit, pair, network = (int.from_bytes(digest[n : n + 4]) / 2**32 for n in (0, 4, 8, 12))
    failure = None
    if fate < profile.unreachable:
        failure = 131026
    elif fate < profile.unreachable + profile.limited:
        failure = 131049
    elif fate < profile.unreachable + profile.limited + profile.opted_out:
        failure = 131050
    return User(wa_id(phone), failure, network < profile.offline, habit >= profile.no_read, pair < profile.pair)


def wa_id(phone: str) -> str:
    """WhatsApp's identity of a number: Brazil loses its ninth digit, Mexico its 1."""
    digits = phone.lstrip("+")
    if digits.startswith("55") and len(digits) == 13 and digits[4] == "9":
        return digits[:4] + digits[5:]
    if digits.startswith("521") and len(digits) == 13:
        return "52" + digits[3:]
    return digits
