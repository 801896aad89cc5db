"""Nodes and leases: which process serves a phone number, and proof that an earlier one no longer does.

A lease's epoch is an incarnation: taken anew by each sender that starts, checked inside every claim. Times are
PostgreSQL's; a node trusts its lease only by its own monotonic clock, from before it asked (design: section 5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg.rows import class_row

from titanflow.storage.database import Database

LEASE_S = 10.0
RENEW_EVERY_S = 3.0

Kind = Literal["number", "campaign"]


@dataclass(frozen=True, slots=True)
class Lease:
    """One lease this node holds."""

    kind: Kind
    resource_id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Node:
    """A server process that counts as alive. process: see actors/node/identity.py."""

    id: int
    host: str
    pid: int
    process: str


def register(db: Database, *, host: str, pid: int, process: str, version: str) -> int:
    """Enter this process as a node. Returns its id, an incarnation that was never used before."""
    with db.connection() as connection:
        row = connection.execute(
            "INSERT INTO nodes (id, host, pid, process, version, expires_at)"
            " VALUES (nextval('incarnations'), %s, %s, %s, %s, now() + make_interval(secs => %s)) RETURNING id",
            [host, pid, process, version, LEASE_S],
        ).fetchone()
    assert row is not None
    return int(row[0])


_RENEW = """
    WITH alive AS (
        UPDATE nodes SET expires_at = now() + make_interval(secs => %(lease_s)s)
        WHERE id = %(node_id)s AND stopped_at IS NULL
        RETURNING id
    )
    UPDATE leases SET expires_at = now() + make_interval(secs => %(lease_s)s)
    FROM alive WHERE leases.node_id = alive.id AND leases.expires_at > now()
    RETURNING kind, resource_id, epoch
"""


def renew(db: Database, node_id: int) -> list[Lease]:
    """Prolong this node's life and all its leases. Returns those it still holds; others are lost for good."""
    with db.connection() as connection, connection.cursor(row_factory=class_row(Lease)) as cursor:
        return cursor.execute(_RENEW, {"node_id": node_id, "lease_s": LEASE_S}).fetchall()


_TAKE = """
    INSERT INTO leases AS lease (kind, resource_id, node_id, epoch, expires_at)
    VALUES (%(kind)s, %(resource_id)s, %(node_id)s, nextval('incarnations'),
            now() + make_interval(secs => %(lease_s)s))
    ON CONFLICT (kind, resource_id) DO UPDATE
    SET node_id = EXCLUDED.node_id, epoch = EXCLUDED.epoch, expires_at = EXCLUDED.expires_at
    WHERE lease.node_id = EXCLUDED.node_id OR lease.expires_at <= clock_timestamp()
    RETURNING epoch
"""


def take(db: Database, kind: Kind, resource_id: int, *, node_id: int) -> int | None:
    """Take a free lease, or one's own again with a new epoch. Returns the epoch; None if another node holds it.

    Waits for a claim of the former sender that is under way: after this no claim of an earlier epoch can commit.
    """
    parameters = {"kind": kind, "resource_id": resource_id, "node_id": node_id, "lease_s": LEASE_S}
    with db.connection() as connection:
        row = connection.execute(_TAKE, parameters).fetchone()
    return int(row[0]) if row else None


def release(db: Database, kind: Kind, resource_id: int, *, node_id: int, epoch: int) -> None:
    """Give a lease up, if it is still this one."""
    with db.connection() as connection:
        connection.execute(
            "UPDATE leases SET expires_at = now() WHERE kind = %s AND resource_id = %s AND node_id = %s AND epoch = %s",
            [kind, resource_id, node_id, epoch],
        )


def live_nodes(db: Database) -> list[Node]:
    """Return the nodes whose heartbeat is not overdue, oldest first."""
    with db.connection() as connection, connection.cursor(row_factory=class_row(Node)) as cursor:
        return cursor.execute(
            "SELECT id, host, pid, process FROM nodes WHERE stopped_at IS NULL AND expires_at > now() ORDER BY id"
        ).fetchall()


def bury(db: Database, node_ids: Sequence[int]) -> None:
    """End nodes that have stopped or are proven dead: their leases are free at once."""
    with db.transaction() as transaction:
        transaction.execute(
            "UPDATE nodes SET stopped_at = now(), expires_at = least(expires_at, now())"
            " WHERE id = ANY(%s) AND stopped_at IS NULL",
            [list(node_ids)],
        )
        transaction.execute(
            "UPDATE leases SET expires_at = now() WHERE node_id = ANY(%s) AND expires_at > now()", [list(node_ids)]
        )
