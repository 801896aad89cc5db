"""The Graph API of the sandbox beside messages: accounts, numbers, tokens."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from titanflow.sandbox.errors import Refusal
from titanflow.sandbox.limits import tier_name
from titanflow.sandbox.media import URL_S
from titanflow.sandbox.state import Account, Meta, Number, unknown_object

VERSION = r"/{version:v\d+\.\d+}"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_APP = "670843887433847"
_ALWAYS = {"id"}
_NUMBER_DEFAULT = ("id", "verified_name", "code_verification_status", "display_phone_number", "quality_rating",
                   "platform_type", "throughput", "status", "name_status", "account_mode",
                   "whatsapp_business_manager_messaging_limit")  # fmt: skip
_ACCOUNT_DEFAULT = ("id", "name", "currency", "timezone_id", "message_template_namespace", "owner_business_info")
_OF_ACCOUNTS = ("owner_business_info", "currency", "timezone_id", "message_template_namespace")


def answer(data: object, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=orjson.dumps(data), status=status, content_type="application/json")


def refusal(error: Refusal) -> web.Response:
    """A Graph error."""
    return web.Response(body=error.body(), status=error.status, headers=error.headers, content_type="application/json")


async def json_of(request: web.Request) -> dict[str, Any]:
    """The request's body. Raises Refusal 100 unless it is a JSON object."""
    raw = await request.read()
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError:
        raise Refusal(100, "The body is not valid JSON") from None
    if not isinstance(body, dict):
        raise Refusal(100, "The body is not a JSON object")
    return body


def guarded(meta: Meta, handler: Handler) -> Handler:
    """Check the token, let the rules about management fire, answer refusals."""

    async def run(request: web.Request) -> web.StreamResponse:
        try:
            meta.check_token(token_of(request))
            object_id = request.match_info["id"]
            waba = meta.numbers[object_id].waba_id if object_id in meta.numbers else object_id
            rule = meta.rules.fired("management", path=request.path_qs, waba=waba)
            if rule is not None:
                await asyncio.sleep(rule.delay_s or 0.0)
                if rule.code is None:
                    status = rule.http_status or 500
                    return web.Response(status=status, text="<html>Sorry</html>", content_type="text/html")
                raise rule.refusal(waba)
            return await handler(request)
        except Refusal as error:
            return refusal(error)

    return run


def token_of(request: web.Request) -> str:
    """The bearer token, "" if there is none."""
    header = request.headers.get("Authorization", "")
    return header.removeprefix("Bearer ").removeprefix("OAuth ").strip() or request.query.get("access_token", "")


def page(meta: Meta, request: web.Request, found: list[dict[str, Any]]) -> web.Response:
    """A page of a list: `limit`, `after`; spoilt as the control API says. Raises Refusal for a bad cursor."""
    paging, after = meta.paging, request.query.get("after") or "0"
    if paging.expire and "after" in request.query:
        paging.expire -= 1
        after = "expired"
    start = int(after.rstrip("e")) if after.rstrip("e").isdigit() else -1
    limit = request.query.get("limit", "25")
    if not 0 <= start <= len(found) or not limit.isdigit():
        raise Refusal(100, "Invalid cursors values passed to the API")
    size = max(1, min(int(limit), paging.limit or 250, 250))
    if paging.empty_first and not after.endswith("e"):
        part, following = [], f"{start}e"
    else:
        part, following = found[start : start + size], str(start + size)
    cursors: dict[str, Any] = {"cursors": {"before": after, "after": following}}
    if (not part and paging.empty_first and found) or start + size < len(found):
        cursors["next"] = str(request.url.update_query(after=following))
    return answer({"data": part, "paging": cursors})


def management_routes(meta: Meta) -> list[web.RouteDef]:
    """Accounts, numbers, tokens; `GET /{id}` tells by the id what it is."""

    async def node(request: web.Request) -> web.StreamResponse:
        object_id = request.match_info["id"]
        if object_id in meta.media.uploads:
            return answer(media_node(meta, request, object_id))
        for _, template in meta.all_templates():
            if template.id == object_id:
                return answer(template.as_graph())
        about_account = any(name in request.query.get("fields", "") for name in _OF_ACCOUNTS)
        if object_id not in meta.numbers and (object_id in meta.accounts or about_account):
            return answer(_picked(request, _account(meta.account(object_id)), _ACCOUNT_DEFAULT))
        return answer(_picked(request, _number(meta, meta.number(object_id)), _NUMBER_DEFAULT))

    async def numbers(request: web.Request) -> web.StreamResponse:
        found = meta.numbers_of(meta.account(request.match_info["id"]).id)
        return page(meta, request, [_picked(request, _number(meta, one), _NUMBER_DEFAULT) for one in found])

    async def subscribed(request: web.Request) -> web.StreamResponse:
        account = meta.account(request.match_info["id"])
        if request.method == "GET":
            app = {"id": _APP, "name": "Sandbox", "link": "https://example.com"}
            return answer({"data": [{"whatsapp_business_api_data": app}] if account.subscribed else []})
        account.subscribed = request.method == "POST"
        return answer({"success": True})

    async def register(request: web.Request) -> web.StreamResponse:
        number = meta.number(request.match_info["id"])
        number.registered = request.path.endswith("/register")
        return answer({"success": True})

    async def debug_token(request: web.Request) -> web.StreamResponse:
        return answer({"data": _token(meta, request.query.get("input_token", ""))})

    def route(method: str, path: str, handler: Handler) -> web.RouteDef:
        return web.route(method, VERSION + path, guarded(meta, handler))

    return [
        web.get(VERSION + "/debug_token", debug_token),
        route("GET", "/{id}/phone_numbers", numbers),
        *(route(method, "/{id}/subscribed_apps", subscribed) for method in ("GET", "POST", "DELETE")),
        route("POST", "/{id}/register", register),
        route("POST", "/{id}/deregister", register),
        route("GET", "/{id}", node),
    ]


