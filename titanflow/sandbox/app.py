"""The sandbox's process: arguments, server, webhooks."""

import argparse
import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import Sequence

import uvloop
from aiohttp import web

from titanflow.sandbox.clock import Clock
from titanflow.sandbox.control import control_routes
from titanflow.sandbox.door import Chaos, Door, message_routes
from titanflow.sandbox.graph import management_routes
from titanflow.sandbox.graph_media import media_routes
from titanflow.sandbox.graph_templates import template_routes
from titanflow.sandbox.inbound import People
from titanflow.sandbox.ledger import GLANCE_S, Ledger
from titanflow.sandbox.listening import Listener
from titanflow.sandbox.media import LARGEST
from titanflow.sandbox.profiles import PROFILES
from titanflow.sandbox.state import Meta
from titanflow.sandbox.webhooks import Webhooks

_DESCRIPTION = """A local Meta for demos and tests: the Graph API below any /vNN.N, signed webhooks, a ledger of what it
accepted. What happens in it is set below /_sandbox while it runs: fault rules, portfolios with a messaging limit,
inbound messages, the life of templates, numbers and accounts, media, lists, webhooks, connections, time.
docs/sandbox.md tells it all."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or Ctrl-C. Returns the exit code; 1 if the port is taken."""
    parser = argparse.ArgumentParser(prog="titanflow sandbox", description=_DESCRIPTION)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one and prints it")
    parser.add_argument("--webhook-url", required=True, help="where webhooks are posted to")
    parser.add_argument("--app-secret", required=True, help="what webhooks are signed with")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="clean", help="a mixture of faults")
    parser.add_argument("--latency-ms", type=float, default=100.0, help="how long a message's answer takes")
    parser.add_argument("--speed", type=float, default=1.0, help="how much faster than people these are")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same people and faults")
    parser.add_argument("--json", action="store_true", help="print the address as JSON")
    options = parser.parse_args(argv)
    if not options.webhook_url.startswith(("http://", "https://")):
        parser.error("--webhook-url must begin with http:// or https://")
    return uvloop.run(_serve(options))


async def _serve(options: argparse.Namespace) -> int:
    profile, ledger, clock = PROFILES[options.profile], Ledger(), Clock()
    webhooks = Webhooks(
        options.webhook_url, options.app_secret, profile, ledger, clock, seed=options.seed, speed=options.speed
    )
    meta = Meta(ledger, webhooks, profile, options.seed, options.latency_ms / 1000, clock)
    people, chaos, loop = People(meta), Chaos(), asyncio.get_running_loop()
    app = web.Application(client_max_size=LARGEST + 2**20)
    app.add_routes(message_routes(meta))
    listener = Listener(options.port)
    app.add_routes(control_routes(meta, people, chaos, listener))
    app.add_routes([*template_routes(meta), *media_routes(meta), *management_routes(meta)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    server = runner.server
    assert server is not None
    try:
        await listener.open(lambda: Door(meta, chaos, server, loop))
    except OSError as error:
        print(f"Port {options.port} can't be used: {error.strerror}. Choose another with --port.", file=sys.stderr)
        return 1
    address = f"http://127.0.0.1:{listener.port}"
    print(json.dumps({"address": address}) if options.json else f"listening on {address}", flush=True)
    gc.freeze()
    gc.set_threshold(20_000, 20, 1000)  # a full collection walks all that lives: it would show as lag

    def glance() -> None:
        ledger.glances.glance(time.monotonic())
        loop.call_later(GLANCE_S, glance)

    glance()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    delivering = asyncio.create_task(webhooks.run())
    done, _ = await asyncio.wait({delivering, asyncio.create_task(stop.wait())}, return_when="FIRST_COMPLETED")
    if delivering in done:
        delivering.result()  # a bug in there ends the program with its traceback
    delivering.cancel()
    listener.close()
    chaos.drop_connections()
    await runner.cleanup()
    return 0
