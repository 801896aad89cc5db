"""/health and /metrics: for load balancers and Prometheus."""

import falcon
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from titanflow.errors import Unavailable
from titanflow.http.answers.things import Health
from titanflow.http.context import Context
from titanflow.http.contract import Content, operation
from titanflow.supervision import is_alive


class Live:
    """The process answers."""

    scopes = {"GET": "public"}

    def __init__(self, context: Context) -> None:
        pass

    @operation(Health)
    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Say that it lives: always 200."""
        response.media = {"status": "live"}


class Ready:
    """The process can do its work."""

    scopes = {"GET": "public"}

    def __init__(self, context: Context) -> None:
        self._context = context

    @operation(Health)
    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Say if it can work: database, Redis and the tree are there; else 503, and what is away."""
        with self._context.db.connection() as connection:
            connection.execute("SELECT 1")
        self._context.fast_copy.ping()
        if not is_alive(self._context.root):
            raise Unavailable("The server is stopping")
        response.media = {"status": "ready"}


class Metrics:
    """Prometheus' text format."""

    scopes = {"GET": "public"}

    def __init__(self, context: Context) -> None:
        pass

    @operation(Content((CONTENT_TYPE_LATEST,), "Prometheus' text format"))
    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Answer all series of this process."""
        response.content_type = CONTENT_TYPE_LATEST
        response.data = generate_latest()


ROUTES = [("/health/live", Live), ("/health/ready", Ready), ("/metrics", Metrics)]
