"""API tokens: shown once, kept hashed, with scopes read < send < admin."""

import hashlib
import secrets
from datetime import datetime

from titanflow.errors import InvalidInput, Unauthorized
from titanflow.storage import tokens
from titanflow.storage.database import Database
from titanflow.storage.tokens import Holder

SCOPES = ("read", "send", "admin")


def create(db: Database, name: str, scope: str, *, expires_at: datetime | None = None) -> str:
    """Make a token and return it: the only time it can be seen. A scope includes those before it in SCOPES."""
    if scope not in SCOPES:
        raise InvalidInput(f"There is no scope '{scope}'", fix=f"Choose one of {', '.join(SCOPES)}.")
    if not name.strip() or len(name) > 100:
        raise InvalidInput("The token needs a name of 1 to 100 characters")
    token = "tf_" + secrets.token_urlsafe(32)
    scopes = list(SCOPES[: SCOPES.index(scope) + 1])
    tokens.insert(db, name=name.strip(), digest=_digest(token), scopes=scopes, expires_at=expires_at)
    return token


def holder(db: Database, token: str) -> Holder:
    """Return whose token it is. Raises Unauthorized if it is unknown, revoked or over."""
    found = tokens.holder(db, _digest(token)) if token.startswith("tf_") and len(token) < 100 else None
    if found is None:
        raise Unauthorized("The token is unknown, revoked or over", fix="Create one with `titanflow token create`.")
    return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
