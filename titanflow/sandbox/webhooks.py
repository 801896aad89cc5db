"""Webhooks as Meta sends them: signed, batched, concurrent, delivered again until somebody answers 200."""

import asyncio
import hashlib
import heapq
import hmac
import itertools
import json
import random
from collections import Counter, deque
from typing import Any

import aiohttp

from titanflow.sandbox.errors import as_webhook
from titanflow.sandbox.profiles import Profile
from titanflow.sandbox.users import User

_TICK_S = 0.05
_BATCH = 200
_CONCURRENT = 8
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 5.0
_ANSWER_TIMEOUT_S = 20.0


class Webhooks:
    """Schedules statuses and delivers them. Everything that was due and not acknowledged stays pending."""

    def __init__(self, url: str, app_secret: str, profile: Profile, *, seed: int, speed: float) -> None:
        self.url, self.profile, self.speed = url, profile, speed
        self._secret = app_secret.encode()
        self._random = random.Random(seed)  # noqa: S311  (a simulation, no secret)
        self._due: list[tuple[float, int, str, str, dict[str, Any]]] = []  # when, n, waba, field, value
        self._order = itertools.count()
        self._outbox: deque[tuple[bytes, list[tuple[str, str]], int]] = deque()  # body, its statuses, its updates
        self._in_flight = 0
        self._room = asyncio.Semaphore(_CONCURRENT)
        self._tasks: set[asyncio.Task[None]] = set()
        self.paused = False
        self.worst_lag_s = 0.0  # how late this very process was at its worst: its arrival times are that uncertain
        self.counts: Counter[str] = Counter()
        self.acknowledged: dict[str, set[str]] = {}  # wamid -> the statuses that somebody answered 200 to

    def schedule(self, in_s: float, waba_id: str, field: str, value: dict[str, Any]) -> None:
        """Send one update in so many seconds."""
        at = asyncio.get_running_loop().time() + in_s
        heapq.heappush(self._due, (at, next(self._order), waba_id, field, value))

    def life_of(self, waba_id: str, number: dict[str, str], wamid: str, to: User, echo: str, wall: float) -> None:
        """Schedule what will happen to one accepted message, as its person and the profile have it."""
        profile, rng = self.profile, self._random
        events = fate(profile, rng, to, self.speed)
        for in_s, status in events:
            value = _status_value(number, wamid, status, to, echo, wall + in_s + self._skew())
            late_s = profile.late_s * rng.random() if rng.random() < profile.late else 0.0
            shuffled_s = rng.random() * 2 if profile.shuffled else 0.0
            self.schedule(in_s + late_s + shuffled_s, waba_id, "messages", value)
            if rng.random() < profile.duplicated:
                for _ in range(rng.randint(1, 4)):
                    self.schedule(in_s + rng.random() * 4, waba_id, "messages", value)

    def _skew(self) -> int:
        return self._random.randint(-self.profile.skew_s, self.profile.skew_s) if self.profile.skew_s else 0

    @property
    def pending(self) -> int:
        """Updates that are scheduled, waiting or under way."""
        return len(self._due) + sum(count for _, _, count in self._outbox) + self._in_flight

    async def run(self) -> None:
        """Deliver for ever."""
        timeout = aiohttp.ClientTimeout(total=_ANSWER_TIMEOUT_S, connect=5)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                before = asyncio.get_running_loop().time()
                await asyncio.sleep(_TICK_S)
                lag_s = asyncio.get_running_loop().time() - before - _TICK_S
                self.worst_lag_s = max(self.worst_lag_s, lag_s)
                if self.paused:
                    continue
                while self._collect():
                    await asyncio.sleep(0)  # a POST that arrives meanwhile must not be stamped late
                while self._outbox and not self._room.locked():
                    await self._room.acquire()
                    body, statuses, count = self._outbox.popleft()
                    self._in_flight += count
                    task = asyncio.create_task(self._deliver(session, body, statuses, count))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    def _collect(self) -> bool:
        """Make one body of what is due. Returns False if nothing was."""
        now = asyncio.get_running_loop().time()
        batch: list[tuple[str, str, dict[str, Any]]] = []
        while self._due and self._due[0][0] <= now and len(batch) < _BATCH:
            _, _, waba_id, field, value = heapq.heappop(self._due)
            batch.append((waba_id, field, value))
        if not batch:
            return False
        if self.profile.shuffled:
            self._random.shuffle(batch)
        statuses = [(one["id"], one["status"]) for _, _, value in batch for one in value.get("statuses", [])]
        self._outbox.append((_envelope(batch, self._noise()), statuses, len(batch)))
        return True

    def _noise(self) -> list[Any]:
        if self._random.random() >= self.profile.noise:
            return []
        self.counts["noise"] += 1
        number = {"phone_number_id": "1", "display_phone_number": "1"}
        stranger = _status_value(number, "wamid.stranger", "delivered", None, "order-17", 1_750_000_000)
        return [
            {"field": "messages", "value": stranger},
            {"field": "messages", "value": {"statuses": [{"id": 5, "status": "teleported"}, None]}},
            {"field": "a_field_of_the_future", "value": {"x": "é/ü"}},
        ]

    async def _deliver(
        self, session: aiohttp.ClientSession, body: bytes, statuses: list[tuple[str, str]], count: int
    ) -> None:
        if self._random.random() < self.profile.noise / 4:
            await self._forge(session)
        wait_s = _FIRST_RETRY_S
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": self.signature(body)}
        try:
            while True:
                try:
                    async with session.post(self.url, data=body, headers=headers) as answer:
                        await answer.read()
                        self.counts[f"http_{answer.status}"] += 1
                        if answer.status == 200:
                            self.counts["acknowledged"] += count
                            for wamid, status in statuses:
                                self.acknowledged.setdefault(wamid, set()).add(status)
                            return
                except (aiohttp.ClientError, TimeoutError):
                    self.counts["unreachable"] += 1
                self.counts["redelivered"] += count
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 1.6, _LONGEST_RETRY_S)
        finally:
            self._in_flight -= count
            self._room.release()

    async def _forge(self, session: aiohttp.ClientSession) -> None:
        """Send a forged webhook, which must be refused."""
        body = _envelope([], [{"field": "messages", "value": {"statuses": []}}])
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": "sha256=" + "0" * 64}
        try:
            async with session.post(self.url, data=body, headers=headers) as answer:
                self.counts["forged_accepted" if answer.status == 200 else "forged_refused"] += 1
        except (aiohttp.ClientError, TimeoutError):
            self.counts["forged_unreachable"] += 1

    def signature(self, body: bytes) -> str:
        """X-Hub-Signature-256 over these very bytes."""
        return "sha256=" + hmac.new(self._secret, body, hashlib.sha256).hexdigest()


