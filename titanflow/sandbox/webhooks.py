"""Webhooks as Meta sends them: signed, batched, concurrent, delivered again until somebody answers 200."""

import asyncio
import hashlib
import heapq
import hmac
import itertools
import random
import re
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from titanflow.sandbox.clock import Clock
from titanflow.sandbox.ledger import STATUSES, Ledger
from titanflow.sandbox.lives import Life, Looks, fate, status_bytes
from titanflow.sandbox.profiles import Profile
from titanflow.sandbox.rules import Rules

_TICK_S = 0.05
_SLICE = 100  # updates between two looks at the sockets: some 0.3 ms
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 5.0
_ANSWER_TIMEOUT_S = 20.0
_REPLAYABLE = 200
_LARGEST = 3 * 2**20 - 64 * 1024

_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


@dataclass(slots=True, eq=False)
class Update:
    """One change that is no status. acknowledged: called when somebody answered 200 to it."""

    waba_id: str
    field: str
    value: dict[str, Any]
    acknowledged: Callable[[], None] | None = None


Made = Callable[[], Update | None]  # an update that is made when it is due
Due = tuple[float, int, Life | Update | Made, int, float]  # when, order, what, status, wall time


@dataclass(slots=True, eq=False)
class Body:
    """A POST to be delivered: its bytes, and what a 200 acknowledges."""

    content: bytes
    statuses: list[tuple[int, int]]
    updates: list[Update]
    count: int


