"""Templates over the Graph API: list, create, edit, delete, unpause; their review, and changes from outside."""

import asyncio
import itertools
from typing import Any

from aiohttp import web

from titanflow.sandbox.errors import Refusal
from titanflow.sandbox.graph import VERSION, Handler, answer, guarded, json_of, page
from titanflow.sandbox.state import Account, Meta, unknown_object
from titanflow.sandbox.templates import Template, check_new

_FILTERS = ("name", "status", "category", "language")


def template_routes(meta: Meta) -> list[web.RouteDef]:
    """All paths about templates."""
    made_ids = itertools.count(100)

    async def listed(request: web.Request) -> web.StreamResponse:
        templates = meta.account(request.match_info["id"]).templates.values()
        found = [one.as_graph() for one in templates if one.status != "DELETED"]
        for name in _FILTERS:
            wanted = request.query.get(name)
            if wanted is not None:
                found = [one for one in found if one[name] == wanted]
        return page(meta, request, found)

    async def create(request: web.Request) -> web.StreamResponse:
        body = await json_of(request)
        account = meta.account(request.match_info["id"])
        components = check_new(body, account.templates.values())
        made = Template(
            id=f"{account.id}{next(made_ids)}",
            name=body["name"],
            language=body["language"],
            components=_upper(components),
            category=body["category"],
            parameter_format=str(body.get("parameter_format", "POSITIONAL")).upper(),
            status="PENDING",
            quality="UNKNOWN",
        )
        account.templates[made.name, made.language] = made
        _review(meta, account, made)
        return answer({"id": made.id, "status": "PENDING", "category": made.category})

    async def edit(request: web.Request) -> web.StreamResponse:
        account, template = _find(meta, request.match_info["id"])
        body = await json_of(request)
        if template.status == "PENDING":
            raise Refusal(
                100, "Message templates can only be edited when approved, rejected or paused", subcode=2388025
            )
        template.edit(_upper(check_new(body, (), template_id=template.id)))
        if "category" in body and template.status == "APPROVED" and body["category"] != template.category:
            raise Refusal(100, "The category of an approved template can't be changed")
        template.category = str(body.get("category", template.category))
        template.status = "PENDING"
        _review(meta, account, template)
        return answer({"success": True})

    async def delete(request: web.Request) -> web.StreamResponse:
        account = meta.account(request.match_info["id"])
        name, hsm_id = request.query.get("name"), request.query.get("hsm_id")
        if name is None and hsm_id is None:
            raise Refusal(100, "The parameter name is required")
        found = [
            one
            for one in account.templates.values()
            if (one.id == hsm_id if hsm_id is not None else one.name == name) and one.status != "DELETED"
        ]
        if not found:
            raise Refusal(100, "Message template wasn't found", subcode=2593002)
        for one in found:
            change(meta, account, one, {"status": "DELETED", "webhook": True})
        return answer({"success": True})

    async def unpause(request: web.Request) -> web.StreamResponse:
        account, template = _find(meta, request.match_info["id"])
        if template.status != "PAUSED":
            return answer({"success": False, "reason": "The template is not paused"})
        more = {"webhook": True, "other_info": {"title": "UNPAUSE"}}
        change(meta, account, template, {"status": "APPROVED", **more})
        return answer({"success": True})

    def route(method: str, path: str, handler: Handler) -> web.RouteDef:
        return web.route(method, VERSION + path, guarded(meta, handler))

    return [
        route("GET", "/{id}/message_templates", listed),
        route("POST", "/{id}/message_templates", create),
        route("DELETE", "/{id}/message_templates", delete),
        route("POST", "/{id}/unpause", unpause),
        route("POST", "/{id}", edit),
    ]


def change(meta: Meta, account: Account, template: Template, body: dict[str, Any]) -> None:
    """Change a template from outside: status, category, quality, components; tell by webhook if body says so."""
    tells = bool(body.get("webhook"))
    if "components" in body:
        template.edit(body["components"])
    if "quality" in body and body["quality"] != template.quality:
        value = {"previous_quality_score": template.quality, "new_quality_score": str(body["quality"])}
        template.quality = value["new_quality_score"]
        if tells:
            meta.webhooks.change(account.id, "message_template_quality_update", {**value, **_identity(template)})
    if "category" in body and body["category"] != template.category:
        value = {"previous_category": template.category, "new_category": str(body["category"])}
        template.category = value["new_category"]
        if tells:
            meta.webhooks.change(account.id, "template_category_update", {**value, **_identity(template)})
    if "status" in body:
        template.status = str(body["status"])
        if template.status == "DELETED":
            account.templates.pop((template.name, template.language), None)
        if tells:
            more = {key: body[key] for key in ("reason", "other_info", "rejection_info", "disable_info") if key in body}
            if template.status == "PAUSED" and "other_info" not in more:
                words = "Your WhatsApp message template has been paused for 3 hours."
                more["other_info"] = {"title": "FIRST_PAUSE", "description": words}
            event = template.status_event(str(body.get("event", template.status)), **more)
            meta.webhooks.change(account.id, "message_template_status_update", event)


def _identity(template: Template) -> dict[str, Any]:
    return {
        "message_template_id": int(template.id),
        "message_template_name": template.name,
        "message_template_language": template.language,
    }


def _find(meta: Meta, template_id: str) -> tuple[Account, Template]:
    for account, template in meta.all_templates():
        if template.id == template_id:
            return account, template
    raise unknown_object(template_id)


def _review(meta: Meta, account: Account, template: Template) -> None:
    """Approve it a moment later, unless somebody decided otherwise meanwhile."""

    def approve() -> None:
        if template.status == "PENDING":
            change(meta, account, template, {"status": "APPROVED", "webhook": True})

    asyncio.get_running_loop().call_later(meta.review_s, approve)


def _upper(components: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**one, "type": str(one["type"]).upper()} for one in components]