def fate(profile: Profile, rng: random.Random, to: User, speed: float) -> list[tuple[float, str]]:
    """Draw what will be reported of an accepted message, each status with its delay in seconds: one at least."""
    sent_s = 0.0 if rng.random() < profile.early else (0.1 + rng.random() * 0.7) / speed
    if to.failure is not None:
        return [(sent_s + rng.random() / speed, "failed")]
    sent_is_missing = rng.random() < profile.sent_missing
    delivered_s = sent_s + min(30.0, rng.lognormvariate(0.0, 0.6)) / speed
    events: list[tuple[float, str]] = []
    if not to.offline and rng.random() >= profile.delivered_skipped:
        events.append((delivered_s, "delivered"))
    if not to.offline and to.reads:
        events.append((delivered_s + min(60.0, rng.lognormvariate(0.7, 0.8)) / speed, "read"))
    if not (sent_is_missing and events):
        events.insert(0, (sent_s, "sent"))
    return events


def _status_value(
    number: dict[str, str], wamid: str, status: str, to: User | None, echo: str, at: float
) -> dict[str, Any]:
    one: dict[str, Any] = {"id": wamid, "status": status, "timestamp": str(int(at))}
    if to is not None:
        one["recipient_id"] = to.wa_id
    if echo:
        one["biz_opaque_callback_data"] = echo
    if status in ("sent", "delivered"):
        one["pricing"] = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "marketing"}
    if status == "failed" and to is not None:
        one["errors"] = [as_webhook(131026 if to.failure is None else to.failure)]
    return {"messaging_product": "whatsapp", "metadata": number, "statuses": [one]}


def _envelope(batch: list[tuple[str, str, dict[str, Any]]], noise: list[Any]) -> bytes:
    """One body: statuses of the same account and number share a change. Unicode and slashes escaped, as Meta does."""
    accounts: dict[str, dict[str, dict[str, Any]]] = {}
    others: dict[str, list[Any]] = {}
    for waba_id, field, value in batch:
        if field == "messages" and "statuses" in value:
            number = value["metadata"]["phone_number_id"]
            merged = accounts.setdefault(waba_id, {}).setdefault(number, {**value, "statuses": []})
            merged["statuses"] += value["statuses"]
        else:
            others.setdefault(waba_id, []).append({"field": field, "value": value})
    entries = [
        {"id": waba_id, "changes": [{"field": "messages", "value": value} for value in numbers.values()]}
        for waba_id, numbers in accounts.items()
    ]
    entries += [{"id": waba_id, "changes": changes} for waba_id, changes in others.items()]
    if noise:
        entries.append({"id": "0", "changes": noise})
    return json.dumps({"object": "whatsapp_business_account", "entry": entries}).replace("/", "\\/").encode()
