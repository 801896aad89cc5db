"""/media/inbound: the files that people send."""

from urllib.parse import quote

import falcon

from titanflow.http.context import Context
from titanflow.http.contract import Content, operation
from titanflow.services import inbound_media as service

_FILE = Content(
    ("application/octet-stream", "image/jpeg", "image/png", "image/webp", "audio/ogg", "video/mp4", "application/pdf"),
    "The file: pictures, sounds and films as what they are, everything else to be saved",
)


class InboundMedia:
    """The file of one message."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(
        _FILE,
        problems=("media_not_found", "media_not_ready"),
        answer_headers={"Content-Disposition": "inline for what a browser may show, else attachment, with the name"},
    )
    def on_get(self, _: falcon.Request, response: falcon.Response, message_id: int) -> None:
        """Answer the bytes. 409 media_not_ready until it was fetched from Meta, or if it never will be."""
        file = service.get(self._context.db, message_id)
        kind = "inline" if file.is_shown else "attachment"
        response.content_type = file.content_type
        response.set_header("Content-Disposition", f"{kind}; filename*=UTF-8''{quote(file.filename, safe='')}")
        response.set_stream(file.pieces, file.size_bytes)


ROUTES: list[tuple[str, type]] = [("/media/inbound/{message_id:int}", InboundMedia)]
