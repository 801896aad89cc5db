"""The export: how a campaign stood at one moment, a line a contact, harmless to a spreadsheet, whoever reads it."""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.builders import ACampaign, a_campaign, a_sender, claimed
from tests.support.in_process_api import Api, an_api
from titanflow.storage import exports
from titanflow.storage.database import Database
from titanflow.storage.settlements import Settlement, settle

_FORMULA = '=HYPERLINK("http://evil.example", "A\nB"), \\. {2}'


@pytest.fixture
def api(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Api]:
    with an_api(database_url, redis_url, tmp_path) as made:
        yield made


def _played(db: Database) -> ACampaign:
    """Sent, failed with words from outside, excluded, and one who came later and is pending."""
    campaign = a_campaign(db, contacts=4, template="+offer")
    with db.connection() as connection:
        connection.execute("UPDATE contacts SET excluded_reason = 'over_cap' WHERE id = %s", [campaign.contact_ids[2]])
        connection.execute("DELETE FROM contacts WHERE id = %s", [campaign.contact_ids[3]])
        connection.execute(
            "INSERT INTO contacts (campaign_id, phone) VALUES (%s, %s)", [campaign.id, campaign.phones[3]]
        )
    first, second = (one.log_id for one in claimed(db, campaign, a_sender(db, campaign.number_id)))
    assert first
    assert second
    settlements = [
        Settlement(first, 1, "sent", wamid="wamid.A"),
        Settlement(second, 1, "failed", error_code=131026, error_detail=_FORMULA),
    ]
    settle(db, settlements, node_id=1)
    return campaign


def test_every_contact_has_a_line_in_both_formats(api: Api) -> None:
    campaign = _played(api.db)
    api_rows = api.ask("GET", f"/campaigns/{campaign.id}/messages").json["items"]

    as_csv = list(csv.DictReader(io.StringIO(api.ask("GET", f"/campaigns/{campaign.id}/export").text, newline="")))
    as_json = [
        json.loads(line) for line in api.ask("GET", f"/campaigns/{campaign.id}/export?format=ndjson").text.splitlines()
    ]

    assert [tuple(row) for row in as_csv] == [exports.COLUMNS] * 4
    assert [row["state"] for row in as_csv] == ["sent", "failed", "excluded", "pending"]
    assert [row["phone"] for row in as_csv] == campaign.phones
    assert as_csv[2]["reason"] == "over_cap"
    assert as_csv[0]["sent_at"].endswith("Z")
    times = ("sent_at", "delivered_at", "read_at")
    for line, row in zip(as_json, api_rows, strict=True):
        assert {key: line[key] for key in line if key not in times} == {
            key: row[key] for key in row if key not in times
        }
    assert [row["attempts"] for row in as_json] == [1, 1, 0, 0]


def test_what_comes_from_outside_is_no_formula_to_a_spreadsheet(api: Api) -> None:
    campaign = _played(api.db)

    rows = list(csv.DictReader(io.StringIO(api.ask("GET", f"/campaigns/{campaign.id}/export").text, newline="")))
    lines = api.ask("GET", f"/campaigns/{campaign.id}/export?format=ndjson").text.splitlines()

    assert rows[1]["reason"] == "'" + _FORMULA
    assert rows[1]["template"] == "'+offer"
    assert json.loads(lines[1])["reason"] == _FORMULA  # data for programs stays as it is


def test_it_is_gzip_for_those_who_take_it(api: Api) -> None:
    campaign = _played(api.db)
    path = f"/campaigns/{campaign.id}/export"

    packed = api.ask("GET", path, Accept_Encoding="br;q=1, gzip;q=0.5")

    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.content) == api.ask("GET", path, Accept_Encoding="gzip;q=0").content


def test_it_is_one_snapshot_and_a_client_that_goes_away_ends_the_query(db: Database) -> None:
    campaign = a_campaign(db, contacts=30_000)
    blocks = exports.export(db, campaign.id, "csv")
    first = next(blocks)

    with db.connection() as connection:
        connection.execute("UPDATE contacts SET excluded_reason = 'over_cap' WHERE campaign_id = %s", [campaign.id])
    rest = b"".join(blocks)
    leaving = exports.export(db, campaign.id, "csv")
    next(leaving)
    leaving.close()

    assert (first + rest).count(b",pending,") == 30_000
    with db.connection() as connection:
        running = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY (%'").fetchone()
    assert running == (0,)


def test_four_at_once_and_no_more_and_none_is_counted_for_ever(api: Api) -> None:
    campaign = a_campaign(api.db, contacts=3)
    path = f"/campaigns/{campaign.id}/export"

    for _ in range(6):  # each is read to its end by the test client
        assert api.ask("GET", path).status_code == 200
    assert api.ask("GET", path + "?format=xml").json["code"] == "invalid_input"
    assert api.ask("GET", "/campaigns/999/export").status_code == 404
