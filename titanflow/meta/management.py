"""Meta's management calls: templates, numbers, accounts, media. All may be repeated; a second upload is a second id."""

from collections.abc import Iterable
from itertools import chain
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPParseError

from titanflow.errors import Unavailable

_TIMEOUT_S = 30.0
_PAGE = 100
_MOST_PAGES = 200
_BOUNDARY = "titanflow-a5b1c7e94d2f4f0c"

_NUMBER_FIELDS = (
    "id,display_phone_number,verified_name,status,quality_rating,throughput,whatsapp_business_manager_messaging_limit"
)


class MetaRefused(Unavailable):
    """Meta answered with an error of its own. meta_code, subcode: as in its error table; None if it gave none."""

    code = "meta_refused"

    def __init__(self, why: str, meta_code: int | None, subcode: int | None) -> None:
        super().__init__("Meta refused", why=why)
        self.meta_code, self.subcode = meta_code, subcode

    @property
    def gone(self) -> bool:
        """Whether Meta doesn't know the object that was asked for."""
        return self.meta_code == 33 or (self.meta_code == 100 and self.subcode == 33)


class Management:
    """Asks one Meta with one access token."""

    def __init__(self, graph_url: str, api_version: str, access_token: str) -> None:
        parts = urlsplit(graph_url)
        self._client = HTTPClient.from_url(
            f"{parts.scheme}://{parts.netloc}", concurrency=2, connection_timeout=5, network_timeout=_TIMEOUT_S
        )
        self._base = f"{parts.path.rstrip('/')}/{api_version}"
        self._headers = {"Authorization": f"Bearer {access_token}", "Accept": "application/json"}

    def templates(self, waba_id: str) -> list[dict[str, Any]]:
        """Return all templates of an account, never a part. Raises Unavailable, MetaRefused if Meta says so."""
        found: list[dict[str, Any]] = []
        after = ""
        for _ in range(_MOST_PAGES):
            query = {"limit": str(_PAGE), **({"after": after} if after else {})}
            page = self._ask("GET", f"{waba_id}/message_templates?{urlencode(query)}")
            data, paging = page.get("data"), page.get("paging")
            if not isinstance(data, list):
                raise Unavailable("Meta's answer can't be read", why="a page of templates without a list")
            found += [one for one in data if isinstance(one, dict)]
            if not isinstance(paging, dict) or not paging.get("next"):
                return found
            cursors = paging.get("cursors")
            following = cursors.get("after") if isinstance(cursors, dict) else None
            if not isinstance(following, str) or following == after:
                raise Unavailable("Meta's answer can't be read", why="a page of templates without a cursor")
            after = following
        raise Unavailable("Meta's answer can't be read", why=f"more than {_MOST_PAGES} pages of templates")

    def number(self, phone_number_id: str) -> dict[str, Any]:
        """Return Meta's fields of a number. Raises Unavailable, MetaRefused (`gone`: it was deleted)."""
        return self._ask("GET", f"{phone_number_id}?{urlencode({'fields': _NUMBER_FIELDS})}")

    def portfolio(self, waba_id: str) -> str | None:
        """Return the id of the business portfolio that owns an account; None if Meta doesn't say."""
        owner = self._ask("GET", f"{waba_id}?{urlencode({'fields': 'owner_business_info'})}").get("owner_business_info")
        found = owner.get("id") if isinstance(owner, dict) else None
        return str(found)[:64] if isinstance(found, str | int) and found else None

    def media(self, media_id: str, phone_number_id: str) -> dict[str, Any]:
        """Return where a file is (`url`, for five minutes), its size and hash. Raises Unavailable, MetaRefused."""
        return self._ask("GET", f"{quote(media_id, safe='')}?{urlencode({'phone_number_id': phone_number_id})}")

    def upload(self, phone_number_id: str, pieces: Iterable[bytes], *, size: int, mime_type: str, filename: str) -> str:
        """Upload a file for a number, piece by piece. Returns Meta's id of it. Raises Unavailable, MetaRefused."""
        name = "".join(char if char.isalnum() or char in "._-" else "_" for char in filename)[:100] or "file"
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="messaging_product"\r\n\r\nwhatsapp\r\n'
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="type"\r\n\r\n{mime_type}\r\n'
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            f"Content-Type: {mime_type}\r\n\r\n"
        ).encode("ascii", "replace")
        tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
        answer = self._ask(
            "POST",
            f"{phone_number_id}/media",
            body=_Joined(head, pieces, tail, size),
            headers={"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"},
        )
        found = answer.get("id")
        if not isinstance(found, str) or not found or len(found) > 128:
            raise Unavailable("Meta's answer can't be read", why="an upload without an id")
        return found

    def _ask(
        self, method: str, path: str, *, body: "_Joined | None" = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            answer = self._client.request(
                method,
                f"{self._base}/{path}",
                body=body or b"",  # type: ignore[arg-type]  # it asks of a file only read() and its length
                headers={**self._headers, **(headers or {})},
            )
            status, said = answer.status_code, bytes(answer.read())
        except (OSError, HTTPParseError) as error:
            raise Unavailable("Meta can't be reached", why=str(error) or type(error).__name__) from error
        try:
            parsed = orjson.loads(said)
        except orjson.JSONDecodeError:
            raise Unavailable("Meta's answer can't be read", why=f"HTTP {status}") from None
        if status != 200 or not isinstance(parsed, dict) or "error" in parsed:
            refusal = parsed.get("error") if isinstance(parsed, dict) else None
            raise _refused(refusal if isinstance(refusal, dict) else {}, status)
        return parsed

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _refused(error: dict[str, Any], status: int) -> MetaRefused:
    data = error.get("error_data")
    details = data.get("details") if isinstance(data, dict) else None
    said = next((text for text in (details, error.get("message")) if isinstance(text, str) and text), f"HTTP {status}")
    return MetaRefused(
        said.replace("\x00", "")[:300], _integer(error.get("code")), _integer(error.get("error_subcode"))
    )


def _integer(value: object) -> int | None:
    if isinstance(value, str) and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class _Joined:
    """A body of known length, read as it is sent: head, pieces, tail."""

    def __init__(self, head: bytes, pieces: Iterable[bytes], tail: bytes, size: int) -> None:
        self._size = len(head) + size + len(tail)
        self._pieces = chain((head,), pieces, (tail,))
        self._rest = memoryview(b"")

    def __len__(self) -> int:
        return self._size

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
        while not self._rest:
            following = next(self._pieces, None)
            if following is None:
                return b""
            self._rest = memoryview(following)
        part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)
