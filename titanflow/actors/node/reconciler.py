"""Reconciler: makes what runs on this node what should run, once a second and whenever somebody nudges.

One a process; child of Background (one_for_one, permanent). There is no other way to start a campaign: boot after
a crash is the same code as pressing start. It keeps no truth: what should run is in PostgreSQL, what runs is in
the registry. OTP model: gen_server.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from titanflow.actors.campaign.campaign import campaign_tree
from titanflow.actors.node import number_limits, send_windows
from titanflow.actors.node.node import node_id
from titanflow.actors.number import rate_limiter, reply_sender
from titanflow.actors.number.dispatcher import PoolSpec
from titanflow.actors.number.number import NumberSpec, number_tree, pool_tree
from titanflow.domain import placement
from titanflow.domain.vault import Vault
from titanflow.errors import ConfigurationError, StorageUnavailable
from titanflow.meta.client import MetaClient
from titanflow.storage import alarms, desired, leases, pauses
from titanflow.storage.alarms import Alarm
from titanflow.storage.database import Database
from titanflow.storage.desired import Desired, NumberConfig
from titanflow.storage.fast_copy import FastCopy
from titanflow.supervision import (
    CallExit,
    Cast,
    ChildError,
    GenServer,
    NoReply,
    Pid,
    StartError,
    Stop,
    Via,
    cast,
    start_child,
    start_task,
    terminate_child,
    via,
    whereis,
    which_children,
)

log = structlog.get_logger()

_EVERY_MS = 1_000
_LONGEST_BACKOFF_NS = 30_000_000_000
_ALARM_AFTER = 3
_SOUND_AFTER_NS = 60_000_000_000  # a tree that has run so long has got over its trouble


@dataclass(frozen=True, slots=True)
class MetaAccess:
    """How to reach Meta, and how many requests a number may have in flight."""

    graph_url: str
    api_version: str
    concurrency: int


@dataclass(frozen=True, slots=True)
class Nudge(Cast):
    """The desired state has changed."""


@dataclass(slots=True)
class _Trouble:
    """A tree that didn't start or died: when to try again."""

    count: int
    not_before_ns: int


@dataclass(frozen=True, slots=True)
class _Line:
    """A number's connection to Meta, and what it was made of."""

    ciphertext: bytes
    access_token: str
    client: MetaClient


class _Tick:
    """To self."""


class _Wake:
    """To self, once for many nudges."""


def nudge() -> None:
    """Say that the desired state has changed. Harmless where no node runs: somebody's next tick sees it."""
    cast(via("reconciler"), Nudge())


