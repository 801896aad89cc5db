"""/media: files for the headers of templates."""

import falcon
import falcon.media
from pydantic import Field

from titanflow.errors import InvalidInput
from titanflow.http.answers import things as answers
from titanflow.http.context import Context
from titanflow.http.contract import Content, ListQuery, Page, Query, Text, operation, query_of
from titanflow.http.lists import page_of
from titanflow.services import media as service
from titanflow.services.imports import Readable
from titanflow.storage import media

UPLOAD = Content(
    ("application/octet-stream", "image/jpeg", "image/png", "video/mp4", "application/pdf", "multipart/form-data"),
    "The file as it is, or as a form's first file; its own bytes decide what it is",
)


class UploadQuery(Query):
    """What the file is called."""

    filename: Text | None = Field(default=None, description="For a body that is no form; people see a document's name")


class MediaFiles:
    """List and upload."""

    scopes = {"GET": "read", "POST": "send"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(Page[answers.MediaFile], query=ListQuery)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer a page of files."""
        response.media = page_of(request, lambda after, limit: media.page(self._context.db, after=after, limit=limit))

    @operation(
        answers.MediaFileWithUploads,
        status=201,
        also={200: answers.MediaFileWithUploads},
        query=UploadQuery,
        body=UPLOAD,
        problems=("bad_request", "too_large", "unsupported_media"),
        answer_headers={"Location": "The file's own path"},
    )
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Keep a file, as body (?filename=) or as the first file of a form. 201; 200 if the same bytes are known."""
        stream, declared, filename = _file_of(request)
        made = service.receive(
            self._context.db, self._context.settings.data_dir, stream, declared=declared, filename=filename
        )
        response.status = 201 if made.pop("created") else 200
        response.media = made
        response.location = f"/api/v1/media/{made['id']}"


class MediaFile:
    """One file."""

    scopes = {"GET": "read", "DELETE": "admin"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(answers.MediaFileWithUploads, problems=("media_not_found",))
    def on_get(self, _: falcon.Request, response: falcon.Response, media_id: int) -> None:
        """Answer a file's description and its uploads. 404 media_not_found."""
        response.media = service.get(self._context.db, media_id)

    @operation(status=204, problems=("media_not_found", "in_use"))
    def on_delete(self, _: falcon.Request, response: falcon.Response, media_id: int) -> None:
        """Delete a file. 409 in_use while a campaign may send it."""
        service.delete(self._context.db, media_id)
        response.status = 204


def _file_of(request: falcon.Request) -> tuple[Readable, str, str | None]:
    declared = request.content_type or ""
    if not declared.startswith("multipart/form-data"):
        return request.bounded_stream, declared, query_of(request, UploadQuery).filename
    for part in falcon.media.MultipartFormHandler().deserialize(
        request.bounded_stream, request.content_type, request.content_length
    ):
        if part.filename:
            return part.stream, part.content_type or "", part.filename
    raise InvalidInput("The form has no file", fix="Send the media as a file field.")


ROUTES = [
    ("/media", MediaFiles),
    ("/media/{media_id:int}", MediaFile),
]
