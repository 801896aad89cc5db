"""Where signed updates come in: signature over the raw bytes, lenient parsing, the commit. No line is logged here."""

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable

from titanflow.actors.node import webhook_ingestor
from titanflow.domain import webhooks
from titanflow.errors import Forbidden, TooManyRequests
from titanflow.settings import Settings

PATHS = frozenset(("/api/webhooks/whatsapp", "/api/webhooks"))
MAX_BODY_BYTES = 3 * 1024 * 1024

_BAD_PER_MINUTE = 1_000
_MOST_ADDRESSES = 10_000


class Door:
    """One a process, for whoever read the request."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._secrets = settings.app_secrets()
        self._bad: OrderedDict[str, tuple[int, int]] = OrderedDict()  # address -> (minute, count)

    def take(self, body: bytes, signature: str, address: Callable[[], str]) -> None:
        """Commit the updates of one body. Returns after the commit: only now may anybody answer 200.

        signature: X-Hub-Signature-256. address: finds out who sent it, asked only of bad ones. Raises Forbidden (401)
        if it is wrong, TooManyRequests if it was too often from there, Unavailable if they can't be committed now.
        """
        if not self._is_signed(body, signature):
            self._refuse(address())
        batch = webhooks.parse(body)
        if len(batch):
            webhook_ingestor.ingest(batch, body)

    def _is_signed(self, body: bytes, header: str) -> bool:
        given = header.removeprefix("sha256=").encode("latin-1", "replace")
        return any(
            hmac.compare_digest(hmac.digest(secret, body, "sha256").hex().encode(), given) for secret in self._secrets
        )

    def _refuse(self, address: str) -> None:
        minute = int(time.monotonic() // 60)
        known, count = self._bad.pop(address, (minute, 0))
        count = count + 1 if known == minute else 1
        self._bad[address] = (minute, count)
        if len(self._bad) > _MOST_ADDRESSES:
            self._bad.popitem(last=False)
        if count > _BAD_PER_MINUTE:
            raise TooManyRequests("Too many webhooks with a wrong signature")
        raise Forbidden("The signature is wrong", fix="Check META_APP_SECRET.", code="bad_signature", status=401)
