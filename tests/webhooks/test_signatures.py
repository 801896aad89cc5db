"""Who may speak for Meta: whoever signed these very bytes with one of the secrets. Compared in constant time."""

import hashlib
import hmac
from typing import Any

import pytest
from pydantic import SecretStr

from titanflow.errors import Forbidden
from titanflow.http.webhooks.door import Door
from titanflow.settings import Settings

_BODY = b'{"entry":[]}'  # signed and empty: nothing is to be committed
_OLD, _NEW = "the secret of before", "the secret of now"


def _digest(secret: str, body: bytes = _BODY, algorithm: Any = hashlib.sha256) -> str:
    return hmac.new(secret.encode(), body, algorithm).hexdigest()


def _door(*secrets: str) -> Door:
    return Door(Settings(meta_app_secret=tuple(SecretStr(secret) for secret in secrets)))


def _take(door: Door, signature: str, body: bytes = _BODY) -> None:
    door.take(body, signature, lambda: "203.0.113.7")


@pytest.mark.parametrize("secret", [_OLD, _NEW])
def test_either_secret_is_good_while_one_is_being_rotated(secret: str) -> None:
    _take(_door(_NEW, _OLD), f"sha256={_digest(secret)}")


def test_the_old_secret_is_worth_nothing_afterwards() -> None:
    with pytest.raises(Forbidden):
        _take(_door(_NEW), f"sha256={_digest(_OLD)}")


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        f"sha256={_digest(_NEW)[:-1]}",
        f"sha256={_digest(_NEW)}0",
        f"sha256={_digest(_NEW, _BODY + b' ')}",
        f"sha1={_digest(_NEW, algorithm=hashlib.sha1)}",
        f"sha256={_digest(_NEW, algorithm=hashlib.sha1)}",
        f"sha256={_digest('')}",
        f"sha256={_NEW}",
        "sha256=\xe4\u20ac\x00",
    ],
)
def test_nothing_else_is_a_signature(signature: str) -> None:
    with pytest.raises(Forbidden, match="signature"):
        _take(_door(_NEW, _OLD), signature)


def test_each_secret_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An `==` tells by its time how many characters were right."""
    compared: list[bytes] = []

    def compare(right: bytes, given: bytes) -> bool:
        compared.append(right)
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)

    with pytest.raises(Forbidden):
        _take(_door(_NEW, _OLD), f"sha256={_digest(_NEW)}")

    assert compared == [_digest(_NEW).encode(), _digest(_OLD).encode()]
