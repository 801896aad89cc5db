"""/settings/retention: how long things are kept."""

from dataclasses import asdict

import falcon
from pydantic import Field

from titanflow.http.answers.things import RetentionNow
from titanflow.http.bodies import Body, read_json
from titanflow.http.context import Context
from titanflow.http.contract import operation
from titanflow.storage import retention


class RetentionChange(Body):
    """What is to be changed."""

    log_days: int = Field(default=30, ge=7, le=3650)
    conversation_days: int | None = Field(default=365, ge=30, le=3650, description="null: for good")
    media_days: int = Field(default=90, ge=1, le=3650)


class RetentionSettings:
    """How many days what is kept."""

    scopes = {"GET": "read", "PATCH": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(RetentionNow)
    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Answer all."""
        response.media = asdict(retention.read(self._context.db))

    @operation(RetentionNow, body=RetentionChange)
    def on_patch(self, request: falcon.Request, response: falcon.Response) -> None:
        """Change what is given, from the next minute on. What has been deleted stays deleted, what is closed closed."""
        asked = read_json(request, RetentionChange).model_dump(exclude_unset=True)
        response.media = asdict(retention.change(self._context.db, asked))


ROUTES: list[tuple[str, type]] = [("/settings/retention", RetentionSettings)]
