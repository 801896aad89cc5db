"""/health and /metrics: for load balancers and Prometheus."""

import falcon
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from titanflow.http.context import Context
from titanflow.supervision import is_alive


class Live:
    """The process answers."""

    scopes = {"GET": "public"}

    def __init__(self, context: Context) -> None:
        pass

    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Always 200."""
        response.media = {"status": "live"}


class Ready:
    """The process can do its work."""

    scopes = {"GET": "public"}

    def __init__(self, context: Context) -> None:
        self._context = context

    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """200 if database, Redis and the tree are there; else 503 by the error that says what is away."""
        with self._context.db.connection() as connection:
            connection.execute("SELECT 1")
        self._context.fast_copy.ping()
        ready = is_alive(self._context.root)
        response.status = 200 if ready else 503
        response.media = {"status": "ready" if ready else "stopping"}


class Metrics:
    """Prometheus' text format."""

    scopes = {"GET": "public"}

    def __init__(self, context: Context) -> None:
        pass

    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        """Answer all series of this process."""
        response.content_type = CONTENT_TYPE_LATEST
        response.data = generate_latest()


ROUTES = [("/health/live", Live), ("/health/ready", Ready), ("/metrics", Metrics)]
