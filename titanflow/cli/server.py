"""`titanflow serve`: checks the set-up with one clear line a fault, then runs gunicorn as a child."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

from titanflow import embedded
from titanflow import settings as settings_module
from titanflow.cli.stage import gunicorn_config
from titanflow.errors import ConfigurationError
from titanflow.storage.fast_copy import FastCopy
from titanflow.storage.migrations import migrate


def run(*, use_embedded: bool) -> int:
    """Run until SIGTERM or Ctrl-C. Returns gunicorn's exit code. Raises TitanFlowError if the set-up is wrong."""
    with ExitStack() as stack:
        settings = settings_module.load()
        servers = None
        if use_embedded and (settings.database is None or settings.redis is None):
            servers = stack.enter_context(
                embedded.start(settings.data_dir, postgres=settings.database is None, redis=settings.redis is None)
            )
            if settings.database is None:
                os.environ["DATABASE_URL"] = servers.urls.database_url
            if settings.redis is None:
                os.environ["REDIS_URL"] = servers.urls.redis_url
            os.environ.setdefault("SECRET_KEY", embedded.secret_key(settings.data_dir))
            settings = settings_module.load()
        settings.require_server()
        _check_port(settings.bind)
        migrate(settings.require_database())
        fast_copy = FastCopy(settings.require_redis())
        fast_copy.ping()
        fast_copy.close()
        child = subprocess.Popen([sys.executable, "-m", "gunicorn", "-c", str(gunicorn_config())])
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: child.terminate())
        print(f"TitanFlow serves on http://{settings.bind}", flush=True)
        while child.poll() is None:
            time.sleep(0.5)
            if servers is not None:
                servers.mend()
        return child.returncode


def _check_port(bind: str) -> None:
    host, _, port = bind.rpartition(":")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]") or "0.0.0.0", int(port)))  # noqa: S104  (what the operator asked for)
        except OSError as error:
            raise ConfigurationError(f"BIND {bind} can't be used", why=error.strerror or "", fix="Set BIND.") from None
