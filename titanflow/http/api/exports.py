"""/campaigns/{id}/export: all rows, streamed."""

import zlib
from collections.abc import Generator

import falcon

from titanflow.errors import Unavailable
from titanflow.http.context import Context
from titanflow.http.contract import Content, Query, operation, query_of
from titanflow.http.wire import takes_gzip
from titanflow.services import campaigns
from titanflow.storage import exports
from titanflow.supervision import sleep_ms

_AT_ONCE = 4  # each holds a snapshot and keeps a core of PostgreSQL busy
_TYPES: dict[exports.Format, str] = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}


EXPORT = Content(("text/csv", "application/x-ndjson"), "A line a contact, with the members of a message")


class ExportQuery(Query):
    """The form of an export."""

    format: exports.Format = "csv"


class Export:
    """All rows of a campaign."""

    scopes = {"GET": "read"}

    def __init__(self, context: Context) -> None:
        self._context = context
        self._running = 0

    @operation(EXPORT, query=ExportQuery, problems=("campaign_not_found", "closed", "too_many_exports"))
    def on_get(self, request: falcon.Request, response: falcon.Response, campaign_id: int) -> None:
        """Stream ?format=csv or ndjson, a line a contact, as the campaign stood at one moment. gzip if asked for.

        503 too_many_exports while four run in this process.
        """
        campaigns.with_messages(self._context.db, campaign_id)
        form = query_of(request, ExportQuery).format
        if self._running >= _AT_ONCE:
            raise Unavailable("Too many exports run already", fix="Try again.", code="too_many_exports")
        packed = takes_gzip(request)
        blocks = self._counted(campaign_id, form, packed)
        next(blocks)  # the first row is there, or the error that says why not
        response.content_type = _TYPES[form]
        response.set_header("Cache-Control", "no-store")
        response.set_header("Vary", "Accept-Encoding")
        response.downloadable_as = f"campaign-{campaign_id}.{form}"
        if packed:
            response.set_header("Content-Encoding", "gzip")
        response.stream = blocks

    def _counted(self, campaign_id: int, form: exports.Format, packed: bool) -> Generator[bytes, None, None]:
        self._running += 1
        blocks = exports.export(self._context.db, campaign_id, form)
        try:
            first = next(blocks, b"")
            yield b""
            yield from _packed(first, blocks) if packed else _paced(first, blocks)
        finally:
            blocks.close()
            self._running -= 1


def _paced(first: bytes, blocks: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    yield first
    for block in blocks:
        sleep_ms(1)  # PostgreSQL and the client may both be faster than this process: timers must run too
        yield block


def _packed(first: bytes, blocks: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    packer = zlib.compressobj(level=1, wbits=31)
    for block in _paced(first, blocks):
        if data := packer.compress(block):
            yield data
    yield packer.flush()


ROUTES: list[tuple[str, type]] = [("/campaigns/{campaign_id:int}/export", Export)]
