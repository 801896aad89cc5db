"""Number <id>: the supervisor of one phone number on the node that holds its lease, and its dispatcher pools.

one_for_all: limiter and recorder belong to one incarnation, so a crash of either is a new one for both. A temporary
child of Numbers; the Reconciler adds the pools and starts a dead number again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from titanflow.actors.number.dispatcher import Dispatcher, PoolSpec
from titanflow.actors.number.rate_limiter import RateLimiter
from titanflow.actors.number.recorder import Recorder
from titanflow.actors.number.reply_sender import ReplySender
from titanflow.actors.number.reply_worker import ReplyWorker
from titanflow.actors.number.worker import Worker
from titanflow.meta.client import ANSWER_TIMEOUT_S, MetaClient
from titanflow.storage.database import Database
from titanflow.supervision import ChildSpec, DynamicSupervisor, Supervisor, via

# A worker that is stopped waits for its answer, then there is still the settlement.
_DRAIN_MS = int(ANSWER_TIMEOUT_S * 1000) + 5_000

_REPLY_WORKERS = 8


@dataclass(frozen=True, slots=True)
class NumberSpec:
    """What a number's tree needs to know. concurrency: requests in flight at most, over all campaigns."""

    number_id: int
    phone_number_id: str
    max_mps: int
    concurrency: int


def number_tree(
    db: Database, node_id: int, spec: NumberSpec, client: MetaClient, *, nudge: Callable[[], None]
) -> ChildSpec:
    """Return the child spec of a number's tree, without pools."""
    number_id = spec.number_id
    children = [
        ChildSpec(
            "rate_limiter",
            partial(RateLimiter, db, node_id, number_id, spec.phone_number_id, spec.max_mps, spec.concurrency),
            name=via("rate_limiter", number_id),
        ),
        ChildSpec("recorder", partial(Recorder, db, number_id, nudge), name=via("recorder", number_id)),
        ChildSpec("pools", DynamicSupervisor, type="supervisor", name=via("pools", number_id)),
        _replies(db, number_id, client),
    ]
    return ChildSpec(
        f"number {number_id}",
        lambda: Supervisor(children, strategy="one_for_all"),
        restart="temporary",
        type="supervisor",
        name=via("number", number_id),
    )


def _replies(db: Database, number_id: int, client: MetaClient) -> ChildSpec:
    """What sends the inbox's replies: one pool for the number. A crash in it is its own, not the campaigns'."""
    workers = [
        ChildSpec(
            f"worker {n}",
            partial(ReplyWorker, client, via("reply_sender", number_id), via("recorder", number_id)),
            shutdown_ms=_DRAIN_MS,
        )
        for n in range(_REPLY_WORKERS)
    ]
    children = [
        ChildSpec(
            "workers",
            lambda: Supervisor(workers, strategy="one_for_one", max_restarts=20, max_seconds=5),
            type="supervisor",
            name=via("reply_workers", number_id),
        ),
        ChildSpec(
            "reply_sender",
            partial(ReplySender, db, number_id, via("reply_workers", number_id)),
            name=via("reply_sender", number_id),
        ),
    ]
    return ChildSpec("replies", lambda: Supervisor(children, strategy="rest_for_one"), type="supervisor")


def pool_tree(
    db: Database, spec: PoolSpec, client: MetaClient, *, concurrency: int, nudge: Callable[[], None]
) -> ChildSpec:
    """Return the child spec of a dispatcher pool: one campaign on one number."""
    key = (spec.number_id, spec.campaign_id)
    workers = [
        ChildSpec(
            f"worker {n}",
            partial(Worker, client, via("dispatcher", *key), via("recorder", spec.number_id)),
            shutdown_ms=_DRAIN_MS,
        )
        for n in range(concurrency)
    ]
    children = [
        ChildSpec(
            "workers",
            lambda: Supervisor(workers, strategy="one_for_one", max_restarts=20, max_seconds=5),
            type="supervisor",
            name=via("workers", *key),
        ),
        ChildSpec(
            "dispatcher",
            partial(Dispatcher, db, spec, via("workers", *key), nudge),
            name=via("dispatcher", *key),
        ),
    ]
    return ChildSpec(
        f"pool {spec.campaign_id}",
        lambda: Supervisor(children, strategy="rest_for_one"),
        type="supervisor",
        name=via("pool", *key),
    )
