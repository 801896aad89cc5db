"""A failure that was parked until its message was known has the same consequences as one that came in time."""

from datetime import UTC, datetime

from tests.support.builders import a_campaign, a_sender, claimed
from titanflow.actors.node.doubt_resolver import DoubtResolver
from titanflow.actors.node.node import Node
from titanflow.actors.node.reported_failures import ReportedFailures
from titanflow.actors.node.webhook_ingestor import PARTITIONS, WebhookIngestor
from titanflow.meta.error_policy import RULES
from titanflow.storage import phone_numbers, statuses
from titanflow.storage.database import Database
from titanflow.storage.settlements import Settlement, settle
from titanflow.storage.statuses import StatusRow
from titanflow.supervision import ChildSpec, PartitionSupervisor, Supervisor, start, stop, via
from titanflow.supervision.testing import eventually


def test_a_parked_payment_failure_stops_the_account(db: Database) -> None:
    campaign = a_campaign(db, contacts=1)
    [one] = claimed(db, campaign, a_sender(db, campaign.number_id))
    assert one.log_id is not None
    with db.transaction() as transaction:  # without an echo, before its wamid is known
        statuses.apply(transaction, [StatusRow("wamid.X", "failed", datetime.now(UTC), error_code=131042)], node_id=1)
    settle(db, [Settlement(one.log_id, 1, "sent", wamid="wamid.X")], node_id=1)

    children = [
        ChildSpec("node", lambda: Node(db), name=via("node")),
        ChildSpec("reported_failures", lambda: ReportedFailures(db), name=via("reported_failures")),
        ChildSpec(
            "webhooks",
            lambda: PartitionSupervisor(lambda _: WebhookIngestor(db), PARTITIONS),
            type="supervisor",
            name=via("webhooks"),
        ),
        ChildSpec("doubt_resolver", lambda: DoubtResolver(db)),
    ]
    root = start(Supervisor(children))
    try:
        eventually(lambda: (phone_numbers.get(db, "1001") or {})["state"] == "blocked", timeout_s=30)
    finally:
        stop(root)

    number = phone_numbers.get(db, "1001")
    assert number is not None
    assert number["state_reason"] == RULES[131042].reason
