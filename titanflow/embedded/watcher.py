"""The process that stops the servers of an owner that was killed.

`python -m titanflow.embedded.watcher DATA_DIR TOKEN`, the token being that of the owner's `start`.
It waits for a byte on its standard input, or for its end: only the owner (and what it forked) holds it open.
"""

import signal
import sys
from pathlib import Path

from titanflow.embedded import locks
from titanflow.embedded.layout import layout_of
from titanflow.embedded.servers import stop_owned


def main() -> None:
    data_dir, token = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whoever stops the service stops the owner; we come after
    sys.stdin.buffer.read(1)
    layout = layout_of(Path(data_dir))
    with locks.held(layout.start_lock, timeout_s=300):
        stop_owned(layout, token)


if __name__ == "__main__":
    main()
