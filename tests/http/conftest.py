"""Every answer that the tests of this folder get is held against the OpenAPI document."""

from collections.abc import Iterator

import pytest

from tests.support import conformance
from tests.support.in_process_api import Api, an_api
from tests.support.servers import fresh_database, short_folder
from titanflow.cli.stage import Stage
from titanflow.embedded import EmbeddedServers


@pytest.fixture(autouse=True)
def _answers_are_as_described(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    judge = conformance.watch(monkeypatch)
    yield
    assert not judge.faults, "answers that differ from what @operation says:\n" + "\n".join(judge.faults[:20])


@pytest.fixture(scope="module")
def shared_api(
    servers: EmbeddedServers, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """The app in the test's process on one database a module: for tests that don't get into each other's way."""
    with (
        fresh_database(servers, template=migrated_template) as url,
        an_api(url, servers.urls.redis_url, tmp_path_factory.mktemp("api")) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The real server with everything that it needs, one a module."""
    with short_folder() as folder:
        made = Stage(folder / "data", speed=10)
        try:
            made.start()
            yield made
        finally:
            made.stop()
