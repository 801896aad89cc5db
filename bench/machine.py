"""What a figure was measured on."""

import os
import platform
from importlib import metadata
from typing import Any

_PACKAGES = ("gevent", "greenlet", "pykka", "psycopg", "redis", "falcon", "gunicorn", "geventhttpclient", "orjson")


def machine() -> dict[str, Any]:
    """Return Python, cores and the versions that matter."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
    }
