"""Webhooks read once more: what was kept aside, or a file of them. The same parser and the same rows as at the door.

Statuses and messages count once however often they are replayed. A stop of a template counts until the list is read
again, within seconds, as it does when Meta sends it late.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from titanflow.domain.webhooks import WebhookBatch, again, merged, parse
from titanflow.storage import phone_numbers, quarantine
from titanflow.storage.database import Database
from titanflow.storage.webhook_batches import store

_SERVICES = 0  # the counters' shard of whoever is no node
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Replayed:
    """webhooks: bodies that were read. updates: what was in them. unreadable: updates that still can't be read."""

    webhooks: int
    updates: int
    unreadable: int


def replay(db: Database, bodies: Iterable[bytes]) -> Replayed:
    """Apply webhooks as if Meta sent them now. What can't be read is counted, not kept aside: the file has it.

    Raises StorageUnavailable: the earlier ones are applied, and it may be begun again.
    """
    webhooks = updates = unreadable = 0
    gathered: list[WebhookBatch] = []
    for body in bodies:
        batch = parse(body)
        webhooks, unreadable = webhooks + 1, unreadable + len(batch.quarantined)
        gathered.append(replace(batch, quarantined=()))
        if sum(map(len, gathered)) >= _AT_ONCE:
            updates += _store(db, gathered)
    return Replayed(webhooks, updates + _store(db, gathered), unreadable)


def replay_quarantine(db: Database) -> Replayed:
    """Read what is kept aside once more; what can be read is applied and no longer kept.

    Raises StorageUnavailable: the earlier ones are applied, and it may be begun again.
    """
    until, after = quarantine.newest_id(db), 0
    webhooks = updates = unreadable = 0
    ours = phone_numbers.all_ids(db)
    while rows := quarantine.between(db, after=after, until=until, limit=_AT_ONCE):
        readable: list[WebhookBatch] = []
        done: list[int] = []
        for row in rows:
            batch = again(row["body"])
            if batch.quarantined or any(message.phone_number_id not in ours for message in batch.messages):
                unreadable += 1
            else:
                readable.append(batch)
                done.append(row["id"])
        updates += _store(db, readable)
        quarantine.remove(db, done)
        webhooks, after = webhooks + len(rows), rows[-1]["id"]
    return Replayed(webhooks, updates, unreadable)


def _store(db: Database, gathered: list[WebhookBatch]) -> int:
    """Write and empty what was gathered. Returns how many updates."""
    batch = merged(gathered)
    gathered.clear()
    if len(batch):
        store(db, batch, node_id=_SERVICES)
    return len(batch)
