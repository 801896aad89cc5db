"""Erase a person: all traces go, figures stay, and the person is never sent to again."""

import secrets
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from titanflow.domain.erased import hash_of, traces
from titanflow.domain.phones import same_person
from titanflow.domain.vault import Vault
from titanflow.errors import ConfigurationError, Conflict, NotFound
from titanflow.services import suppressions as suppressions_service
from titanflow.services.suppressions import person_of
from titanflow.storage import erasures, suppressions, webhook_files
from titanflow.storage.database import Database
from titanflow.storage.erasures import Person

log = structlog.get_logger()

SOURCE = "erasure"


def erase(db: Database, vault: Vault, raw: str, *, by: str) -> dict[str, Any]:
    """Erase a person by phone or Meta's user id. Harmless to repeat; whoever is unknown is never sent to either.

    Raises InvalidInput for what is no phone; Conflict `in_flight`: a message is on its way. Even then nothing more is
    sent to the person.
    """
    names = sorted({form for name in erasures.names_of(db, person_of(raw)) for form in same_person(name)})
    key = _key(db, vault) or _new_key(db, vault)
    erasures.block(db, names)
    found = erasures.erase(db, Person(names, [hash_of(key, name) for name in names]), who=by)
    if found is None:
        raise Conflict(
            "A message to this person is on its way, or a list is just being imported",
            why="what becomes of it must be written down first; nothing more is sent to the person",
            fix="Repeat it in a minute.",
            code="in_flight",
            retry_after_s=60,
        )
    _forget_answers(db, vault, names)
    log.info("person.erased", count=found["contacts"], by=by)
    return {"erased": True, **found}


def erase_webhook_files(folder: Path, raw: str) -> int:
    """Take the webhooks that name a person out of this host's files of hours that are over. Returns how many."""
    return webhook_files.erase(folder, [traces(name) for name in person_of(raw)])


def erased_at(db: Database, vault: Vault, phones: tuple[str, ...]) -> datetime | None:
    """Return since when a person is erased; None: isn't. Costs one look while nobody ever was."""
    key = _key(db, vault)
    return erasures.erased_at(db, [hash_of(key, name) for name in phones]) if key is not None else None


def as_suppression(phone: str, since: datetime) -> dict[str, Any]:
    """Return what the do-not-send list would say of an erased person, whom it doesn't know by name."""
    return {
        "phone": phone, "reason": "opted_out", "source": SOURCE, "note": None, "created_at": since, "expires_at": None,
        "is_over": False,
    }  # fmt: skip


def suppression_of(db: Database, vault: Vault, raw: str) -> dict[str, Any]:
    """Return why a person isn't sent to: the do-not-send list's word, or that the person is erased. Raises NotFound."""
    phones = person_of(raw)
    rows = suppressions.of_phones(db, phones)
    if not rows and (since := erased_at(db, vault, phones)) is not None:
        return as_suppression(phones[0], since)
    return suppressions_service.get(db, raw)


def lift(db: Database, vault: Vault, raw: str, *, who: str) -> None:
    """Let a person be sent to again, erased or not, by somebody's explicit word. Raises NotFound `not_suppressed`."""
    key = _key(db, vault)
    let_back = key is not None and erasures.forget(db, [hash_of(key, name) for name in person_of(raw)])
    try:
        suppressions_service.delete(db, raw, who=who)
    except NotFound:
        if not let_back:
            raise


def _key(db: Database, vault: Vault) -> bytes | None:
    sealed = erasures.sealed_key(db)
    return bytes.fromhex(vault.decrypt(sealed)) if sealed is not None else None


def _new_key(db: Database, vault: Vault) -> bytes:
    sealed = erasures.keep_key(db, vault.encrypt(secrets.token_hex(32)))
    return bytes.fromhex(vault.decrypt(sealed))


def _forget_answers(db: Database, vault: Vault, names: list[str]) -> None:
    """Answers of the last 24 hours that name the person; what can't be read any more is given to nobody either."""
    texts = [traces(name) for name in names]
    for row in erasures.answers(db):
        try:
            body = vault.decrypt(bytes(row["body"]))
        except ConfigurationError:
            continue
        if any(text in body for text in texts):
            erasures.forget_answer(db, row["owner"], row["key"])
