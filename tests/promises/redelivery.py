"""Meta as a sender of webhooks: several at once, in no order, and each again and again until it gets 200."""

import hashlib
import hmac
import random
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

_PATH = "/api/webhooks/whatsapp"
_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One body, and what it is about: known by these names if it is acknowledged."""

    body: bytes
    updates: tuple[Hashable, ...]


@dataclass
class Meta:
    """Delivers from `start` on; `finished` waits for the last 200. Answers are counted while it goes on.

    rate: so many deliveries a second at most, 0 for no limit.
    """

    port: int
    secret: str
    deliveries: Sequence[Delivery]
    connections: int = 8
    rate: float = 0.0
    seed: int = 1
    answers: Counter[int] = field(default_factory=Counter)  # 0: none
    slowest_s: float = 0.0
    without_retry_after: int = 0
    acknowledged: set[Hashable] = field(default_factory=set)

    def start(self) -> None:
        """Begin to deliver, in a random order."""
        self._rng = random.Random(self.seed)
        self._waiting = deque(self._rng.sample(range(len(self.deliveries)), len(self.deliveries)))
        self._left = len(self.deliveries)
        self._stopped = False
        self._next_at = time.monotonic()
        self._threads = [threading.Thread(target=self._deliver, daemon=True) for _ in range(self.connections)]
        for thread in self._threads:
            thread.start()

    def finished(self, *, within_s: float) -> bool:
        """Wait until every delivery got its 200. False if one didn't."""
        deadline = time.monotonic() + within_s
        while self._left and time.monotonic() < deadline:
            time.sleep(0.02)
        self._stopped = True
        for thread in self._threads:
            thread.join(timeout=_ANSWER_S)
        return self._left == 0

    def _deliver(self) -> None:
        connection: socket.socket | None = None
        while self._left and not self._stopped:
            try:
                n = self._waiting.popleft()
            except IndexError:
                time.sleep(0.01)  # the others are at the last ones
                continue
            if self.rate:
                self._next_at = max(self._next_at, time.monotonic() - 1) + 1 / self.rate
                time.sleep(max(0.0, self._next_at - time.monotonic()))
            delivery = self.deliveries[n]
            began = time.monotonic()
            status = 0
            try:
                connection = connection or socket.create_connection(("127.0.0.1", self.port), timeout=_ANSWER_S)
                head = self._ask(connection, delivery.body)
                status = int(head[9:12] or b"0")
                self.without_retry_after += status == 503 and b"\r\nretry-after:" not in head.lower()
            except OSError:
                pass
            if not status and connection is not None:
                connection.close()
                connection = None
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.answers[status] += 1
            if status == 200:
                self.acknowledged.update(delivery.updates)
                self._left -= 1
            else:
                self._waiting.append(n)
                time.sleep(0.02)
        if connection is not None:
            connection.close()

    def _ask(self, connection: socket.socket, body: bytes) -> bytes:
        """Return the head of the answer; b"" if the server hung up."""
        signature = hmac.digest(self.secret.encode(), body, hashlib.sha256).hex()
        connection.sendall(
            f"POST {_PATH} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256={signature}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = connection.recv(65536)
            if not data:
                return b""
            answer += data
        head, _, rest = answer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(rest) < length:
            data = connection.recv(65536)
            if not data:
                return b""
            rest += data
        return head
