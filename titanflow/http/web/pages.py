"""The live status page, and what pages are made with. Plain HTML, one small script, no inline code."""

from pathlib import Path

import falcon
import jinja2

from titanflow.errors import NotFound
from titanflow.http.context import Context

_HERE = Path(__file__).parent
_PAGES = jinja2.Environment(loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True)
_STATIC = {"status.css": "text/css", "docs.css": "text/css", "status.js": "text/javascript"}


class Status:
    """The status page."""

    scopes = {"GET": "page"}

    def __init__(self, context: Context) -> None:
        pass

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Show it."""
        show(response, "status.html", csrf_token=request.context.session.csrf_token)


class Static:
    """The page's own style and script."""

    scopes = {"GET": "public"}

    def __init__(self, context: Context) -> None:
        self._files = {name: (_HERE / "static" / name).read_bytes() for name in _STATIC}

    def on_get(self, _: falcon.Request, response: falcon.Response, name: str) -> None:
        """Serve one of the files known by name."""
        if name not in self._files:
            raise NotFound(f"There is no file {name}")
        response.content_type = _STATIC[name]
        response.set_header("Cache-Control", "public, max-age=300")
        response.data = self._files[name]


def show(response: falcon.Response, page: str, **values: object) -> None:
    """Answer with a page, never cached."""
    response.content_type = "text/html; charset=utf-8"
    response.set_header("Cache-Control", "no-store")
    response.text = render(page, **values)


def render(page: str, **values: object) -> str:
    """Return a page's HTML."""
    return _PAGES.get_template(page).render(**values)


ROUTES: list[tuple[str, type]] = [("/", Status), ("/static/{name}", Static)]
