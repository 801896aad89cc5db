"""Rotation of SECRET_KEY: which access tokens still need an earlier key, and to encrypt them with the newest."""

from dataclasses import dataclass

from titanflow.domain.vault import Vault
from titanflow.errors import ConfigurationError
from titanflow.storage import phone_numbers
from titanflow.storage.database import Database


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
    return Keys(len(rows), older, unreadable)


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
    return look(db, vault)
