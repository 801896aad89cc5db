"""gunicorn: one gevent worker is one node. The tree starts in the worker, after the fork, and stops with it."""

# First of all: psycopg, ssl and redis must find a patched standard library.
from titanflow.supervision.patch import patch_everything

patch_everything()

import logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

import structlog  # noqa: E402

from titanflow import application  # noqa: E402
from titanflow.errors import TitanFlowError  # noqa: E402
from titanflow.http import wsgi  # noqa: E402
from titanflow.http.app import create_app  # noqa: E402
from titanflow.http.context import Context  # noqa: E402
from titanflow.http.webhooks.door import Door  # noqa: E402
from titanflow.settings import load  # noqa: E402
from titanflow.supervision import (  # noqa: E402
    Watchdog,
    is_alive,
    log_every_start_and_end,
    print_hub_errors_to,
    sleep_ms,
    spawn_plain,
)
from titanflow.telemetry import logs, masking, metrics  # noqa: E402

try:
    settings = load()
except TitanFlowError as error:
    sys.exit(error.one_line())
masking.configure(phones=settings.log_phones == "masked", secrets=settings.secrets())

bind = settings.bind
workers = settings.web_concurrency
worker_class = "titanflow.http.worker.Worker"
worker_connections = 4000
wsgi_app = "titanflow.http.wsgi:app"
timeout = 30
graceful_timeout = 45
keepalive = 2
max_requests = 0
control_socket_disable = True
forwarded_allow_ips = settings.forwarded_allow_ips
accesslog = None
errorlog = "-"
logger_class = "titanflow.http.gunicorn_log.Logger"
loglevel = "warning"

_CANNOT_BOOT = 3  # gunicorn's own code for a worker that must not be started again
_TREE_DIED = 1  # any other code: gunicorn starts a new worker

log = structlog.get_logger()


def _adds_something(record: logging.LogRecord) -> bool:
    # The worker has said in one line why it can't start; the master's three lines about its exit code say no more.
    text = record.getMessage()
    return not text.startswith(("Shutting down: ", "Reason: Worker failed")) and "exited with code 3" not in text


logging.getLogger("gunicorn.error").addFilter(_adds_something)


def post_worker_init(worker: Any) -> None:
    """Start the tree in the worker. A fault in the set-up ends worker and master, with one line."""
    logs.set_up(settings.log_format, settings.log_level)
    print_hub_errors_to(masking.MaskingStream())
    try:
        running = application.start(settings)
    except TitanFlowError as error:
        print(error.one_line(), file=sys.stderr, flush=True)
        os._exit(_CANNOT_BOOT)
    log_every_start_and_end(settings.log_level == "debug")
    watchdog = Watchdog().start()  # names the actor that holds the hub, with its stack
    metrics.watch_hub(watchdog.quantile_ms)
    context = Context(settings, running.db, running.fast_copy, running.vault, running.root)
    door = Door(settings)
    wsgi.serve(create_app(context, door), door)

    def stop_with_the_worker() -> None:
        # worker_exit comes too late, or never while a connection is open: the tree stops as soon as it is known.
        while worker.alive:
            if not is_alive(running.root):  # it has used up its restarts; a server without a tree serves nobody
                log.critical("application.died", why="the tree has used up its restarts; the worker starts anew")
                os._exit(_TREE_DIED)
            sleep_ms(100)
        running.stop()

    spawn_plain(stop_with_the_worker)
