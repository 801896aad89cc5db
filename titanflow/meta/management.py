"""Meta's management calls: reading templates and numbers. Idempotent, so these may be asked again."""

from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPParseError

from titanflow.errors import Unavailable

_TIMEOUT_S = 30.0
_PAGE = 100
_MOST_PAGES = 200


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
        """Return all templates of an account. Raises Unavailable with Meta's own words if it refuses."""
        found: list[dict[str, Any]] = []
        after = ""
        for _ in range(_MOST_PAGES):
            query = {"limit": str(_PAGE), **({"after": after} if after else {})}
            page = self._get(f"{waba_id}/message_templates", query)
            found += [one for one in page.get("data", []) if isinstance(one, dict)]
            paging = page.get("paging") or {}
            if not paging.get("next"):
                return found
            after = str(paging["cursors"]["after"])
        return found

    def number(self, phone_number_id: str) -> dict[str, Any]:
        """Return Meta's fields of a number. Raises Unavailable."""
        fields = "id,display_phone_number,verified_name,status,quality_rating,whatsapp_business_manager_messaging_limit"
        return self._get(phone_number_id, {"fields": fields})

    def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        try:
            answer = self._client.get(f"{self._base}/{path}?{urlencode(query)}", headers=self._headers)
            status, body = answer.status_code, bytes(answer.read())
        except (OSError, HTTPParseError) as error:
            raise Unavailable("Meta can't be reached", why=str(error) or type(error).__name__) from error
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise Unavailable("Meta's answer can't be read", why=f"HTTP {status}") from None
        if status != 200 or not isinstance(parsed, dict) or "error" in parsed:
            said = parsed.get("error", {}) if isinstance(parsed, dict) else {}
            raise Unavailable("Meta refused", why=str(said.get("message", f"HTTP {status}"))[:300])
        return parsed

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
