"""Encrypts access tokens at rest. Several keys, newest first, so that keys can be rotated."""

import base64
import hashlib
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from titanflow.errors import ConfigurationError


class Vault:
    """Encrypts with the newest key, decrypts with any. keys: the texts of SECRET_KEY, newest first."""

    def __init__(self, keys: Sequence[str]) -> None:
        digests = [hashlib.sha256(f"titanflow vault {key}".encode()).digest() for key in keys]
        self._keys = [Fernet(base64.urlsafe_b64encode(digest)) for digest in digests]
        self._fernet = MultiFernet(self._keys)

    def encrypt(self, secret: str) -> bytes:
        """Return an authenticated ciphertext of `secret`."""
        return self._fernet.encrypt(secret.encode())

    def is_newest(self, ciphertext: bytes) -> bool:
        """Tell whether it was encrypted with the newest key: then no earlier one is needed for it."""
        try:
            self._keys[0].decrypt(ciphertext)
        except InvalidToken:
            return False
        return True

    def decrypt(self, ciphertext: bytes) -> str:
        """Return what was encrypted. Raises ConfigurationError if none of the keys fits."""
        try:
            return self._fernet.decrypt(ciphertext).decode()
        except InvalidToken:
            raise ConfigurationError(
                "A stored access token can't be decrypted",
                why="none of the keys in SECRET_KEY fits",
                fix="Add the earlier key to SECRET_KEY, after a comma, or enter the token anew.",
            ) from None
