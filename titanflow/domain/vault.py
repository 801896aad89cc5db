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
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])

    def encrypt(self, secret: str) -> bytes:
        """Return an authenticated ciphertext of `secret`."""
        return self._fernet.encrypt(secret.encode())

    def decrypt(self, ciphertext: bytes) -> str:
        """Return what was encrypted. Raises ConfigurationError if none of the keys fits."""
        try:
            return self._fernet.decrypt(ciphertext).decode()
        except InvalidToken:
            raise ConfigurationError(
                "A stored access token can't be decrypted",
                why="SECRET_KEY has changed",
                fix="Add the earlier key to SECRET_KEY, after a comma.",
            ) from None