class Reconciler(GenServer):
    """Starts and stops the trees of numbers, campaigns and pools."""

    def __init__(self, db: Database, fast_copy: FastCopy, vault: Vault, meta: MetaAccess) -> None:
        self._db, self._fast_copy, self._vault, self._meta = db, fast_copy, vault, meta

    def init(self) -> None:
        """Look at once."""
        self._node_id = node_id()
        self._clients: dict[int, _Line] = {}
        self._unreadable: set[str] = set()
        self._trouble: dict[Via, _Trouble] = {}
        self._started: set[Via] = set()
        self._stopping: set[Pid] = set()
        self._pools: dict[tuple[int, int], PoolSpec] = {}  # by number and campaign
        self._campaigns: set[int] = set()
        self._numbers: set[int] = set()
        self._waking = False
        for supervisor in (via("campaigns"), via("numbers")):  # left by a reconciler that crashed: begin anew
            for child in which_children(supervisor):
                if isinstance(child.pid, Pid):
                    self._stop_pid(supervisor, child.pid)
        self.send_after(0, _Tick())

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        """Reconcile in a moment: many nudges at once make one round."""
        match message:
            case Nudge():
                if not self._waking:
                    self._waking = True
                    self.send_after(10, _Wake())
                return None
        return super().handle_cast(message)

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Reconcile."""
        match message:
            case _Tick():
                self.send_after(_EVERY_MS, _Tick())
            case _Wake():
                self._waking = False
            case _:
                return super().handle_info(message)
        try:
            self._reconcile(self._load())
        except StorageUnavailable as error:
            log.warning("desired_state.unknown", node=self._node_id, why=error.why)
        return None

    def observed_state(self) -> dict[str, object]:
        """For `observe()`."""
        return {
            "node_id": self._node_id,
            "numbers": sorted(self._numbers),
            "campaigns": sorted(self._campaigns),
            "in_trouble": [str(name) for name in self._trouble],
        }

    def _load(self) -> Desired:
        """What should run, after send windows have turned. Wakes up in time for one that turns before the next tick."""
        wanted = desired.load(self._db)
        for campaign_id in wanted.started:
            log.info("campaign.started", campaign_id=campaign_id, by="scheduler")
        if wanted.turns:
            soon = [turn.due_in_s for turn in wanted.turns if turn.due_in_s > 0]
            if soon:
                self.send_after(int(min(soon) * 1000) + 1, _Wake())
            if send_windows.turn(self._db, wanted.turns):
                wanted = desired.load(self._db)
        return wanted

    def _reconcile(self, wanted: Desired) -> None:
        node_ids = [node.id for node in leases.live_nodes(self._db)] if wanted.numbers else [self._node_id]
        mine = {
            number_id
            for number_id, number in wanted.numbers.items()
            if placement.home("number", number_id, node_ids) == self._node_id and number.state == "active"
        }
        pools = {
            (number_id, campaign.id): PoolSpec(campaign.id, number_id, wanted.numbers[number_id].phone_number_id)
            for campaign in wanted.campaigns.values()
            for number_id in campaign.number_ids
            if number_id in mine
        }
        campaigns = {campaign_id for _, campaign_id in pools} | {
            campaign_id
            for campaign_id in wanted.campaigns
            if placement.home("campaign", campaign_id, node_ids) == self._node_id
        }
        self._stop_what_should_not_run(pools, campaigns, mine)
        for campaign_id in sorted(campaigns):
            self._start_campaign(campaign_id)
        for number_id in sorted(mine):
            self._start_number(wanted.numbers[number_id])
        for number_id, limits in number_limits.of_numbers(wanted, self._numbers).items():
            rate_limiter.configure(number_id, limits)
        for _, pool in sorted(pools.items()):
            self._start_pool(pool)
        for number_id in sorted(mine):
            if wanted.numbers[number_id].replies_due:
                reply_sender.nudge(number_id)
        for brake in pauses.brakes(self._db, sorted(mine)) if mine else []:  # some were put on by other nodes
            rate_limiter.obey(brake)

    def _stop_what_should_not_run(
        self, pools: dict[tuple[int, int], PoolSpec], campaigns: set[int], numbers: set[int]
    ) -> None:
        for key, spec in sorted(self._pools.items()):
            if pools.get(key) != spec:
                self._stop_child(via("pools", key[0]), via("pool", *key))
                del self._pools[key]
        for campaign_id in sorted(self._campaigns - campaigns):
            self._stop_child(via("campaigns"), via("campaign", campaign_id))
            self._campaigns.discard(campaign_id)
        for number_id in sorted(self._numbers - numbers):
            self._stop_number(number_id)
            self._clients.pop(number_id, None)

    def _start_campaign(self, campaign_id: int) -> None:
        name = via("campaign", campaign_id)
        spec = campaign_tree(self._db, self._fast_copy, campaign_id, node_id=self._node_id, on_completed=nudge)
        if self._ensure(name, via("campaigns"), lambda: spec):
            self._campaigns.add(campaign_id)

    def _start_number(self, number: NumberConfig) -> None:
        client = self._client(number)
        if client is None:
            return
        spec = NumberSpec(number.id, number.phone_number_id, number.max_mps, self._meta.concurrency)
        if self._ensure(
            via("number", number.id),
            via("numbers"),
            lambda: number_tree(self._db, self._node_id, spec, client, nudge=nudge),
        ):
            self._numbers.add(number.id)

    def _start_pool(self, spec: PoolSpec) -> None:
        if spec.number_id not in self._numbers:
            return
        client = self._clients[spec.number_id].client
        if self._ensure(
            via("pool", spec.number_id, spec.campaign_id),
            via("pools", spec.number_id),
            lambda: pool_tree(self._db, spec, client, concurrency=self._meta.concurrency, nudge=nudge),
        ):
            self._pools[spec.number_id, spec.campaign_id] = spec

    def _client(self, number: NumberConfig) -> MetaClient | None:
        """The number's connection to Meta; a new one when its token has changed (its tree is stopped then).

        None if no key fits its token: that number stands still with an alarm, and the others go on.
        """
        known = self._clients.get(number.id)
        if known and known.ciphertext == number.access_token:
            return known.client
        try:
            access_token = self._vault.decrypt(number.access_token)
        except ConfigurationError as error:
            self._cant_read(number.phone_number_id, error)
            return None
        self._can_read(number.phone_number_id)
        if known and known.access_token == access_token:  # only encrypted anew, with another key
            self._clients[number.id] = replace(known, ciphertext=number.access_token)
            return known.client
        if known:
            self._stop_number(number.id)
        client = MetaClient(
            self._meta.graph_url,
            self._meta.api_version,
            number.phone_number_id,
            access_token,
            concurrency=self._meta.concurrency * 2,
        )
        self._clients[number.id] = _Line(number.access_token, access_token, client)
        return client

    def _cant_read(self, phone_number_id: str, error: ConfigurationError) -> None:
        if phone_number_id in self._unreadable:
            return
        self._unreadable.add(phone_number_id)
        log.error("number.token_unreadable", phone_number_id=phone_number_id, why=error.why)
        sentence = f"The access token of number {phone_number_id} can't be decrypted: {error.why}"
        self._alarm(Alarm("number_key", "number", phone_number_id, sentence, error.fix))

    def _can_read(self, phone_number_id: str) -> None:
        self._unreadable.discard(phone_number_id)
        try:
            alarms.clear_of(self._db, "number_key", phone_number_id, by="engine")
        except StorageUnavailable as error:  # an operator clears it
            log.warning("alarm.not_cleared", kind="number_key", why=error.why)

    def _ensure(self, name: Via, supervisor: Via, spec: Callable[[], object]) -> bool:
        """Start a tree unless it runs. Returns if it runs now. One that keeps dying is started later each time."""
        pid = whereis(name)
        now_ns = self.now_ns()
        trouble = self._trouble.get(name)
        if pid is not None:
            if trouble and now_ns > trouble.not_before_ns + _SOUND_AFTER_NS:
                self._forget_trouble(name)
            return pid not in self._stopping
        if name in self._started:  # it ran, and nobody stopped it: it has used up its restarts
            self._started.discard(name)
            trouble = self._troubled(name, now_ns)
        if trouble and now_ns < trouble.not_before_ns:
            return False
        try:
            start_child(supervisor, spec())  # type: ignore[arg-type]  # Callable[[], ChildSpec]
        except (StartError, CallExit) as error:  # CallExit: its supervisor is being restarted itself
            self._troubled(name, now_ns)
            log.warning("tree.not_started", name=str(name), reason=str(error.reason)[:300])
            return False
        self._started.add(name)
        return True

    def _troubled(self, name: Via, now_ns: int) -> _Trouble:
        count = self._trouble[name].count + 1 if name in self._trouble else 1
        trouble = _Trouble(count, now_ns + min(_LONGEST_BACKOFF_NS, 2 ** (count - 1) * 500_000_000))
        self._trouble[name] = trouble
        if count == _ALARM_AFTER:
            log.error("tree.keeps_dying", name=str(name), count=count)
        if count >= _ALARM_AFTER:
            sentence = f"A part of the server dies again and again: {name}"
            fix = "Read the log for its crash and report it."
            self._alarm(Alarm("tree_keeps_dying", "tree", str(name), sentence, fix))
        return trouble

    def _alarm(self, alarm: Alarm) -> None:
        try:
            with self._db.connection() as connection:
                alarms.raise_alarm(connection, alarm)
        except StorageUnavailable as error:
            log.warning("alarm.not_raised", kind=alarm.kind, why=error.why)

    def _forget_trouble(self, name: Via) -> None:
        trouble = self._trouble.pop(name, None)
        if trouble is None or trouble.count < _ALARM_AFTER:
            return
        try:
            alarms.clear_of(self._db, "tree_keeps_dying", str(name), by="engine")
        except StorageUnavailable as error:  # an operator clears it
            log.warning("alarm.not_cleared", kind="tree_keeps_dying", why=error.why)

    def _stop_number(self, number_id: int) -> None:
        self._stop_child(via("numbers"), via("number", number_id))
        self._numbers.discard(number_id)
        for key in [key for key in self._pools if key[0] == number_id]:
            del self._pools[key]

    def _stop_child(self, supervisor: Via, name: Via) -> None:
        self._started.discard(name)
        self._forget_trouble(name)
        pid = whereis(name)
        if pid is not None:
            self._stop_pid(supervisor, pid)

    def _stop_pid(self, supervisor: Via, pid: Pid) -> None:
        """Stop a tree in a task: draining takes as long as Meta's slowest answer."""
        if pid in self._stopping:
            return
        stopping = self._stopping
        stopping.add(pid)

        def stop_it() -> None:
            try:
                terminate_child(supervisor, pid)
            except (ChildError, CallExit):
                pass  # it, or its supervisor, has ended by itself meanwhile
            finally:
                stopping.discard(pid)
                nudge()

        start_task(via("tasks"), stop_it)
