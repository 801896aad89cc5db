"""`titanflow serve`: checks the set-up with one clear line a fault, then runs gunicorn as a child."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

from titanflow import embedded
from titanflow import settings as settings_module
from titanflow.cli.api_client import ApiClient
from titanflow.cli.stage import check_port, gunicorn_config
from titanflow.storage.fast_copy import FastCopy
from titanflow.storage.migrations import migrate


def run(*, use_embedded: bool, log_as_json: bool = False) -> int:
    """Run until SIGTERM or Ctrl-C. Returns gunicorn's exit code. Raises TitanFlowError if the set-up is wrong."""
    if log_as_json:
        os.environ["LOG_FORMAT"] = "json"
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
        check_port(settings.bind)
        migrate(settings.require_database())
        fast_copy = FastCopy(settings.require_redis())
        fast_copy.ping()
        fast_copy.close()
        address = f"http://{settings.bind.replace('0.0.0.0', '127.0.0.1').replace('[::]', '[::1]')}"  # noqa: S104  (where we look)
        child = subprocess.Popen([sys.executable, "-m", "gunicorn", "-c", str(gunicorn_config())])
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: child.terminate())
        told = False
        while child.poll() is None:
            time.sleep(0.5)
            if not told and ApiClient(address, "").is_up("/health/live"):
                told = True
                print(f"TitanFlow serves on {address}", flush=True)
            if servers is not None:
                servers.mend()
        return child.returncode
