"""Media over the Graph API: upload, look up, delete, and the bytes behind the URL."""

from aiohttp import BodyPartReader, web

from titanflow.sandbox.errors import Refusal
from titanflow.sandbox.graph import VERSION, answer, guarded, refusal, token_of
from titanflow.sandbox.media import LARGEST
from titanflow.sandbox.state import Meta, unknown_object


def media_routes(meta: Meta) -> list[web.RouteDef]:
    """All paths about media, but `GET /{media_id}`, which graph.py tells apart from numbers."""

    async def upload(request: web.Request) -> web.StreamResponse:
        number = meta.number(request.match_info["id"])
        product, mime_type, content = await _parts(request)
        if product != "whatsapp":
            raise Refusal(100, "(#100) The parameter messaging_product is required.")
        return answer({"id": meta.media.add(number.id, mime_type, content, meta.clock.now()).id})

    async def delete(request: web.Request) -> web.StreamResponse:
        media_id = request.match_info["id"]
        if meta.media.get(media_id, meta.clock.now()) is None:
            raise unknown_object(media_id)
        meta.media.deleted.add(media_id)
        return answer({"success": True})

    async def content(request: web.Request) -> web.StreamResponse:
        try:
            meta.check_token(token_of(request))
        except Refusal as error:
            return refusal(error)
        now = meta.clock.now()
        known = meta.media.get(request.match_info["id"], now)
        until = request.query.get("until", "")
        if known is None or not until.isdigit() or now >= int(until):
            return web.Response(status=404)
        known.fetched += 1
        return web.Response(body=known.content, headers={"Content-Type": known.mime_type})

    return [
        web.post(VERSION + "/{id}/media", guarded(meta, upload)),
        web.delete(VERSION + "/{id}", guarded(meta, delete)),
        web.get("/_media/{id}", content),
    ]


async def _parts(request: web.Request) -> tuple[str, str, bytes]:
    """Return messaging_product, the file's MIME type and the file. Raises Refusal 100 for another body."""
    if request.content_type != "multipart/form-data":
        raise Refusal(100, "The body must be multipart/form-data")
    product = mime_type = given = ""
    content = bytearray()
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        if part.name == "file":
            mime_type = part.headers.get("Content-Type", "application/octet-stream")
            while chunk := await part.read_chunk(64 * 1024):
                content += chunk
                if len(content) > LARGEST:
                    raise Refusal(131053, f"A file has at most {LARGEST} bytes")
        elif part.name == "messaging_product":
            product = await part.text()
        elif part.name == "type":
            given = await part.text()
    return product, given or mime_type, bytes(content)
