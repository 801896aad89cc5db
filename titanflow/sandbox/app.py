"""The sandbox's process: arguments, server, webhooks."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

import uvloop
from aiohttp import web

from titanflow.sandbox.control import control_routes
from titanflow.sandbox.graph import Meta, management_routes, messages_handler
from titanflow.sandbox.ledger import Ledger
from titanflow.sandbox.profiles import PROFILES
from titanflow.sandbox.webhooks import Webhooks


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or Ctrl-C. Returns the exit code; 1 if the port is taken."""
    parser = argparse.ArgumentParser(prog="titanflow sandbox", description="A local Meta for demos and tests.")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one and prints it")
    parser.add_argument("--webhook-url", required=True)
    parser.add_argument("--app-secret", required=True)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="clean")
    parser.add_argument("--latency-ms", type=float, default=100.0)
    parser.add_argument("--speed", type=float, default=1.0, help="how much faster than people these are")
    parser.add_argument("--seed", type=int, default=1)
    return uvloop.run(_serve(parser.parse_args(argv)))


async def _serve(options: argparse.Namespace) -> int:
    profile = PROFILES[options.profile]
    webhooks = Webhooks(options.webhook_url, options.app_secret, profile, seed=options.seed, speed=options.speed)
    meta = Meta(Ledger(), webhooks, profile, options.seed, options.latency_ms / 1000)
    app = web.Application(client_max_size=4 * 2**20)
    app.router.add_post(r"/{version:v\d+\.\d+}/{id}/messages", messages_handler(meta))
    app.add_routes(control_routes(meta))
    app.add_routes(management_routes(meta))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", options.port, backlog=1024)
    try:
        await site.start()
    except OSError as error:
        print(f"Port {options.port} can't be used: {error.strerror}. Choose another with --port.", file=sys.stderr)
        return 1
    port = runner.addresses[0][1]
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    delivering = asyncio.create_task(webhooks.run())
    done, _ = await asyncio.wait({delivering, asyncio.create_task(stop.wait())}, return_when="FIRST_COMPLETED")
    if delivering in done:
        delivering.result()  # a bug in there ends the program with its traceback
    delivering.cancel()
    await runner.shutdown()
    return 0
