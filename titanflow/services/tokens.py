"""API tokens: shown once, kept hashed, with scopes read < send < admin."""

import hashlib
import secrets

from titanflow.errors import InvalidInput, Unauthorized
from titanflow.storage import tokens
from titanflow.storage.database import Database

SCOPES = ("read", "send", "admin")


def create(db: Database, name: str, scope: str) -> str:
    """Make a token and return it: the only time it can be seen. A scope includes those before it in SCOPES."""
    if scope not in SCOPES:
        raise InvalidInput(f"There is no scope '{scope}'", fix=f"Choose one of {', '.join(SCOPES)}.")
    if not name.strip() or len(name) > 100:
        raise InvalidInput("The token needs a name of 1 to 100 characters")
    token = "tf_" + secrets.token_urlsafe(32)
    tokens.insert(db, name=name.strip(), digest=_digest(token), scopes=list(SCOPES[: SCOPES.index(scope) + 1]))
    return token


def scopes_of(db: Database, token: str) -> frozenset[str]:
    """Return what a token may do. Raises Unauthorized if it is unknown or revoked."""
    scopes = tokens.scopes_of(db, _digest(token)) if token.startswith("tf_") and len(token) < 100 else None
    if scopes is None:
        raise Unauthorized("The token is unknown or revoked", fix="Create one with `titanflow token create`.")
    return frozenset(scopes)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
