"""A number whose lease has run out takes it anew by itself, whenever it ran out; a late word hits no successor."""

from collections.abc import Iterator

import pytest

from tests.support.builders import a_number
from titanflow.actors.node.node import Node, node_id
from titanflow.actors.number import rate_limiter
from titanflow.actors.number.rate_limiter import Limits, RateLimiter
from titanflow.storage.database import Database
from titanflow.storage.leases import RENEW_EVERY_S
from titanflow.supervision import KILL, ChildSpec, Supervisor, exit_process, start, via, whereis
from titanflow.supervision.clock import VirtualClock
from titanflow.supervision.testing import eventually, no_leaked_actors, virtual_clock


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with no_leaked_actors(), virtual_clock() as clock:
        yield clock


@pytest.fixture
def number_id(db: Database, clock: VirtualClock) -> Iterator[int]:
    """A number served by a node, its limiter permanent."""
    number_id = a_number(db)

    def limiter() -> RateLimiter:
        return RateLimiter(db, node_id(), number_id, "1001", 80, 200)

    children = [
        ChildSpec("node", lambda: Node(db), name=via("node")),
        ChildSpec("limiter", limiter, name=via("rate_limiter", number_id)),
    ]
    pid = start(Supervisor(children, strategy="one_for_one"))
    clock.settle()
    yield number_id
    exit_process(pid, KILL)
    clock.settle()


def _run_out(db: Database) -> None:
    with db.connection() as connection:
        connection.execute("UPDATE leases SET expires_at = now() - interval '1 second'")


def _epoch(db: Database) -> int:
    """Of the lease, 0 while nobody holds it."""
    with db.connection() as connection:
        row = connection.execute("SELECT epoch FROM leases WHERE expires_at > now()").fetchone()
    return int(row[0]) if row else 0


@pytest.mark.parametrize("renewals_before", [0, 1, 3])
def test_a_lease_that_ran_out_is_taken_anew(
    db: Database, clock: VirtualClock, number_id: int, renewals_before: int
) -> None:
    """Also one that was never renewed: a process that freezes right after the start of a campaign."""
    clock.advance(renewals_before * RENEW_EVERY_S * 1000)
    before = _epoch(db)
    _run_out(db)

    clock.advance(RENEW_EVERY_S * 1000)
    eventually(lambda: _epoch(db) > before, timeout_s=20)

    rate_limiter.configure(number_id, Limits(80, {}, None))
    clock.advance(2000)
    grant = rate_limiter.take_permits(number_id, 1, 5, used=0, in_flight=0)
    assert grant.count > 0
    assert grant.sender.epoch == _epoch(db)


def test_a_late_word_of_a_lost_lease_leaves_the_successor_alone(
    db: Database, clock: VirtualClock, number_id: int
) -> None:
    limiter = whereis(via("rate_limiter", number_id))

    rate_limiter.lease_lost(number_id, _epoch(db) - 1)
    clock.settle()

    assert whereis(via("rate_limiter", number_id)) is limiter