def media_node(meta: Meta, request: web.Request, media_id: str) -> dict[str, Any]:
    """What `GET /{media_id}` answers. Raises Refusal for one that is gone, or that is another number's."""
    upload = meta.media.get(media_id, meta.clock.now())
    asked = request.query.get("phone_number_id")
    if upload is None or (asked is not None and asked != upload.number):
        raise unknown_object(media_id)
    return {
        "messaging_product": "whatsapp",
        "url": f"{request.url.origin()}/_media/{upload.id}?until={int(meta.clock.now() + URL_S)}",
        "mime_type": upload.mime_type,
        "sha256": upload.sha256,
        "file_size": len(upload.content),
        "id": upload.id,
    }


def _picked(request: web.Request, data: dict[str, Any], default: tuple[str, ...]) -> dict[str, Any]:
    """Only the fields that were asked for."""
    asked = request.query.get("fields")
    names = _ALWAYS | {one.partition("{")[0].strip() for one in asked.split(",")} if asked else set(default)
    return {name: value for name, value in data.items() if name in names}


def _number(meta: Meta, number: Number) -> dict[str, Any]:
    account = meta.account(number.waba_id)
    in_maintenance = meta.clock.now() < number.maintenance_until
    return {
        "id": number.id,
        "display_phone_number": "+" + number.display,
        "verified_name": number.name,
        "status": number.status if number.registered else "DISCONNECTED",
        "quality_rating": number.quality,
        "throughput": {"level": number.throughput},
        "name_status": number.name_status,
        "code_verification_status": "VERIFIED",
        "platform_type": "CLOUD_API" if number.registered else "NOT_APPLICABLE",
        "account_mode": "LIVE",
        "whatsapp_business_manager_messaging_limit": tier_name(account.portfolio.tier_limit),
        "messaging_limit_tier": tier_name(account.portfolio.tier_limit),
        "health_status": _health(account, number, in_maintenance=in_maintenance),
    }


def _account(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "currency": "EUR",
        "timezone_id": "1",
        "message_template_namespace": f"ns_{account.id}",
        "owner_business_info": {"name": account.portfolio.name, "id": account.portfolio.id},
        "business_verification_status": "verified",
        "account_review_status": "APPROVED",
        "whatsapp_business_manager_messaging_limit": tier_name(account.portfolio.tier_limit),
        "health_status": _health(account, None, in_maintenance=False),
    }


def _health(account: Account, number: Number | None, *, in_maintenance: bool) -> dict[str, Any]:
    """The worst entity decides."""
    entities: list[dict[str, Any]] = []
    if number is not None:
        usable = number.registered and number.status in ("CONNECTED", "FLAGGED", "WARNED") and not in_maintenance
        one: dict[str, Any] = {"entity_type": "PHONE_NUMBER", "id": number.id, "can_send_message": "AVAILABLE"}
        if not usable:
            one["can_send_message"] = "BLOCKED"
            one["errors"] = [_reason(141000, f"The phone number is {number.status}.", "Register it, or wait.")]
        elif number.quality == "RED" or number.status != "CONNECTED":
            one["can_send_message"] = "LIMITED"
            one["additional_info"] = [f"Quality is {number.quality}, status is {number.status}."]
        entities.append(one)
    waba: dict[str, Any] = {"entity_type": "WABA", "id": account.id, "can_send_message": "AVAILABLE"}
    if account.no_payment:
        waba["can_send_message"] = "BLOCKED"
        waba["errors"] = [_reason(141006, "There is an error with the payment method.", "Add a payment method.")]
    elif account.refuse is not None:
        waba["can_send_message"] = "BLOCKED"
        waba["errors"] = [_reason(account.refuse, "The account is restricted.", "Appeal in Business Support.")]
    entities.append(waba)
    entities.append({"entity_type": "BUSINESS", "id": account.portfolio.id, "can_send_message": "AVAILABLE"})
    entities.append({"entity_type": "APP", "id": _APP, "can_send_message": "AVAILABLE"})
    verdicts = {one["can_send_message"] for one in entities}
    worst = next(one for one in ("BLOCKED", "LIMITED", "AVAILABLE") if one in verdicts)
    return {"can_send_message": worst, "entities": entities}


def _reason(code: int, description: str, solution: str) -> dict[str, Any]:
    return {"error_code": code, "error_description": description, "possible_solution": solution}


def _token(meta: Meta, token: str) -> dict[str, Any]:
    scopes = ["whatsapp_business_management", "whatsapp_business_messaging"]
    try:
        meta.check_token(token)
    except Refusal as error:
        problem = {"code": error.code, "message": error.details, "subcode": error.subcode}
        return {"app_id": _APP, "is_valid": False, "scopes": [], "error": problem}
    until = meta.tokens.get(token)
    expires_at = 0 if until is None else int(meta.clock.wall() + until - meta.clock.now())
    return {
        "app_id": _APP,
        "type": "SYSTEM_USER",
        "is_valid": True,
        "expires_at": expires_at,
        "data_access_expires_at": 0,
        "scopes": scopes,
        "granular_scopes": [{"scope": scope, "target_ids": sorted(meta.accounts)} for scope in scopes],
    }
