"""/templates."""

from typing import Any

import falcon
from pydantic import Field

from titanflow.errors import NotFound
from titanflow.http.answers import things as answers
from titanflow.http.bodies import Body, read_json
from titanflow.http.context import Context
from titanflow.http.contract import ListQuery, Page, operation
from titanflow.http.lists import page_of
from titanflow.services import templates as service
from titanflow.storage import templates


class NewTemplate(Body):
    """A template made here; Meta decides about its status at the next sync."""

    waba_id: str = Field(pattern=r"^\d{1,32}$")
    name: str = Field(pattern=r"^[a-z0-9_]{1,512}$")
    language: str = Field(pattern=r"^[a-z]{2,3}([_-][A-Za-z]{2,4})?$")
    category: str = Field(default="MARKETING", pattern="^(MARKETING|UTILITY|AUTHENTICATION)$")
    parameter_format: str = Field(default="POSITIONAL", pattern="^(POSITIONAL|NAMED)$")
    components: list[dict[str, Any]] = Field(max_length=10)


class Templates:
    """List and create."""

    scopes = {"GET": "read", "POST": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(Page[answers.Template], query=ListQuery)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer a page of templates."""
        answer = page_of(request, lambda after, limit: templates.page(self._context.db, after=after, limit=limit))
        response.media = {**answer, "items": [service.shown(row) for row in answer["items"]]}

    @operation(answers.Template, status=201, body=NewTemplate)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Create a template in state PENDING: it can't be sent before Meta has approved it."""
        body = read_json(request, NewTemplate).model_dump()
        templates.upsert(self._context.db, body["waba_id"], [{**body, "status": "PENDING"}])
        rows = templates.page(self._context.db, after=0, limit=10_000)
        made = next(row for row in rows if all(row[key] == body[key] for key in ("waba_id", "name", "language")))
        del made["total"]
        response.status = 201
        response.media = service.shown(made)


class Template:
    """Answer one template."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.Template, problems=("template_not_found",))
    def on_get(self, _: falcon.Request, response: falcon.Response, template_id: int) -> None:
        """Answer it with the names of its parameters. 404 template_not_found."""
        row = templates.get(self._context.db, template_id)
        if row is None:
            raise NotFound(f"There is no template {template_id}", code="template_not_found")
        response.media = service.shown(row)


class SyncTemplates:
    """Read all templates from Meta."""

    scopes = {"POST": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.TemplatesSynced)
    def on_post(self, _: falcon.Request, response: falcon.Response) -> None:
        """Answer how many, by account; an account that failed says why."""
        response.media = service.sync(self._context.db, self._context.vault, self._context.settings)


ROUTES = [
    ("/templates", Templates),
    ("/templates/sync", SyncTemplates),
    ("/templates/{template_id:int}", Template),
]
