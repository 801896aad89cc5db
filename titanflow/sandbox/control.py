"""The control API, below /_sandbox: faults, webhooks, time, and what the ledger says. docs/sandbox.md lists it."""

import asyncio
from typing import Any

import orjson
from aiohttp import web

from titanflow.sandbox.control_world import Control, control_handler, world_routes
from titanflow.sandbox.door import Chaos
from titanflow.sandbox.graph import answer
from titanflow.sandbox.inbound import People
from titanflow.sandbox.limits import PAIR_MODES
from titanflow.sandbox.listening import Listener
from titanflow.sandbox.lives import VERSIONS
from titanflow.sandbox.profiles import PROFILES
from titanflow.sandbox.rules import BadRule, rule_of
from titanflow.sandbox.state import Meta

_SLICE = 200


def control_routes(meta: Meta, people: People, chaos: Chaos, listener: Listener) -> list[web.RouteDef]:
    """All paths below /_sandbox."""

    async def add_rule(body: dict[str, Any]) -> Any:
        return meta.rules.add(rule_of(body)).as_json(), 201

    async def list_rules(_: web.Request) -> web.StreamResponse:
        return answer({"rules": meta.rules.listed()})

    async def remove_rules(request: web.Request) -> web.StreamResponse:
        rule_id = request.match_info.get("id")
        return answer({"removed": meta.rules.remove(None if rule_id is None else int(rule_id))})

    async def use_profile(body: dict[str, Any]) -> Any:
        name = str(body["profile"])
        if name not in PROFILES:
            raise BadRule(f"unknown profile {name}; known: {', '.join(PROFILES)}")
        meta.use(name)
        return {"profile": name}

    async def limits(body: dict[str, Any]) -> Any:
        mode = str(body["pair"])
        if mode not in PAIR_MODES:
            raise BadRule(f"pair is one of {', '.join(PAIR_MODES)}")
        meta.pair_mode = mode
        return {"pair": mode}

    async def inject(body: dict[str, Any]) -> Any:
        field, value = str(body.get("field", "messages")), body["value"]
        meta.webhooks.change(str(body["waba_id"]), field, value)
        people.seen_in(value)
        return {"ok": True}, 202

    async def webhooks(body: dict[str, Any]) -> Any:
        hooks = meta.webhooks
        version = str(body.get("version", hooks.looks.version))
        if version not in VERSIONS:
            raise BadRule(f"version is one of {', '.join(VERSIONS)}")
        hooks.looks.version = version
        hooks.paused = bool(body.get("paused", hooks.paused))
        hooks.batch = max(1, min(1000, int(body.get("batch", hooks.batch))))
        hooks.concurrent = max(1, int(body.get("concurrent", hooks.concurrent)))
        hooks.looks.user_ids = bool(body.get("user_ids", hooks.looks.user_ids))
        hooks.looks.hidden = float(body.get("hidden", hooks.looks.hidden))
        looks = {"version": version, "user_ids": hooks.looks.user_ids, "hidden": hooks.looks.hidden}
        return {"paused": hooks.paused, "batch": hooks.batch, "concurrent": hooks.concurrent, **looks}

    async def replay(body: dict[str, Any]) -> Any:
        return {"bodies": meta.webhooks.replay(int(body.get("count", 1)), int(body.get("times", 1)))}, 202

    async def clock(body: dict[str, Any]) -> Any:
        meta.clock.ahead_s += max(0.0, float(body["advance_s"]))
        return {"ahead_s": meta.clock.ahead_s}

    async def break_connections(body: dict[str, Any]) -> Any:
        chaos.reset_unread = int(body.get("reset_unread", chaos.reset_unread))
        chaos.close_every = int(body.get("close_every", chaos.close_every))
        chaos.close_idle_s = float(body.get("close_idle_s", chaos.close_idle_s))
        loop = asyncio.get_running_loop()
        if "refuse_s" in body:
            loop.call_later(0.05, listener.refuse, float(body["refuse_s"]))  # after this answer
        if body.get("drop_connections") or "refuse_s" in body:
            loop.call_later(0.05, chaos.drop_connections)
        return chaos.as_json()

    async def summary(_: web.Request) -> web.StreamResponse:
        figures: dict[str, Any] = meta.ledger.summary()
        figures["webhooks"] = {"pending": meta.webhooks.pending, **meta.webhooks.counts}
        now = meta.clock.now()
        figures["portfolios"] = {one.id: one.as_json(now) for one in meta.portfolios.values()}
        figures["inbound"] = {"messages": people.inbound, "stops": people.stops}
        figures["media"] = {"uploads": len(meta.media.uploads), "refused": meta.media.refused}
        figures["connections"] = chaos.as_json()
        return answer(figures)

    async def ledger(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        lines: list[bytes] = []
        for row in meta.ledger.rows(meta.wamid):
            lines.append(orjson.dumps(row))
            if len(lines) == _SLICE:
                await response.write(b"\n".join(lines) + b"\n")
                lines.clear()
                await asyncio.sleep(0)
        if lines:
            await response.write(b"\n".join(lines) + b"\n")
        await response.write_eof()
        return response

    async def idle(request: web.Request) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(120.0, float(request.query.get("timeout", "30")))
        while meta.webhooks.pending and loop.time() < deadline:
            await asyncio.sleep(0.05)
        return answer({"pending": meta.webhooks.pending})

    def post(path: str, control: Control) -> web.RouteDef:
        return web.post(f"/_sandbox/{path}", control_handler(control))

    return [
        post("rules", add_rule),
        web.get("/_sandbox/rules", list_rules),
        web.delete("/_sandbox/rules", remove_rules),
        web.delete(r"/_sandbox/rules/{id:\d+}", remove_rules),
        post("profile", use_profile),
        post("limits", limits),
        post("inject", inject),
        post("webhooks", webhooks),
        post("webhooks/replay", replay),
        post("clock", clock),
        post("connections", break_connections),
        web.get("/_sandbox/summary", summary),
        web.get("/_sandbox/ledger", ledger),
        web.get("/_sandbox/idle", idle),
        *world_routes(meta, people),
    ]