class Webhooks:
    """Schedules updates and delivers them. Everything that was due and not acknowledged stays pending."""

    def __init__(
        self, url: str, app_secret: str, profile: Profile, ledger: Ledger, clock: Clock, *, seed: int, speed: float
    ) -> None:
        self.url, self.profile, self.speed = url, profile, speed
        self.rules = Rules(seed)
        self.looks = Looks()
        self.paused = False
        self.batch, self.concurrent = 200, 8
        self.counts: Counter[str] = Counter()
        self.when_read: Callable[[Life, float], None] | None = None
        self._ledger, self._clock = ledger, clock
        self._secret = app_secret.encode()
        self._random = random.Random(seed)  # noqa: S311  (a simulation, no secret)
        # Deliveries draw from another one: when they come depends on time, and fates must not.
        self._noises = random.Random(seed)  # noqa: S311
        self._due: list[Due] = []
        self._order = itertools.count()
        self._in_flight = self._collected = self._delivering = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._latest: deque[Body] = deque(maxlen=_REPLAYABLE)

    def schedule(self, in_s: float, update: Update | Made) -> None:
        """Send one update, or make and send it, in so many seconds."""
        heapq.heappush(self._due, (self._clock.now() + in_s, next(self._order), update, 0, 0.0))

    def change(self, waba_id: str, field: str, value: dict[str, Any]) -> None:
        """Send one update now."""
        self.schedule(0, Update(waba_id, field, value))

    def live(self, life: Life) -> None:
        """Schedule what will happen to one accepted message, as its person and the profile have it."""
        profile, rng, now, wall = self.profile, self._random, self._clock.now(), self._clock.wall()
        events = fate(profile, rng, life.user, self.speed)
        for in_s, name in events:
            status = STATUSES.index(name)
            skew_s = rng.randint(-profile.skew_s, profile.skew_s) if profile.skew_s else 0
            late_s = profile.late_s * rng.random() if rng.random() < profile.late else 0.0
            shuffled_s = rng.random() * 2 if profile.shuffled else 0.0
            delays = [in_s + late_s + shuffled_s]
            if rng.random() < profile.duplicated:
                delays += [in_s + rng.random() * 4 for _ in range(rng.randint(1, 4))]
            if self.rules.any("webhook"):
                delays = self._bent(life, name, delays)
            for delay_s in delays:
                heapq.heappush(self._due, (now + delay_s, next(self._order), life, status, wall + in_s + skew_s))
        if self.when_read is not None:
            self.when_read(life, events[-1][0])

    def _bent(self, life: Life, status: str, delays: list[float]) -> list[float]:
        """Apply the rules about webhooks: lost for ever, late, or several times."""
        rule = self.rules.fired(
            "webhook", number=life.number, waba=life.waba_id, template=life.template, to=life.to, echo=life.echo,
            status=status,
        )  # fmt: skip
        if rule is None:
            return delays
        if rule.drop:
            return []
        late = [delay_s + (rule.delay_s or 0.0) for delay_s in delays]
        return late + [delay_s + n * 0.2 for delay_s in late for n in range(1, rule.copies)]

    def replay(self, count: int, times: int) -> int:
        """Deliver the latest bodies again, as if their 200 had got lost. Returns how many bodies will come."""
        bodies = list(self._latest)[-count:] if count else []
        for body in bodies * times:
            self._spawn(body)
        return len(bodies) * times

    @property
    def pending(self) -> int:
        """Updates that are scheduled, waiting or under way."""
        return len(self._due) + self._collected + self._in_flight

    async def run(self) -> None:
        """Deliver for ever."""
        timeout = aiohttp.ClientTimeout(total=_ANSWER_TIMEOUT_S, connect=5)
        async with aiohttp.ClientSession(timeout=timeout) as self._session:
            while True:
                await asyncio.sleep(_TICK_S)
                while not self.paused and self._delivering < self.concurrent:
                    body = await self._collect()
                    if body is None:
                        break
                    self._spawn(body)

    def _spawn(self, body: Body) -> None:
        self._in_flight += body.count
        self._delivering += 1
        task = asyncio.create_task(self._deliver(body))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._delivering -= 1

    async def _collect(self) -> Body | None:
        """Make one body of what is due, in slices, so that a POST that arrives meanwhile isn't stamped late."""
        maker = _Maker(self.looks)
        size = 0
        while len(maker) < self.batch and size < _LARGEST:
            now, before = self._clock.now(), len(maker)
            due: list[Due] = []
            while self._due and self._due[0][0] <= now and before + len(due) < self.batch and len(due) < _SLICE:
                due.append(heapq.heappop(self._due))
            if not due:
                break
            self._collected += len(due)
            for _, _, what, status, wall in due:
                size += maker.add(what, status, wall)
            await asyncio.sleep(0)
        if not len(maker):
            self._collected = 0
            return None
        noise = self._noise()
        shuffled = self._noises if self.profile.shuffled else None
        self._collected = 0
        return maker.body(shuffled, noise)

    def _noise(self) -> list[Any]:
        if self._noises.random() >= self.profile.noise:
            return []
        self.counts["noise"] += 1
        number = {"phone_number_id": "1", "display_phone_number": "1"}
        stranger = {"id": "wamid.stranger", "status": "delivered", "timestamp": "1750000000"}
        stranger["biz_opaque_callback_data"] = "order-17"
        return [
            {"field": "messages", "value": {"metadata": number, "statuses": [stranger]}},
            {"field": "messages", "value": {"statuses": [{"id": 5, "status": "teleported"}, None]}},
            {"field": "a_field_of_the_future", "value": {"x": "é/ü"}},
        ]

    async def _deliver(self, body: Body) -> None:
        if self._noises.random() < self.profile.noise / 4:
            await self._forge()
        wait_s = _FIRST_RETRY_S
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": self.signature(body.content)}
        try:
            while True:
                try:
                    async with self._session.post(self.url, data=body.content, headers=headers) as answer:
                        await answer.read()
                        self.counts[f"http_{answer.status}"] += 1
                        if answer.status == 200:
                            self._acknowledge(body)
                            return
                except (aiohttp.ClientError, TimeoutError):
                    self.counts["unreachable"] += 1
                self.counts["redelivered"] += body.count
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 1.6, _LONGEST_RETRY_S)
        finally:
            self._in_flight -= body.count

    def _acknowledge(self, body: Body) -> None:
        self.counts["acknowledged"] += body.count
        self.counts["largest_batch"] = max(self.counts["largest_batch"], body.count)
        self._latest.append(body)
        for row, status in body.statuses:
            self._ledger.acknowledged(row, status)
        for update in body.updates:
            if update.acknowledged is not None:
                update.acknowledged()

    async def _forge(self) -> None:
        """Send a forged webhook, which must be refused."""
        content = b'{"object":"whatsapp_business_account","entry":[{"id":"0","changes":[]}]}'
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": "sha256=" + "0" * 64}
        try:
            async with self._session.post(self.url, data=content, headers=headers) as answer:
                self.counts["forged_accepted" if answer.status == 200 else "forged_refused"] += 1
        except (aiohttp.ClientError, TimeoutError):
            self.counts["forged_unreachable"] += 1

    def signature(self, body: bytes) -> str:
        """X-Hub-Signature-256 over these very bytes."""
        return "sha256=" + hmac.new(self._secret, body, hashlib.sha256).hexdigest()


