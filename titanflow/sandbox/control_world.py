"""The part of the control API that sets the stage: portfolios, accounts, numbers, tokens, templates, people."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from titanflow.sandbox.errors import Refusal
from titanflow.sandbox.graph import Handler, answer
from titanflow.sandbox.graph_templates import change
from titanflow.sandbox.inbound import BadInbound, Habits, People, inbound_of
from titanflow.sandbox.limits import Portfolio, tier_name
from titanflow.sandbox.messages import release
from titanflow.sandbox.rules import BadRule
from titanflow.sandbox.state import Account, Meta, Number, Paging
from titanflow.sandbox.templates import Pacing, Template

Control = Callable[[dict[str, Any]], Awaitable[Any]]

_NUMBER = ("mps", "name", "quality", "status", "registered", "deleted", "name_status")
# What an account's events make of its messages: the code they meet at the door, None if they pass again.
_EVENTS: dict[str, int | None] = {
    "ACCOUNT_RESTRICTION": 368,
    "ACCOUNT_VIOLATION": None,
    "DISABLED_UPDATE": 131031,
    "ACCOUNT_DELETED": 131031,
    "ACCOUNT_OFFBOARDED": 200,
    "PARTNER_REMOVED": 200,
    "ACCOUNT_RECONNECTED": None,
    "REINSTATE": None,
}


def control_handler(control: Control) -> Handler:
    """A handler of JSON: what `control` returns, with 200 or the status beside it; 422 with words for a bad body."""

    async def run(request: web.Request) -> web.StreamResponse:
        try:
            body = orjson.loads(await request.read() or b"{}")
            if not isinstance(body, dict):
                raise BadRule("the body is a JSON object")
            made = await control(body)
        except KeyError as error:
            return answer({"error": f"{error.args[0]} is needed"}, 422)
        except (BadRule, BadInbound, Refusal, ValueError, TypeError) as error:
            return answer({"error": str(error)}, 422)
        return answer(*made) if isinstance(made, tuple) else answer(made)

    return run


def world_routes(meta: Meta, people: People) -> list[web.RouteDef]:
    """Paths about what exists."""

    async def portfolio(body: dict[str, Any]) -> Any:
        made = meta.portfolio(str(body["id"]))
        made.name = str(body.get("name", made.name))
        made.at_once = body.get("over_limit", "at_once" if made.at_once else "webhook") == "at_once"
        made.counting = True
        if "tier_limit" in body:
            limit = body["tier_limit"]
            made.tier_limit = None if limit is None else int(limit)
            if body.get("webhook"):
                _tell_tier(meta, made)
        for waba_id in body.get("waba_ids", ()):
            meta.account(str(waba_id)).portfolio = made
        return {"id": made.id, **made.as_json(meta.clock.now())}, 201

    async def account(body: dict[str, Any]) -> Any:
        one = meta.account(str(body["waba_id"]))
        one.name = str(body.get("name", one.name))
        one.subscribed = bool(body.get("subscribed", one.subscribed))
        if "portfolio_id" in body:
            one.portfolio = meta.portfolio(str(body["portfolio_id"]))
            one.portfolio.counting = True
        if "payment" in body:  # "ok", or "failed": accepted, then failed with 131042
            one.no_payment = body["payment"] == "failed"
        if "event" in body:
            _account_event(meta, one, body)
        return {"waba_id": one.id, "portfolio_id": one.portfolio.id, "refuse": one.refuse}, 201

    async def number(body: dict[str, Any]) -> Any:
        number_id = str(body["phone_number_id"])
        one = meta.numbers.get(number_id)
        if one is None:
            display = str(body.get("display_phone_number", "15550000001")).lstrip("+")
            one = meta.numbers[number_id] = Number(number_id, str(body.get("waba_id", "900000001")), display)
        one.waba_id = str(body.get("waba_id", one.waba_id))
        meta.account(one.waba_id)
        level = one.throughput
        for name in _NUMBER:
            if name in body:
                setattr(one, name, type(getattr(one, name))(body[name]))
        if "maintenance_s" in body:
            one.maintenance_until = meta.clock.now() + float(body["maintenance_s"])
        if "upgrade_in_s" in body:
            _upgrade(meta, one, float(body["upgrade_in_s"]))
        elif body.get("webhook"):
            upgraded = one.throughput == "HIGH" and level != "HIGH"
            event = str(body.get("event", "THROUGHPUT_UPGRADE" if upgraded else "FLAGGED"))
            _tell_number(meta, one, event)
        return {"phone_number_id": one.id}, 201

    async def add_token(body: dict[str, Any]) -> Any:
        expires_in_s = body.get("expires_in_s")
        token = str(body["token"])
        meta.expired_tokens.discard(token)
        meta.tokens[token] = None if expires_in_s is None else meta.clock.now() + float(expires_in_s)
        return {"tokens": len(meta.tokens)}, 201

    async def remove_token(request: web.Request) -> web.StreamResponse:
        token = request.match_info["token"]
        meta.tokens.pop(token, None)
        meta.expired_tokens.add(token)
        return answer({"tokens": len(meta.tokens)})

    async def template(body: dict[str, Any]) -> Any:
        one_account = meta.account(str(body["waba_id"]))
        name, language = str(body["name"]), body.get("language")
        found = [
            one for one in list(one_account.templates.values()) if one.name == name and language in (None, one.language)
        ]
        if not found and "components" in body:
            found = [_new_template(one_account, body)]
        if not found:
            raise BadRule(f"account {one_account.id} has no template {name}; give components to make one")
        released = 0
        for one in found:
            change(meta, one_account, one, body)
            if "pacing" in body:
                released += _pace(meta, one_account, one, body["pacing"])
        return {"templates": len(found), "released": released}

    async def paging(body: dict[str, Any]) -> Any:
        meta.paging = Paging(**body)
        return body

    async def inbound(body: dict[str, Any]) -> Any:
        update = inbound_of(people, meta, body)
        meta.webhooks.schedule(float(body.get("in_s", 0)), update)
        messages = update.value.get("messages", [{}])
        return {"id": messages[0].get("id")}, 202

    async def habits(body: dict[str, Any]) -> Any:
        people.use(Habits(**body))
        return body

    async def media(_: web.Request) -> web.StreamResponse:
        now = meta.clock.now()
        uploads = [{**one.as_json(now), "deleted": one.id in meta.media.deleted} for one in meta.media.uploads.values()]
        return answer({"uploads": uploads, "refused": meta.media.refused})

    async def expire_media(body: dict[str, Any]) -> Any:
        if "kept_s" in body:
            meta.media.kept_s = float(body["kept_s"])
        if "id" in body:
            meta.media.uploads[str(body["id"])].expires_at = meta.clock.now() + float(body.get("expires_in_s", 0))
        return {"kept_s": meta.media.kept_s}

    def post(path: str, control: Control) -> web.RouteDef:
        return web.post(f"/_sandbox/{path}", control_handler(control))

    return [
        post("portfolios", portfolio),
        post("accounts", account),
        post("numbers", number),
        post("tokens", add_token),
        web.delete("/_sandbox/tokens/{token}", remove_token),
        post("templates", template),
        post("paging", paging),
        post("inbound", inbound),
        post("people", habits),
        web.get("/_sandbox/media", media),
        post("media", expire_media),
    ]


def _tell_tier(meta: Meta, portfolio: Portfolio) -> None:
    """Say by webhook what a portfolio's limit is now, to each of its accounts."""
    limit = -1 if portfolio.tier_limit is None else portfolio.tier_limit
    for account in meta.accounts.values():
        if account.portfolio is portfolio:
            value = {"max_daily_conversations_per_business": limit, "max_phone_numbers_per_waba": 25}
            meta.webhooks.change(account.id, "business_capability_update", value)


