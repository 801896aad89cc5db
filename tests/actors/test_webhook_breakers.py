"""Breakers fed by webhooks: the same failure for many people in a row, whatever else the same batch reports."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest

from tests.support.builders import ACampaign, a_campaign, a_sender, claimed
from titanflow.actors.node.node import Node
from titanflow.actors.node.reported_failures import ReportedFailures
from titanflow.actors.node.webhook_ingestor import PARTITIONS, WebhookIngestor, ingest
from titanflow.domain.webhooks import Status, StatusUpdate, WebhookBatch
from titanflow.meta.error_policy import RULES
from titanflow.storage import campaigns
from titanflow.storage.claims import Claim
from titanflow.storage.database import Database
from titanflow.storage.settlements import Settlement, settle
from titanflow.supervision import ChildSpec, PartitionSupervisor, Supervisor, start, stop, via
from titanflow.supervision.testing import eventually

_CODE = 132000
_IN_A_ROW = RULES[_CODE].breaker
_AT = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.fixture(params=[PARTITIONS])
def webhooks(db: Database, request: pytest.FixtureRequest) -> Iterator[None]:
    """The ingestors of a node, without the rest of its tree; so many as the test asks for."""
    children = [
        ChildSpec("node", lambda: Node(db), name=via("node")),
        ChildSpec("reported_failures", lambda: ReportedFailures(db), name=via("reported_failures")),
        ChildSpec(
            "webhooks",
            lambda: PartitionSupervisor(lambda _: WebhookIngestor(db), request.param),
            type="supervisor",
            name=via("webhooks"),
        ),
    ]
    root = start(Supervisor(children))
    yield
    stop(root)


def _sent(db: Database, contacts: int, *, first_phone: int = 491510000000) -> tuple[ACampaign, list[Claim]]:
    campaign = a_campaign(db, contacts=contacts, first_phone=first_phone)
    claims = claimed(db, campaign, a_sender(db, campaign.number_id))
    settle(db, [Settlement(_id(one), 1, "sent", wamid=f"w{one.log_id}") for one in claims], node_id=1)
    return campaign, claims


def _id(claim: Claim) -> int:
    assert claim.log_id is not None
    return claim.log_id


def _report(claims: Sequence[Claim], status: Status) -> tuple[StatusUpdate, ...]:
    code = _CODE if status == "failed" else None
    return tuple(StatusUpdate(f"w{one.log_id}", status, _AT, _id(one), 1, code, None) for one in claims)


def _state(db: Database, campaign: ACampaign) -> str:
    found = campaigns.get(db, campaign.id)
    assert found is not None
    return str(found["state"])


def _all_judged(db: Database) -> None:
    """Let another campaign have a run of failures and wait for its pause: one ingestor judges in the order it heard."""
    other, claims = _sent(db, _IN_A_ROW, first_phone=491520000000)
    ingest(WebhookBatch(statuses=_report(claims, "failed")))
    eventually(lambda: _state(db, other) == "paused")


def test_a_run_of_failures_is_seen_beside_deliveries(db: Database, webhooks: None) -> None:
    """At full speed every batch also reports deliveries of those who were sent to seconds before."""
    campaign, claims = _sent(db, 2 * _IN_A_ROW)
    before, after = claims[:_IN_A_ROW], claims[_IN_A_ROW:]

    for early, late in zip(before, after, strict=True):
        ingest(WebhookBatch(statuses=_report([early], "delivered") + _report([late], "failed")))

    eventually(lambda: _state(db, campaign) == "paused")


def test_a_run_of_failures_is_seen_in_whatever_order_they_come(db: Database, webhooks: None) -> None:
    """A gap that is filled later is no longer a gap."""
    campaign, claims = _sent(db, 2 * _IN_A_ROW)
    run = claims[: _IN_A_ROW + _IN_A_ROW // 2]

    for late in [*run[1::2], *run[::2]]:
        ingest(WebhookBatch(statuses=_report([late], "failed")))

    eventually(lambda: _state(db, campaign) == "paused")


@pytest.mark.parametrize("webhooks", [1], indirect=True)
def test_scattered_failures_are_those_of_people(db: Database, webhooks: None) -> None:
    """As many failures, none next to another one: nothing is wrong with the campaign."""
    campaign, claims = _sent(db, 6 * _IN_A_ROW)

    ingest(WebhookBatch(statuses=_report(claims[::2], "failed")))  # first: the others may be slower
    ingest(WebhookBatch(statuses=_report(claims[1::2], "delivered")))
    _all_judged(db)

    assert _state(db, campaign) == "running"


@pytest.mark.parametrize("webhooks", [1], indirect=True)
def test_a_resumed_campaign_begins_anew(db: Database, webhooks: None) -> None:
    """What was claimed before the operator mended it says nothing about what is claimed now."""
    campaign, claims = _sent(db, 3 * _IN_A_ROW)
    ingest(WebhookBatch(statuses=_report(claims[:_IN_A_ROW], "failed")))
    eventually(lambda: _state(db, campaign) == "paused")
    with db.connection() as connection:
        connection.execute(
            "UPDATE campaigns SET state = 'running', state_by = 'operator', updated_at = now() WHERE id = %s",
            [campaign.id],
        )

    for one in claims[_IN_A_ROW : 2 * _IN_A_ROW]:  # on their way when it was paused
        ingest(WebhookBatch(statuses=_report([one], "failed")))
    _all_judged(db)

    assert _state(db, campaign) == "running"
