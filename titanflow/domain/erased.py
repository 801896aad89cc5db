"""What is left of a person who was erased: a keyed hash, and contacts that only say what became of somebody."""

import hashlib
import hmac

# A contact of an erased person has this and its own id where the phone was: nobody to send to, ever.
TOMBSTONE = "erased:"

_BLOCK_BYTES = 64


def hash_of(key: bytes, person: str) -> bytes:
    """Return the HMAC-SHA256 of an E.164 phone, or of Meta's user id."""
    return hmac.digest(key, person.encode(), hashlib.sha256)


def pads(key: bytes) -> tuple[bytes, bytes]:
    """Return inner and outer: hash_of(key, x) is sha256(outer + sha256(inner + x)), for SQL, which has no HMAC."""
    block = key.ljust(_BLOCK_BYTES, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


def traces(person: str) -> str:
    """Return the text by which a person is found in bodies and sentences: digits without the plus, or the user id."""
    return person.removeprefix("+")
