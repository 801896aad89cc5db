"""The Dispatcher at a messaging limit: who needs no place goes on, the others wait with it, and nobody is lost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.builders import ACampaign, a_campaign, counts
from titanflow.actors.campaign.buffer_manager import BufferManager
from titanflow.actors.number import rate_limiter
from titanflow.actors.number.dispatcher import Dispatcher, PoolSpec
from titanflow.actors.number.rate_limiter import Limits, RateLimiter
from titanflow.actors.number.worker import Deliver, Ready
from titanflow.domain.outcomes import Accepted
from titanflow.storage import portfolios
from titanflow.storage.database import Database
from titanflow.supervision import (
    SHUTDOWN,
    Cast,
    ChildSpec,
    GenServer,
    NoReply,
    Stop,
    Supervisor,
    Via,
    cast,
    observe,
    start,
    stop,
    via,
)
from titanflow.supervision.testing import eventually

_ACCOUNT = "9001"


class _Worker(GenServer):
    """Meta takes everything at once. What is claimed stays claimed: nobody settles here."""

    def __init__(self, dispatcher: Via) -> None:
        self._dispatcher = dispatcher

    def handle_cast(self, message: Cast) -> NoReply | Stop | None:
        if isinstance(message, Deliver):
            cast(self._dispatcher, Ready(self.pid, Accepted("wamid")))
            return None
        return super().handle_cast(message)


@contextmanager
def _sending(db: Database, campaign: ACampaign) -> Iterator[Via]:
    """Run a campaign's buffer, its number's limiter and its pool, with workers of the test's own."""
    number_id, key = campaign.number_id, (campaign.number_id, campaign.id)
    dispatcher = via("dispatcher", *key)
    workers = [ChildSpec(f"worker {n}", lambda: _Worker(dispatcher)) for n in range(20)]
    children = [
        ChildSpec("buffer", lambda: BufferManager(db, campaign.id), name=via("buffer_manager", campaign.id)),
        ChildSpec(
            "limiter",
            lambda: RateLimiter(db, 1, number_id, "1001", 400, 200),
            name=via("rate_limiter", number_id),
        ),
        ChildSpec("workers", lambda: Supervisor(workers), type="supervisor", name=via("workers", *key)),
        ChildSpec(
            "dispatcher",
            lambda: Dispatcher(db, PoolSpec(campaign.id, number_id, "1001"), via("workers", *key), lambda: None),
            name=dispatcher,
        ),
    ]
    tree = start(Supervisor(children))
    rate_limiter.configure(number_id, Limits(400, {}, _ACCOUNT))
    try:
        yield dispatcher
    finally:
        stop(tree, SHUTDOWN, timeout_s=10)


def _state(dispatcher: Via) -> dict[str, str]:
    seen = observe(dispatcher)
    assert seen is not None
    return {key: str(value).strip("'") for key, value in seen.state.items()}


def test_people_who_need_no_place_go_on_and_the_others_wait_for_one(db: Database) -> None:
    """Forty of the hundred count already, scattered over the list; ten places are left."""
    campaign = a_campaign(db, contacts=100)
    portfolios.set_tier(db, _ACCOUNT, 50)
    counted = [phone for n, phone in enumerate(campaign.phones) if n % 5 > 2]
    with db.transaction() as transaction:
        transaction.execute(
            "INSERT INTO portfolio_people SELECT %s, phone, now() FROM unnest(%s::text[]) AS phone", [_ACCOUNT, counted]
        )
        transaction.execute("UPDATE portfolios SET used = %s", [len(counted)])

    with _sending(db, campaign) as dispatcher:
        eventually(lambda: counts(db, campaign.id).get("claimed") == 50, timeout_s=20)
        eventually(lambda: _state(dispatcher)["limited_by"] == "tier", timeout_s=20)
        apart = _state(dispatcher)["without_place"]
        with db.connection() as connection:
            missing = connection.execute(
                "SELECT count(*) FROM unnest(%s::text[]) AS phone WHERE phone NOT IN (SELECT contact.phone"
                " FROM message_logs AS message JOIN contacts AS contact ON contact.id = message.contact_id)",
                [counted],
            ).fetchone()
        portfolios.set_tier(db, _ACCOUNT, "TIER_1K")
        raised_at = time.monotonic()
        eventually(lambda: counts(db, campaign.id).get("claimed") == 100, timeout_s=20)
        went_on_after_s = time.monotonic() - raised_at

    assert missing == (0,)
    assert apart == "50"
    assert went_on_after_s < 5
    assert portfolios.drift(db) == {}


def test_a_limit_that_falls_away_lets_everybody_go(db: Database) -> None:
    campaign = a_campaign(db, contacts=30)
    portfolios.set_tier(db, _ACCOUNT, 10)

    with _sending(db, campaign):
        eventually(lambda: counts(db, campaign.id).get("claimed") == 10, timeout_s=20)
        portfolios.set_tier(db, _ACCOUNT, -1)
        rate_limiter.configure(campaign.number_id, Limits(400, {}, None))
        eventually(lambda: counts(db, campaign.id).get("claimed") == 30, timeout_s=20)
