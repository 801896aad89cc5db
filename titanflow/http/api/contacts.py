"""/campaigns/{id}/contacts and /imports: upload and progress."""

import csv
import io
import re
from collections.abc import Iterator

import falcon
import falcon.media

from titanflow.errors import InvalidInput
from titanflow.http.bodies import Upload
from titanflow.http.context import Context
from titanflow.services import imports as service
from titanflow.storage import imports

_PAGE = 2_000


class Contacts:
    """Upload a list."""

    scopes = {"POST": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_post(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Take a CSV, gzip or not, as body or as the first file of a form. 202 with the import."""
        country = request.get_param("default_country")
        if country is not None and not re.fullmatch("[A-Z]{2}", country):
            raise InvalidInput("default_country can't be used", why="it must be two capital letters, such as DE")
        response.media = service.receive(
            self._context.db,
            self._context.settings.data_dir,
            campaign_id,
            _file_of(request),
            default_country=country,
        )
        response.status = 202
        response.location = f"/api/v1/campaigns/{campaign_id}/imports/{response.media['id']}"


class Import:
    """One import."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_get(self, _: falcon.Request, response: falcon.Response, campaign_id: int, import_id: int) -> None:
        """Answer its progress and first errors. 404 import_not_found."""
        response.media = service.get(self._context.db, campaign_id, import_id)


class CancelImport:
    """End an import."""

    scopes = {"POST": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_post(self, _: falcon.Request, response: falcon.Response, campaign_id: int, import_id: int) -> None:
        """None of its contacts come in."""
        response.media = service.cancel(self._context.db, campaign_id, import_id)


class Rejects:
    """The rejected lines."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_get(self, _: falcon.Request, response: falcon.Response, campaign_id: int, import_id: int) -> None:
        """Stream them as CSV: line, reason, value."""
        service.get(self._context.db, campaign_id, import_id)
        response.content_type = "text/csv; charset=utf-8"
        response.stream = self._lines(import_id)

    def _lines(self, import_id: int) -> Iterator[bytes]:
        yield b"line,reason,value\n"
        after = 0
        while rows := imports.rejects(self._context.db, import_id, after=after, limit=_PAGE):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([row["line"], row["reason"], row["value"]] for row in rows)
            yield text.getvalue().encode()
            after = rows[-1]["line"]


def _file_of(request: falcon.Request) -> service.Readable:
    body = Upload(request)
    if not (request.content_type or "").startswith("multipart/form-data"):
        return body
    handler = falcon.media.MultipartFormHandler()
    parts = iter(handler.deserialize(body, request.content_type, request.content_length))
    for part in parts:
        if part.filename:
            return _FormFile(part, parts)
    raise InvalidInput("The form has no file", fix="Send the CSV as a file field.")


class _FormFile:
    """A file within a form: whole only if the form goes on, or ends properly, behind it."""

    def __init__(self, part: falcon.media.multipart.BodyPart, others: Iterator[object]) -> None:
        self._stream, self._others = part.stream, others

    def read(self, size: int, /) -> bytes:
        data: bytes = self._stream.read(size)
        if not data:
            next(self._others, None)  # Falcon's 400 if the closing line is missing
        return data


ROUTES = [
    ("/campaigns/{campaign_id:int}/contacts", Contacts),
    ("/campaigns/{campaign_id:int}/imports/{import_id:int}", Import),
    ("/campaigns/{campaign_id:int}/imports/{import_id:int}/cancel", CancelImport),
    ("/campaigns/{campaign_id:int}/imports/{import_id:int}/rejects", Rejects),
]
