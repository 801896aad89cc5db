"""Campaign <id>: the supervisor of one running campaign on this node.

rest_for_one, as the later children live on what the earlier ones do. A temporary child of Campaigns: when it has
used up its restarts it dies alone, and the Reconciler starts it again, later each time.
"""

from collections.abc import Callable

from titanflow.actors.campaign.buffer_manager import BufferManager
from titanflow.actors.campaign.campaign_monitor import CampaignMonitor
from titanflow.actors.campaign.counter_syncer import CounterSyncer
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.supervision import ChildSpec, Supervisor, via


def campaign_tree(
    db: Database, fast_copy: FastCopy, campaign_id: int, *, node_id: int, on_completed: Callable[[], None]
) -> ChildSpec:
    """Return the child spec of a campaign's tree."""
    children = [
        ChildSpec("buffer_manager", lambda: BufferManager(db, campaign_id), name=via("buffer_manager", campaign_id)),
        ChildSpec(
            "counter_syncer",
            lambda: CounterSyncer(db, fast_copy, campaign_id, node_id),
            name=via("counter_syncer", campaign_id),
        ),
        ChildSpec("campaign_monitor", lambda: CampaignMonitor(db, campaign_id, on_completed)),
    ]
    return ChildSpec(
        f"campaign {campaign_id}",
        lambda: Supervisor(children, strategy="rest_for_one"),
        restart="temporary",
        type="supervisor",
        name=via("campaign", campaign_id),
    )