class _Maker:
    """Puts one body together: statuses of the same account and number share a change."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._statuses: dict[tuple[str, str], list[bytes]] = {}
        self._contacts: dict[tuple[str, str], dict[str, Any]] = {}
        self._metadata: dict[str, dict[str, str]] = {}
        self._changes: dict[str, list[Any]] = {}
        self._acknowledges: list[tuple[int, int]] = []
        self._updates: list[Update] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, what: Life | Update | Made, status: int, wall: float) -> int:
        """Add one update. Returns about how many bytes it takes."""
        if isinstance(what, Life):
            self._count += 1
            one = status_bytes(what, status, wall, self._looks)
            key = what.waba_id, what.number
            self._statuses.setdefault(key, []).append(one)
            self._metadata[what.number] = what.metadata
            self._acknowledges.append((what.row, status))
            if self._looks.user_ids and STATUSES[status] != "failed":
                wa_id, hidden = what.user.wa_id, self._looks.hides(what.user)
                contact = self._looks.contact(wa_id, what.portfolio_id, hidden=hidden)
                self._contacts.setdefault(key, {})[wa_id] = contact
            return len(one)
        update = what if isinstance(what, Update) else what()
        if update is None:
            return 0
        self._count += 1
        self._changes.setdefault(update.waba_id, []).append({"field": update.field, "value": update.value})
        self._updates.append(update)
        return 1024

    def body(self, shuffled: random.Random | None, noise: list[Any]) -> Body:
        """Return the POST. Unicode and slashes are escaped, as Meta does."""
        entries: list[bytes] = []
        for key, statuses in self._statuses.items():
            waba_id, number = key
            if shuffled is not None:
                shuffled.shuffle(statuses)
            value = {"messaging_product": "whatsapp", "metadata": self._metadata[number]}
            contacts = self._contacts.get(key)
            head = orjson.dumps(value if contacts is None else {**value, "contacts": list(contacts.values())})
            change = b'{"field":"messages","value":%b,"statuses":[%b]}}' % (head[:-1], b",".join(statuses))
            entries.append(b'{"id":"%b","changes":[%b]}' % (waba_id.encode(), change))
        for waba_id, changes in self._changes.items():
            entry: dict[str, Any] = {"id": waba_id, "changes": changes}
            if any(change["field"] not in ("messages", "user_preferences") for change in changes):
                entry["time"] = int(time.time())
            entries.append(orjson.dumps(entry))
        if noise:
            entries.append(orjson.dumps({"id": "0", "changes": noise}))
        content = escaped(b'{"object":"whatsapp_business_account","entry":[%b]}' % b",".join(entries))
        return Body(content, self._acknowledges, self._updates, self._count)


def escaped(body: bytes) -> bytes:
    """Write Unicode as \\uxxxx and slashes as \\/."""
    if not body.isascii():
        body = _NOT_ASCII.sub(_escape, body.decode()).encode()
    return body.replace(b"/", b"\\/")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
