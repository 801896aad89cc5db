"""Rotation of SECRET_KEY: which access tokens still need an earlier key, and to encrypt them with the newest."""

from dataclasses import dataclass

from titanflow.domain.vault import Vault
from titanflow.errors import ConfigurationError
from titanflow.storage import erasures, phone_numbers
from titanflow.storage.database import Database

_OF_ERASED = "(who was erased)"  # the key of their hashes, beside the numbers' tokens


@dataclass(frozen=True, slots=True)
class Keys:
    """Meta's ids of numbers. older: readable, by an earlier key. unreadable: by none of those in SECRET_KEY."""

    numbers: int
    older: list[str]
    unreadable: list[str]


def look(db: Database, vault: Vault) -> Keys:
    """Find out which access tokens need which key."""
    older, unreadable = [], []
    rows = phone_numbers.ciphertexts(db)
    for phone_number_id, ciphertext in rows:
        if vault.is_newest(ciphertext):
            continue
        try:
            vault.decrypt(ciphertext)
            older.append(phone_number_id)
        except ConfigurationError:
            unreadable.append(phone_number_id)
    sealed = erasures.sealed_key(db)
    if sealed is not None and not vault.is_newest(sealed):
        (older if _opens(vault, sealed) else unreadable).append(_OF_ERASED)
    return Keys(len(rows), older, unreadable)


def _opens(vault: Vault, sealed: bytes) -> bool:
    try:
        vault.decrypt(sealed)
    except ConfigurationError:
        return False
    return True


def rekey(db: Database, vault: Vault) -> Keys:
    """Encrypt with the newest key what needs an earlier one. Returns what is left to be done.

    A token that somebody enters meanwhile is kept. Nothing that sends is interrupted. Harmless to repeat.
    """
    for phone_number_id, ciphertext in phone_numbers.ciphertexts(db):
        if vault.is_newest(ciphertext):
            continue
        try:
            anew = vault.encrypt(vault.decrypt(ciphertext))
        except ConfigurationError:
            continue
        phone_numbers.replace_ciphertext(db, phone_number_id, old=ciphertext, new=anew)
    sealed = erasures.sealed_key(db)
    if sealed is not None and not vault.is_newest(sealed) and _opens(vault, sealed):
        erasures.replace_key(db, old=sealed, new=vault.encrypt(vault.decrypt(sealed)))
    return look(db, vault)
