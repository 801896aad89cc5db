"""How answers travel: not at all if the client has them already, smaller if it takes gzip."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.builders import a_campaign, a_sender, claimed
from tests.support.in_process_api import Api, an_api


@pytest.fixture
def api(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Api]:
    with an_api(database_url, redis_url, tmp_path) as made:
        yield made


def test_what_a_client_has_already_is_304_until_it_changes(api: Api) -> None:
    campaign = a_campaign(api.db, contacts=3, state="paused")
    path = f"/campaigns/{campaign.id}/stats"
    first = api.ask("GET", path)
    tag = first.headers["ETag"]

    same = api.ask("GET", path, If_None_Match=f'"other", {tag}')
    with api.db.connection() as connection:
        connection.execute("UPDATE campaigns SET state = 'running'")
    claimed(api.db, campaign, a_sender(api.db, campaign.number_id))
    changed = api.ask("GET", path, If_None_Match=tag)

    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag
    assert changed.json["counts"]["claimed"] == 3


def test_what_may_be_personal_is_kept_by_nobody(shared_api: Api) -> None:
    assert shared_api.ask("GET", "/contacts/+4915100000001").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [("gzip", True), ("br, gzip;q=0.2", True), ("*", True), ("identity", False), ("gzip;q=0", False), ("", False)],
)
def test_long_answers_are_gzip_for_those_who_take_it(shared_api: Api, accepts: str, packed: bool) -> None:
    campaign = a_campaign(shared_api.db, contacts=100)

    answer = shared_api.ask("GET", f"/campaigns/{campaign.id}/messages?limit=100", Accept_Encoding=accepts)

    assert (answer.headers.get("Content-Encoding") == "gzip") == packed
    body = gzip.decompress(answer.content) if packed else answer.content
    assert len(json.loads(body)["items"]) == 100
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_short_ones_go_as_they_are_and_both_have_one_tag(api: Api) -> None:
    a_campaign(api.db, contacts=100)
    short = api.ask("GET", "/campaigns/99", Accept_Encoding="gzip")
    plain, packed = (api.ask("GET", "/campaigns/1/messages", Accept_Encoding=one) for one in ("identity", "gzip"))

    assert "Content-Encoding" not in short.headers
    assert plain.headers["ETag"] == packed.headers["ETag"]
    assert len(packed.content) < len(plain.content) / 4


def test_a_head_is_a_get_without_its_body(api: Api) -> None:
    a_campaign(api.db, contacts=3)

    answer = api.ask("HEAD", "/campaigns/1/stats")

    assert answer.content == b""
