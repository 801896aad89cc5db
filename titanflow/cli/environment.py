"""What commands work on: the settings, the database and Redis they name, or a running server's API."""

import getpass
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click

from titanflow import embedded
from titanflow import settings as settings_module
from titanflow.cli.api_client import ApiClient
from titanflow.errors import ConfigurationError
from titanflow.services import audit
from titanflow.settings import Settings
from titanflow.storage import migrations
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy

_ADDRESS = "http://127.0.0.1:8000"


def settings() -> Settings:
    """Return the environment; running embedded servers of the same DATA_DIR fill what is not set."""
    found_settings = settings_module.load()
    if found_settings.database is None or found_settings.redis is None:
        found = embedded.find(found_settings.data_dir)
        if found is not None:
            os.environ.setdefault("DATABASE_URL", found.database_url)
            os.environ.setdefault("REDIS_URL", found.redis_url)
            if not found_settings.secret_key:
                os.environ["SECRET_KEY"] = embedded.secret_key(found_settings.data_dir)
            found_settings = settings_module.load()
    return found_settings


@contextmanager
def database() -> Iterator[Database]:
    """Lend a small pool on the migrated database. Raises ConfigurationError, StorageUnavailable."""
    url = settings().require_database()
    waiting = migrations.pending(url)  # asked first: it says in one line what is wrong
    if waiting:
        raise ConfigurationError(
            f"The database lacks {len(waiting)} migrations", fix="Run `titanflow migrate`, or start the server."
        )
    lent = Database(url, pool_size=2)
    try:
        yield lent
    finally:
        lent.close()


def who() -> str:
    """Name the person at the keyboard, as the audit log and reasons show it: cli:ana."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):  # a container's user without a name
        return f"cli:{os.getuid()}"


@contextmanager
def changing(target: str) -> Iterator[Database]:
    """Lend the database to a command that changes something: the audit log keeps who ran it, on what, how it ended."""
    with database() as lent:
        with audit.recorded(lent, who=who(), what=_command(), target=target, host=socket.gethostname()):
            yield lent


def _command() -> str:
    names, context = [], click.get_current_context()
    while context.parent is not None:
        names.append(context.info_name or "")
        context = context.parent
    return " ".join(["titanflow", *reversed(names)])


@contextmanager
def fast_copy() -> Iterator[FastCopy]:
    """Lend Redis, to tell running servers at once what has changed; they see it within a second anyway."""
    lent = FastCopy(settings().require_redis())
    try:
        yield lent
    finally:
        lent.close()


def on_server(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --address and --token; it gets `server`, an ApiClient."""

    @wraps(command)
    def with_client(*arguments: Any, address: str, token: str, **options: Any) -> Any:
        return command(*arguments, server=ApiClient(address, token), **options)

    add_token = click.option(
        "--token", envvar="TITANFLOW_TOKEN", required=True, help="From `titanflow token create`; or TITANFLOW_TOKEN."
    )
    add_address = click.option(
        "--address",
        envvar="TITANFLOW_ADDRESS",
        default=_ADDRESS,
        show_default=True,
        help="The running server; or TITANFLOW_ADDRESS.",
    )
    return add_address(add_token(with_client))
