"""/campaigns/{id}/contacts and /imports: upload and progress."""

import csv
import io
from collections.abc import Iterator

import falcon
import falcon.media
from pydantic import Field

from titanflow.errors import InvalidInput
from titanflow.http.answers import campaigns as answers
from titanflow.http.bodies import Upload
from titanflow.http.context import Context
from titanflow.http.contract import Content, Query, operation, query_of
from titanflow.services import campaigns
from titanflow.services import imports as service
from titanflow.storage import imports

_PAGE = 2_000

CSV = Content(
    ("text/csv", "application/gzip", "application/octet-stream", "multipart/form-data"),
    "A CSV with a header, gzip or not, as it is or as a form's first file; any other Content-Type is read as a CSV too",
    example="phone,first_name\n+4915112345678,Ada\n",
)
REJECTS = Content(("text/csv",), "line, reason, value")


class UploadQuery(Query):
    """How to read the numbers."""

    default_country: str | None = Field(
        default=None, pattern="^[A-Z]{2}$", description="The country of numbers without one, such as DE"
    )


class Contacts:
    """Upload a list of contacts."""

    scopes = {"POST": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(
        answers.Import,
        status=202,
        query=UploadQuery,
        body=CSV,
        problems=(
            "bad_request", "upload_incomplete", "campaign_not_found", "wrong_state", "import_running", "too_large",
            "invalid_csv",
        ),
        answer_headers={"Location": "The import's own path"},
    )  # fmt: skip
    def on_post(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Take a CSV, gzip or not, as body or as the first file of a form. 202 with the import."""
        response.media = service.receive(
            self._context.db,
            self._context.settings.data_dir,
            campaign_id,
            _file_of(request),
            default_country=query_of(request, UploadQuery).default_country,
        )
        response.status = 202
        response.location = f"/api/v1/campaigns/{campaign_id}/imports/{response.media['id']}"


class Import:
    """Answer an import: progress and first errors."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.Import, problems=("import_not_found",))
    def on_get(self, _: falcon.Request, response: falcon.Response, campaign_id: int, import_id: int) -> None:
        """Answer its progress and first errors. 404 import_not_found."""
        response.media = service.get(self._context.db, campaign_id, import_id)


class CancelImport:
    """End an import."""

    scopes = {"POST": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.Import, problems=("import_not_found",))
    def on_post(self, _: falcon.Request, response: falcon.Response, campaign_id: int, import_id: int) -> None:
        """None of its contacts come in."""
        response.media = service.cancel(self._context.db, campaign_id, import_id)


class Rejects:
    """Stream the lines that became no contacts."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(REJECTS, problems=("import_not_found", "closed"))
    def on_get(self, _: falcon.Request, response: falcon.Response, campaign_id: int, import_id: int) -> None:
        """Stream them as CSV: line, reason, value."""
        service.get(self._context.db, campaign_id, import_id)
        campaigns.with_messages(self._context.db, campaign_id)
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
