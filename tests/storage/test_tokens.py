"""Tokens end when they are revoked or over, and say when they were last used."""

from datetime import UTC, datetime, timedelta

import pytest

from titanflow.errors import Unauthorized
from titanflow.services import tokens as service
from titanflow.storage import tokens
from titanflow.storage.database import Database


def test_a_token_is_good_until_it_is_over(db: Database) -> None:
    now = datetime.now(UTC)
    over = service.create(db, "over", "read", expires_at=now - timedelta(seconds=1))
    good = service.create(db, "good", "send", expires_at=now + timedelta(hours=1))

    assert service.holder(db, good).scopes == ["read", "send"]
    with pytest.raises(Unauthorized):
        service.holder(db, over)


def test_a_token_is_good_until_it_is_revoked(db: Database) -> None:
    token = service.create(db, "crm", "read")
    found = service.holder(db, token)

    tokens.revoke(db, found.id)

    assert found.name == "crm"
    with pytest.raises(Unauthorized):
        service.holder(db, token)


def test_the_last_use_is_written_at_most_once_a_minute(db: Database) -> None:
    token = service.create(db, "crm", "read")

    service.holder(db, token)
    first = tokens.list_all(db)[0]["last_used_at"]
    service.holder(db, token)
    assert tokens.list_all(db)[0]["last_used_at"] == first
    with db.connection() as connection:
        connection.execute("UPDATE api_tokens SET last_used_at = now() - interval '61 seconds'")
    service.holder(db, token)

    assert tokens.list_all(db)[0]["last_used_at"] >= first