def _tell_number(meta: Meta, number: Number, event: str) -> None:
    tier = tier_name(meta.account(number.waba_id).portfolio.tier_limit)
    value = {
        "display_phone_number": number.display,
        "event": event,
        "current_limit": tier,
        "max_daily_conversations_per_business": tier,
    }
    meta.webhooks.change(number.waba_id, "phone_number_quality_update", value)


def _upgrade(meta: Meta, number: Number, in_s: float) -> None:
    """Put a number into maintenance (131057); then it has a high throughput and says so by webhook."""
    number.maintenance_until = meta.clock.now() + in_s
    number.mps = 1000

    def upgraded() -> None:
        _tell_number(meta, number, "THROUGHPUT_UPGRADE")

    meta.webhooks.schedule(in_s, upgraded)


def _account_event(meta: Meta, account: Account, body: dict[str, Any]) -> None:
    """Let an account_update happen: {event, code?, expires_in_s?, webhook?}."""
    event = str(body["event"])
    if event not in _EVENTS:
        raise BadRule(f"event is one of {', '.join(_EVENTS)}")
    account.refuse = int(body["code"]) if "code" in body else _EVENTS[event]
    expires_in_s = body.get("expires_in_s")
    account.restricted_until = None if expires_in_s is None else meta.clock.now() + float(expires_in_s)
    if not body.get("webhook", True):
        return
    value: dict[str, Any] = {"event": "DISABLED_UPDATE" if event == "REINSTATE" else event}
    if event == "ACCOUNT_RESTRICTION":
        restriction: dict[str, Any] = {"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING"}
        if expires_in_s is not None:
            restriction["expiration"] = int(meta.clock.wall() + float(expires_in_s))
        value["restriction_info"] = [restriction]
    elif event in ("DISABLED_UPDATE", "REINSTATE"):
        value["ban_info"] = {"waba_ban_state": "REINSTATE" if event == "REINSTATE" else "DISABLE"}
    elif event == "ACCOUNT_VIOLATION":
        value["violation_info"] = {"violation_type": "SCAM"}
    meta.webhooks.change(account.id, "account_update", value)


def _new_template(account: Account, body: dict[str, Any]) -> Template:
    made = Template(
        id=str(body.get("id", f"{account.id}{50 + len(account.templates):03d}")),
        name=str(body["name"]),
        language=str(body.get("language", "en_US")),
        components=body["components"],
        category=str(body.get("category", "MARKETING")),
        parameter_format=str(body.get("parameter_format", "POSITIONAL")),
    )
    account.templates[made.name, made.language] = made
    return made


def _pace(meta: Meta, account: Account, template: Template, pacing: Any) -> int:
    """Start pacing ({"threshold": n}), or end it ("release", "drop"). Returns how many held messages that ended."""
    if pacing == "release":
        return release(meta, template, drop=False)
    if pacing == "drop":
        change(meta, account, template, {"status": "PAUSED", "webhook": True})
        return release(meta, template, drop=True)
    if not isinstance(pacing, dict):
        raise BadRule('pacing is {"threshold": n}, "release" or "drop"')
    template.pacing = Pacing(int(pacing["threshold"]))
    return 0
