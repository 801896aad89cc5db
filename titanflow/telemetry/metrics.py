"""Metrics of the process itself. Others stand where they are counted; docs/operations.md names them all."""

from collections.abc import Callable
from functools import partial

from prometheus_client import Gauge

_HUB_LAG = Gauge("titanflow_hub_lag_ms", "How late the event loop's timers came in the last minute", ["quantile"])


def watch_hub(quantile_ms: Callable[[str], float]) -> None:
    """Publish the hub's lag. quantile_ms: returns it for "0.5", "0.99" and "1", whenever somebody scrapes."""
    for quantile in ("0.5", "0.99", "1"):
        _HUB_LAG.labels(quantile).set_function(partial(quantile_ms, quantile))
