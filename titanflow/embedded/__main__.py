"""`python -m titanflow.embedded --data-dir D`: the servers alone, by hand, until Ctrl-C."""

import argparse
import signal
import sys
from pathlib import Path

from titanflow.embedded import start
from titanflow.errors import TitanFlowError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m titanflow.embedded", description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path(".data"))
    data_dir = parser.parse_args().data_dir
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with start(data_dir) as servers:
            print(f"DATABASE_URL={servers.urls.database_url}", flush=True)
            print(f"REDIS_URL={servers.urls.redis_url}", flush=True)
            print("Ctrl-C stops both.", file=sys.stderr)
            signal.pause()
    except TitanFlowError as error:
        print(error.one_line(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
