"""The whole tree of a node in the test's own process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from titanflow import application
from titanflow.domain.vault import Vault
from titanflow.settings import Settings
from titanflow.storage.database import Database

KEY = "a key for the tests alone"
PIN = "83-92-01"


def give_tokens(db: Database) -> None:
    """Give all phone numbers an access token that the tree can decrypt."""
    with db.connection() as connection:
        connection.execute("UPDATE phone_numbers SET access_token = %s", [Vault([KEY]).encrypt("token")])


@contextmanager
def running_node(
    database_url: str, redis_url: str, data_dir: Path, *, graph_url: str = "http://127.0.0.1:9"
) -> Iterator[application.Application]:
    """Start the tree and stop it at the end. graph_url: by default a closed port, so that nothing can leave."""
    settings = Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        secret_key=(SecretStr(KEY),),
        admin_pin=SecretStr(PIN),
        meta_app_secret=(SecretStr("secret"),),
        meta_verify_token=SecretStr("token"),
        meta_graph_url=graph_url,
        pipeline_concurrency=3,
        data_dir=data_dir,
    )
    started = application.start(settings)
    try:
        yield started
    finally:
        started.stop()
