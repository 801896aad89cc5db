"""The control API, below /_sandbox: set the stage, read the ledger. docs/sandbox.md lists it."""

import asyncio
from typing import Any

import orjson
from aiohttp import web

from titanflow.sandbox.graph import Meta, Number, answer
from titanflow.sandbox.profiles import PROFILES
from titanflow.sandbox.rules import BadRule, rule_of


def control_routes(meta: Meta) -> list[web.RouteDef]:
    """All paths below /_sandbox."""

    async def add_number(request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        made = Number(
            str(body["phone_number_id"]),
            str(body.get("waba_id", "900000001")),
            str(body.get("display_phone_number", "15550000001")),
            int(body.get("mps", 1000)),
        )
        meta.numbers[made.id] = made
        return answer({"phone_number_id": made.id}, 201)

    async def add_token(request: web.Request) -> web.StreamResponse:
        meta.tokens.add(str(orjson.loads(await request.read())["token"]))
        return answer({"tokens": len(meta.tokens)}, 201)

    async def set_template(request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        for one in meta.templates_of(str(body["waba_id"])).values():
            if one.name == body["name"]:
                one.status = str(body["status"])
        return answer({"ok": True})

    async def use_profile(request: web.Request) -> web.StreamResponse:
        name = str(orjson.loads(await request.read())["profile"])
        if name not in PROFILES:
            return answer({"error": f"unknown profile {name}; known: {', '.join(PROFILES)}"}, 422)
        meta.use(name)
        return answer({"profile": name})

    async def add_rule(request: web.Request) -> web.StreamResponse:
        try:
            rule = rule_of(orjson.loads(await request.read()))
        except BadRule as error:
            return answer({"error": str(error)}, 422)
        return answer(meta.rules.add(rule).as_json(), 201)

    async def list_rules(_: web.Request) -> web.StreamResponse:
        return answer({"rules": meta.rules.listed()})

    async def remove_rules(request: web.Request) -> web.StreamResponse:
        rule_id = request.match_info.get("id")
        return answer({"removed": meta.rules.remove(None if rule_id is None else int(rule_id))})

    async def inject(request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        meta.webhooks.schedule(0, str(body["waba_id"]), str(body.get("field", "messages")), body["value"])
        return answer({"ok": True}, 202)

    async def pause(request: web.Request) -> web.StreamResponse:
        meta.webhooks.paused = bool(orjson.loads(await request.read())["paused"])
        return answer({"paused": meta.webhooks.paused})

    async def summary(_: web.Request) -> web.StreamResponse:
        figures: dict[str, Any] = meta.ledger.summary()
        figures["webhooks"] = {"pending": meta.webhooks.pending, **meta.webhooks.counts}
        figures["worst_lag_ms"] = round(meta.webhooks.worst_lag_s * 1000, 1)
        return answer(figures)

    async def ledger(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for n, one in enumerate(meta.ledger.accepted):
            row = {
                "at": one.at,
                "number": one.number,
                "to": one.to,
                "template": one.template,
                "echo": one.echo,
                "wamid": one.wamid,
                "answered": one.answered,
                "acknowledged": sorted(meta.webhooks.acknowledged.get(one.wamid, ())),
            }
            await response.write(orjson.dumps(row) + b"\n")
            if n % 500 == 0:
                await asyncio.sleep(0)
        await response.write_eof()
        return response

    async def idle(request: web.Request) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(120.0, float(request.query.get("timeout", "30")))
        while meta.webhooks.pending and loop.time() < deadline:
            await asyncio.sleep(0.05)
        return answer({"pending": meta.webhooks.pending})

    return [
        web.post("/_sandbox/numbers", add_number),
        web.post("/_sandbox/tokens", add_token),
        web.post("/_sandbox/templates", set_template),
        web.post("/_sandbox/profile", use_profile),
        web.post("/_sandbox/rules", add_rule),
        web.get("/_sandbox/rules", list_rules),
        web.delete("/_sandbox/rules", remove_rules),
        web.delete(r"/_sandbox/rules/{id:\d+}", remove_rules),
        web.post("/_sandbox/inject", inject),
        web.post("/_sandbox/webhooks", pause),
        web.get("/_sandbox/summary", summary),
        web.get("/_sandbox/ledger", ledger),
        web.get("/_sandbox/idle", idle),
    ]
