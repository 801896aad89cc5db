"""Real PostgreSQL and Valkey servers, run from wheels, with their data under DATA_DIR.

For `demo`, `serve --embedded` and the tests: no container, no system package, no root needed.
`start` owns what it started: it stops with the owner, however the owner ends. Any other command
with the same DATA_DIR uses `find`.
"""

from titanflow.embedded.layout import secret_key
from titanflow.embedded.servers import EmbeddedServers, EmbeddedUrls, find, start

__all__ = ["EmbeddedServers", "EmbeddedUrls", "find", "secret_key", "start"]
