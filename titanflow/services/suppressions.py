"""Who must not be sent to: one person, or a list of them. Decisive at the next claim."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog

from titanflow.domain.phones import BadPhone, of_path, same_person
from titanflow.errors import InvalidInput, NotFound
from titanflow.storage import suppressions
from titanflow.storage.database import Database
from titanflow.storage.suppressions import Suppression

log = structlog.get_logger()

# What the engine itself writes there; START and Meta's switch lift only those, so nobody else may use their names.
RESERVED_SOURCES = frozenset(("stop_word", "user_preferences"))


def person_of(raw: str) -> tuple[str, ...]:
    """Return all forms of the phone that somebody wrote, the written one first. Raises InvalidInput."""
    try:
        phone = of_path(raw)
    except BadPhone:
        raise InvalidInput(
            f"'{raw[:40]}' is no phone number",
            fix="Write it with its country code, such as +4915112345678 or 4915112345678.",
            code="invalid_phone",
        ) from None
    return (phone, *(other for other in same_person(phone) if other != phone))


def get(db: Database, raw: str) -> dict[str, Any]:
    """Return what is kept of a person. Raises NotFound `not_suppressed`."""
    phones = person_of(raw)
    rows = suppressions.of_phones(db, phones)
    if not rows:
        raise NotFound(f"{phones[0]} is not on the do-not-send list", code="not_suppressed")
    return rows[0]


def put(
    db: Database, raw: str, *, reason: str, source: str, note: str | None, expires_at: datetime | None, who: str
) -> tuple[bool, dict[str, Any]]:
    """Keep a person from being sent to. Returns if that is new, and what is kept, with `pending_contacts`."""
    phones = person_of(raw)
    wanted = Suppression(phones[0], reason, source, note, expires_at)
    is_new, waiting = suppressions.put(db, phones, wanted, who=who)
    log.info("suppression.put", reason=reason, source=source, count=waiting, by=who)
    return is_new, {**get(db, phones[0]), "pending_contacts": waiting}


def add(db: Database, given: Sequence[Suppression], *, who: str) -> dict[str, Any]:
    """Add a list. What can't be used is answered with its place and why; the others are kept all the same."""
    wanted: list[Suppression] = []
    rejected: list[dict[str, Any]] = []
    for place, one in enumerate(given):
        try:
            forms = person_of(one.phone)
        except InvalidInput as error:
            rejected.append({"index": place, "phone": one.phone[:40], "reason": error.code, "why": error.one_line()})
            continue
        wanted += [Suppression(phone, one.reason, one.source, one.note, one.expires_at) for phone in forms]
    new, changed, unchanged, waiting = suppressions.add(db, wanted, who=who)
    log.info("suppressions.added", count=new + changed, by=who)
    return {
        "added": new,
        "changed": changed,
        "unchanged": unchanged,
        "rejected": rejected,
        "pending_contacts": waiting,
    }


def delete(db: Database, raw: str, *, who: str) -> None:
    """Let a person be sent to again. Contacts excluded meanwhile stay excluded. Raises NotFound `not_suppressed`."""
    phones = person_of(raw)
    if not suppressions.delete(db, phones, who=who):
        raise NotFound(f"{phones[0]} is not on the do-not-send list", code="not_suppressed")
    log.info("suppression.deleted", by=who)
