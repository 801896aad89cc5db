"""The supervision tree, top to bottom as it starts. Only wiring; docs/architecture.md draws it."""

from dataclasses import dataclass
from functools import partial

import structlog

from titanflow.actors.node.alarm_keeper import AlarmKeeper
from titanflow.actors.node.doubt_resolver import DoubtResolver
from titanflow.actors.node.event_hub import EventHub
from titanflow.actors.node.event_listener import EventListener
from titanflow.actors.node.importer import Importer
from titanflow.actors.node.janitor import Janitor
from titanflow.actors.node.janitor import steps as janitor_steps
from titanflow.actors.node.meta_sync import MetaQuestions, MetaSync
from titanflow.actors.node.node import Node
from titanflow.actors.node.nudge_listener import NudgeListener
from titanflow.actors.node.portfolio_keeper import PortfolioKeeper
from titanflow.actors.node.reconciler import MetaAccess, Reconciler
from titanflow.actors.node.rehearser import Rehearser
from titanflow.actors.node.reported_failures import ReportedFailures
from titanflow.actors.node.webhook_ingestor import PARTITIONS, WebhookIngestor
from titanflow.actors.number.media_downloader import MediaDownloader
from titanflow.actors.number.media_uploader import MediaUploader
from titanflow.domain.vault import Vault
from titanflow.errors import TitanFlowError
from titanflow.settings import Settings
from titanflow.storage import migrations
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.supervision import (
    SHUTDOWN,
    ChildSpec,
    Crash,
    DynamicSupervisor,
    PartitionSupervisor,
    Pid,
    Shutdown,
    StartError,
    Supervisor,
    TaskSupervisor,
    stop,
    via,
)
from titanflow.supervision import start as start_server

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Application:
    """A running tree, and what HTTP needs beside it. db: for web requests; the actors have a pool of their own."""

    root: Pid
    settings: Settings
    db: Database
    fast_copy: FastCopy
    vault: Vault
    engine_db: Database

    def stop(self, timeout_s: float = 40.0) -> None:
        """Stop the tree in reverse order: senders drain and settle, leases are given up, connections closed."""
        stop(self.root, reason=SHUTDOWN, timeout_s=timeout_s)
        self.engine_db.close()
        self.db.close()
        self.fast_copy.close()
        log.info("application.stopped")


def start(settings: Settings) -> Application:
    """Start the tree of this process.

    Raises ConfigurationError if something is not set or the schema doesn't fit, StorageUnavailable if PostgreSQL or
    Redis is away or goes away meanwhile, StartError if an actor doesn't start for another reason.
    """
    settings.require_server()
    migrations.migrate(settings.require_database())
    fast_copy = FastCopy(settings.require_redis())
    fast_copy.ping()
    vault = Vault(settings.require_secret_keys())
    web_connections = max(1, settings.pool_size // 4)
    db = Database(settings.require_database(), pool_size=web_connections)
    engine_db = Database(settings.require_database(), pool_size=max(2, settings.pool_size - web_connections))
    try:
        root = start_server(_root(settings, engine_db, fast_copy, vault), name=via("application"))
    except StartError as error:
        why = _exception_in(error.reason)
        if isinstance(why, TitanFlowError):
            raise why from None
        raise
    log.info("application.started", bind=settings.bind)
    return Application(root, settings, db, fast_copy, vault, engine_db)


def _exception_in(reason: object) -> BaseException | None:
    """What a child's `init` raised, however deep in the tree."""
    match reason:
        case Shutdown(("failed_to_start_child", _, inner)):
            return _exception_in(inner)
        case Crash():
            return reason.exception
    return None


def _root(settings: Settings, db: Database, fast_copy: FastCopy, vault: Vault) -> Supervisor:
    meta = MetaAccess(settings.meta_graph_url, settings.meta_api_version, settings.pipeline_concurrency)
    questions = MetaQuestions(db, vault, settings.meta_graph_url, settings.meta_api_version)
    webhook_folder, webhook_days = settings.data_dir / "webhooks", settings.webhook_retention_days
    forgotten = janitor_steps(db, webhook_folder=webhook_folder, webhook_days=webhook_days)
    background = [
        ChildSpec("reconciler", partial(Reconciler, db, fast_copy, vault, meta), name=via("reconciler")),
        ChildSpec("nudge_listener", partial(NudgeListener, fast_copy)),
        ChildSpec("doubt_resolver", partial(DoubtResolver, db)),
        ChildSpec("portfolio_keeper", partial(PortfolioKeeper, db)),
        ChildSpec("template_sync", partial(MetaSync, db, questions, "templates"), name=via("template_sync")),
        ChildSpec("number_sync", partial(MetaSync, db, questions, "number"), name=via("number_sync")),
        ChildSpec(
            "media_uploader",
            partial(MediaUploader, db, vault, settings.meta_graph_url, settings.meta_api_version),
            name=via("media_uploader"),
        ),
        ChildSpec(
            "media_downloader",
            partial(MediaDownloader, db, vault, settings.meta_graph_url, settings.meta_api_version),
            name=via("media_downloader"),
        ),
        ChildSpec("importer", partial(Importer, settings, db), name=via("importer")),
        ChildSpec("rehearser", partial(Rehearser, settings, db), name=via("rehearser")),
        ChildSpec("alarm_keeper", partial(AlarmKeeper, db, fast_copy)),
        ChildSpec("janitor", partial(Janitor, forgotten), name=via("janitor")),
    ]
    events = [
        ChildSpec("event_hub", EventHub, name=via("event_hub")),
        ChildSpec("event_listener", partial(EventListener, fast_copy)),
    ]
    return Supervisor(
        [
            ChildSpec("tasks", TaskSupervisor, type="supervisor", name=via("tasks")),
            ChildSpec("node", partial(Node, db), name=via("node")),
            ChildSpec("reported_failures", partial(ReportedFailures, db), name=via("reported_failures")),
            ChildSpec(
                "webhooks",
                lambda: PartitionSupervisor(
                    lambda n: WebhookIngestor(db, webhook_folder if webhook_days else None, n), PARTITIONS
                ),
                type="supervisor",
                name=via("webhooks"),
            ),
            ChildSpec("numbers", DynamicSupervisor, type="supervisor", name=via("numbers")),
            ChildSpec("campaigns", DynamicSupervisor, type="supervisor", name=via("campaigns")),
            ChildSpec("background", lambda: Supervisor(background), type="supervisor"),
            # The last to start is the first to stop: streams that are open must not hold up the rest.
            ChildSpec("events", lambda: Supervisor(events, strategy="rest_for_one"), type="supervisor"),
        ],
        strategy="rest_for_one",
    )
