"""Rehearsals: a list with known faults gives the known forecast, and nothing but the rehearsal's own row changes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.builders import ACampaign, a_campaign, a_number, a_sender, claimed
from titanflow.errors import Conflict, NotFound
from titanflow.services import rehearsals as service
from titanflow.storage import portfolios, rehearsals, reports
from titanflow.storage.database import Database

_COLUMN = {"body.1": {"column": "first_name"}, "body.2": {"value": "X1"}}


def _start(database_url: str, data_dir: Path, rehearsal_id: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "DATABASE_URL": database_url, "DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "titanflow.services.rehearsal_worker", str(rehearsal_id)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def _rehearse(db: Database, database_url: str, data_dir: Path, campaign: ACampaign) -> dict[str, Any]:
    made, is_new = service.begin(db, campaign.id, by="test", here=True)
    assert is_new
    worker = _start(database_url, data_dir, made["id"])
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == 0, said.decode()
    return service.get(db, campaign.id, made["id"])


def _set(db: Database, statement: Any, *parameters: Any) -> None:
    with db.connection() as connection:
        connection.execute(statement, list(parameters))


def _row_of(db: Database, campaign: ACampaign, n: int, **variables: str) -> None:
    _set(
        db,
        "UPDATE contacts SET variables = %s WHERE id = %s",
        orjson.dumps(variables).decode(),
        campaign.contact_ids[n],
    )


def _tables(db: Database) -> dict[str, str]:
    """A digest of each table's rows."""
    with db.connection() as connection:
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'rehearsals'"
        ).fetchall()
        digests = {}
        for (name,) in names:
            statement: Any = (
                f"SELECT md5(coalesce(string_agg(one::text, '|' ORDER BY one::text), '')) FROM {name} AS one"
            )
            row = connection.execute(statement).fetchone()
            assert row is not None
            digests[name] = row[0]
    return digests


def _limit(result: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in result["limits"] if one["kind"] == kind)
    return found


def test_known_faults_give_the_known_forecast(db: Database, database_url: str, tmp_path: Path) -> None:
    campaign = a_campaign(db, contacts=12, state="ready", variables=_COLUMN)
    ids, phones = campaign.contact_ids, campaign.phones
    _set(db, "UPDATE contacts SET excluded_reason = 'over_cap' WHERE id = ANY(%s)", ids[0:2])
    _set(db, "UPDATE contacts SET excluded_reason = 'recently_messaged' WHERE id = %s", ids[2])
    _set(
        db,
        "INSERT INTO campaign_reasons (campaign_id, node_id, state, reason, count) VALUES (%s, 0, 'excluded', 'x', 0)",
        campaign.id,
    )
    _set(db, "UPDATE campaign_counters SET pending = 9, excluded = 3 WHERE campaign_id = %s", campaign.id)
    _set(db, "INSERT INTO suppressions (phone, source) VALUES (%s, 'manual')", phones[3])
    _set(
        db,
        "INSERT INTO suppressions (phone, source, expires_at) VALUES (%s, 'manual', now() - interval '1 day')",
        phones[4],
    )
    _row_of(db, campaign, 5)
    _row_of(db, campaign, 6, first_name="  \n ")
    _row_of(db, campaign, 7, first_name="x" * 1025)
    _set(db, "UPDATE contacts SET phone = '+12125550123' WHERE id = %s", ids[8])
    _set(db, "UPDATE contacts SET phone = '+5511987654321' WHERE id = %s", ids[9])
    _set(db, "UPDATE contacts SET phone = '+8613812345678' WHERE id = %s", ids[10])
    _set(
        db,
        "INSERT INTO imports (campaign_id, state, file, duplicates, by_reason) VALUES (%s, 'done', '', 4, %s)",
        campaign.id,
        '{"invalid_number": 2}',
    )
    before, audit = _tables(db), reports.audit(db, campaign.id)

    rehearsal = _rehearse(db, database_url, tmp_path, campaign)

    assert (rehearsal["state"], rehearsal["checked"], rehearsal["total"]) == ("done", 9, 9)
    result = rehearsal["result"]
    assert result["audience"] == {"total": 12, "to_send": 8, "excluded": 4, "sent_before": 0, "would_fail": 4}
    assert result["exclusions"] == {"over_cap": 2, "recently_messaged": 1, "opted_out": 1}
    assert result["excluded_at_the_claim"] == {"opted_out": 1}
    assert result["rejected_lines"] == {"duplicate": 4, "invalid_number": 2}
    assert [(one["code"], one["parameter"], one["count"]) for one in result["failures"]] == [
        (-1, "body.1", 2),
        (132005, None, 1),
        (131049, None, 1),
    ]
    assert result["failures"][0]["first"][0] == {"contact_id": ids[5], "phone": phones[5][:5] + "..." + phones[5][-2:]}
    costs = result["costs"]
    assert {one["country"]: one["messages"] for one in costs["by_country"]} == {"DE": 2, "US": 1, "BR": 1}
    assert costs["without_rate"] == [{"country": "CN", "messages": 1}]
    assert "CN (1)" in costs["problem"]
    assert (costs["table"], costs["currency"], costs["high"]) == ("example", "USD", round(2 * 0.1365 + 0.0625, 2))
    assert "+49" not in str(result).replace(phones[5][:5] + "...", "").replace(phones[6][:5] + "...", "")
    assert _tables(db) == before
    assert reports.audit(db, campaign.id) == audit
    assert list(tmp_path.iterdir()) == []


def test_a_header_whose_file_is_uploaded_when_it_is_needed(db: Database, database_url: str, tmp_path: Path) -> None:
    campaign = a_campaign(db, contacts=3, state="ready", variables=_COLUMN)
    header = [{"type": "HEADER", "format": "IMAGE"}, {"type": "BODY", "text": "Hello {{1}}, your code is {{2}}."}]
    _set(db, "UPDATE templates SET components = %s", orjson.dumps(header).decode())
    _set(db, "UPDATE campaigns SET media = '{\"media_id\": 7}'")

    rehearsal = _rehearse(db, database_url, tmp_path, campaign)

    assert (rehearsal["result"]["audience"]["to_send"], rehearsal["result"]["failures"]) == (3, [])


def test_what_has_been_sent_is_not_sent_again(db: Database, database_url: str, tmp_path: Path) -> None:
    campaign = a_campaign(db, contacts=5)
    sender = a_sender(db, campaign.number_id)
    first = ACampaign(campaign.id, campaign.contact_ids[:2], campaign.number_id, campaign.template_id)
    taken = claimed(db, first, sender)
    _set(db, "UPDATE message_logs SET state = 'retrying', due_at = now() WHERE id = %s", taken[0].log_id)

    result = _rehearse(db, database_url, tmp_path, campaign)["result"]

    assert (result["audience"]["to_send"], result["audience"]["sent_before"]) == (4, 1)


def test_the_same_fault_in_a_row_says_where_the_campaign_would_pause(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    campaign = a_campaign(db, contacts=60, state="ready", variables=_COLUMN)
    _set(db, "UPDATE contacts SET variables = '{}' WHERE id = ANY(%s)", campaign.contact_ids[10:40])

    result = _rehearse(db, database_url, tmp_path, campaign)["result"]

    first = result["limits"][0]
    assert (first["kind"], first["seconds"]) == ("breaker", None)
    assert "after 30 of 60" in first["sentence"]


def test_a_tier_takes_days_and_names_each(db: Database, database_url: str, tmp_path: Path) -> None:
    campaign = a_campaign(db, contacts=600, state="ready")
    portfolios.set_tier(db, "9001", "TIER_250")
    _set(
        db,
        "INSERT INTO portfolio_people (portfolio_id, phone, counted_at)"
        " SELECT '9001', '+1' || n, now() - interval '20 hours' FROM generate_series(1, 100) AS n",
    )

    result = _rehearse(db, database_url, tmp_path, campaign)["result"]

    said = _limit(result, "tier")["sentence"]
    assert said.startswith("The tier lets 250 people a day through: the list of 600 takes 3 days (100 of them are used")
    assert sum(one["messages"] for one in result["duration"]["days"]) == 600
    # 150 at once, 100 after four hours, the next 150 after a day, 100 four hours later, the last 100 after two days
    assert result["duration"]["seconds"][0] == pytest.approx(2 * 86_400, rel=0.01)
    assert result["duration"]["days_in_all"] >= 3
    assert max(one["messages"] for one in result["duration"]["days"]) <= 500
    assert result["failures"] == []  # the judge, by its own count, found no day overrun


def test_what_meta_lets_a_number_send_holds_over_what_was_asked(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    campaign = a_campaign(db, contacts=1_600, state="ready")
    _set(db, "UPDATE phone_numbers SET max_mps = 800, throughput = 'STANDARD', slowed_mps = 20, full_speed_in_s = 3600")
    _set(db, "UPDATE phone_numbers SET speeds_up_at = now()")

    result = _rehearse(db, database_url, tmp_path, campaign)["result"]

    assert _limit(result, "throughput")["sentence"] == (
        "Meta lets these numbers send less than their max_mps: 1001 (80 instead of 800) a second."
    )
    assert result["duration"]["seconds"][0] == pytest.approx(20, rel=0.05)
    assert "throttled 1001" in _limit(result, "slowed_number")["sentence"]


def test_a_row_of_faults_counts_for_each_number(db: Database, database_url: str, tmp_path: Path) -> None:
    """Each number has a breaker of its own: 30 in a row over two numbers are 15 for each."""
    campaign = a_campaign(db, contacts=60, state="ready", variables=_COLUMN)
    second = a_number(db, phone_number_id="1002")
    _set(db, "INSERT INTO campaign_numbers (campaign_id, number_id) VALUES (%s, %s)", campaign.id, second)
    _set(db, "UPDATE contacts SET variables = '{}' WHERE id = ANY(%s)", campaign.contact_ids[10:40])

    result = _rehearse(db, database_url, tmp_path, campaign)["result"]

    assert result["failures"][0]["count"] == 30
    assert [one for one in result["limits"] if one["kind"] == "breaker"] == []


@pytest.mark.parametrize(
    ("media", "failures"),
    [
        ({"media_id": 7}, []),
        ({"link": "https://example.com/a.png"}, []),
        ({"link": "ftp://example.com/a.png"}, [(131009, None)]),
        ({}, [(-1, "header.link")]),
    ],
)
def test_a_picture_in_the_header_is_there_or_missed(
    db: Database, database_url: str, tmp_path: Path, media: dict[str, Any], failures: list[Any]
) -> None:
    campaign = a_campaign(db, contacts=3, state="ready")
    components = [{"type": "HEADER", "format": "IMAGE"}, {"type": "BODY", "text": "Hello {{1}}, {{2}}."}]
    _set(db, "UPDATE templates SET components = %s", orjson.dumps(components).decode())
    _set(db, "UPDATE campaigns SET media = %s", orjson.dumps(media).decode())

    result = _rehearse(db, database_url, tmp_path, campaign)["result"]

    assert [(one["code"], one["parameter"]) for one in result["failures"]] == failures


def test_only_the_latest_rehearsals_are_kept(db: Database) -> None:
    campaign = a_campaign(db, state="ready")
    _set(
        db,
        "INSERT INTO rehearsals (campaign_id, state, requested_by) SELECT %s, 'done', 'x' FROM generate_series(1, 60)",
        campaign.id,
    )

    made, _ = service.begin(db, campaign.id, by="test")

    kept = rehearsals.page(db, campaign.id, before=2**31 - 1, limit=100)
    assert (len(kept), kept[0]["id"]) == (51, made["id"])


def test_a_send_window_and_a_schedule_are_kept(db: Database, database_url: str, tmp_path: Path) -> None:
    """From 9 to 10 h in Berlin at one message a second: 3,600 an hour and day; the clock changes on 28 March 2027."""
    campaign = a_campaign(db, contacts=4_000, state="ready")
    window = {"timezone": "Europe/Berlin", "days": ["sat", "sun"], "from": "09:00", "to": "10:00"}
    _set(
        db,
        "UPDATE campaigns SET max_mps = 1, schedule_at = '2027-03-27 00:00+01', send_window = %s WHERE id = %s",
        orjson.dumps(window).decode(),
        campaign.id,
    )

    result = _rehearse(db, database_url, tmp_path, campaign)["result"]

    duration = result["duration"]
    assert duration["starts_at"] == "2027-03-26T23:00:00Z"
    assert duration["timezone"] == "Europe/Berlin"
    first, second = duration["days"]
    assert (first["date"], second["date"]) == ("2027-03-27", "2027-03-28")
    assert first["messages"] + second["messages"] == 4_000
    assert 3_500 <= first["messages"] <= 3_600
    assert duration["ends_at"][0].startswith("2027-03-28T07:0")  # 9 h summer time
    assert _limit(result, "send_window")["seconds"] > 24 * 3600
    assert "The campaign's own limit is 1 a second" in _limit(result, "max_mps")["sentence"]


def test_a_blocked_number_and_an_unapproved_template_are_said_first(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    campaign = a_campaign(db, contacts=5, state="ready")
    _set(db, "UPDATE phone_numbers SET state = 'blocked', state_reason = 'No payment method'")
    _set(db, "UPDATE templates SET status = 'PAUSED'")

    result = _rehearse(db, database_url, tmp_path, campaign)["result"]

    assert result["duration"]["seconds"] is None
    assert {one["kind"] for one in result["limits"] if one["seconds"] is None} == {"no_number", "template"}
    assert "No payment method" in _limit(result, "no_number")["sentence"]
    assert [(one["code"], one["count"]) for one in result["failures"]] == [(132015, 5)]


def test_the_operators_rates_replace_the_example(db: Database, database_url: str, tmp_path: Path) -> None:
    campaign = a_campaign(db, contacts=10, state="ready")
    (tmp_path / "rates.csv").write_text("country,category,currency,rate\nDE,MARKETING,EUR,0.5\n")

    costs = _rehearse(db, database_url, tmp_path, campaign)["result"]["costs"]

    assert (costs["currency"], costs["low"], costs["high"], costs["table"]) == ("EUR", 4.25, 5.0, "rates.csv")


def test_a_bad_rate_table_costs_only_the_costs(db: Database, database_url: str, tmp_path: Path) -> None:
    campaign = a_campaign(db, contacts=3, state="ready")
    (tmp_path / "rates.csv").write_text("country;category\n")

    result = _rehearse(db, database_url, tmp_path, campaign)["result"]

    assert result["costs"]["problem"].startswith("rates.csv can't be used: line 1")
    assert result["costs"]["currency"] is None
    assert result["duration"]["seconds"] is not None


def test_a_second_request_gets_the_one_that_runs(db: Database) -> None:
    campaign = a_campaign(db, state="ready")

    first, is_new = service.begin(db, campaign.id, by="test")
    second, is_new_again = service.begin(db, campaign.id, by="test")

    assert (second["id"], is_new, is_new_again) == (first["id"], True, False)


def test_a_rehearsal_is_taken_by_one_node(db: Database) -> None:
    campaign = a_campaign(db, state="ready")
    made, _ = service.begin(db, campaign.id, by="test")

    assert [rehearsals.take_next(db), rehearsals.take_next(db)] == [
        {"id": made["id"], "campaign_id": campaign.id},
        None,
    ]


@pytest.mark.parametrize("state", ["importing", "completed", "cancelled", "failed"])
def test_what_sends_nothing_any_more_is_not_rehearsed(db: Database, state: str) -> None:
    campaign = a_campaign(db, state=state)

    with pytest.raises(Conflict):
        service.begin(db, campaign.id, by="test")


def test_what_is_missing_is_said(db: Database) -> None:
    campaign = a_campaign(db, contacts=0, state="draft")

    with pytest.raises(Conflict) as caught:
        service.begin(db, campaign.id, by="test")

    assert caught.value.fields["missing"] == ["no_contacts"]
    with pytest.raises(NotFound):
        service.get(db, campaign.id, 99)


def _until(condition: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_cancelled_rehearsal_stops_its_processes(db: Database, database_url: str, tmp_path: Path) -> None:
    campaign = a_campaign(db, contacts=60_000, state="ready")
    before = _tables(db)
    made, _ = service.begin(db, campaign.id, by="test", here=True)
    worker = _start(database_url, tmp_path, made["id"])
    _until(lambda: service.get(db, campaign.id, made["id"])["checked"] > 0)
    judges = _children(worker.pid)

    cancelled = service.cancel(db, campaign.id, made["id"])

    worker.communicate(timeout=30)
    assert (worker.returncode, cancelled["state"]) == (0, "cancelled")
    assert judges
    assert not any(Path(f"/proc/{pid}").exists() for pid in judges)
    assert service.get(db, campaign.id, made["id"])["result"] is None
    assert _tables(db) == before


def test_a_killed_worker_is_buried_with_the_reason(db: Database, database_url: str, tmp_path: Path) -> None:
    campaign = a_campaign(db, contacts=60_000, state="ready")
    made, _ = service.begin(db, campaign.id, by="test", here=True)
    worker = _start(database_url, tmp_path, made["id"])
    _until(lambda: service.get(db, campaign.id, made["id"])["checked"] > 0)
    judges = _children(worker.pid)
    _set(db, "UPDATE rehearsals SET started_at = now() - interval '1 hour'")
    assert rehearsals.bury(db) == []  # it lives

    worker.send_signal(signal.SIGKILL)
    worker.communicate(timeout=10)

    _until(lambda: rehearsals.bury(db) == [made["id"]])
    found = service.get(db, campaign.id, made["id"])
    assert found["state"] == "failed"
    assert "ended before it was done" in found["error"]
    _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in judges))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_judge_fails_the_rehearsal_with_the_reason(db: Database, database_url: str, tmp_path: Path) -> None:
    campaign = a_campaign(db, contacts=60_000, state="ready")
    made, _ = service.begin(db, campaign.id, by="test", here=True)
    worker = _start(database_url, tmp_path, made["id"])
    _until(lambda: service.get(db, campaign.id, made["id"])["checked"] > 0)

    for pid in _children(worker.pid):
        os.kill(pid, signal.SIGKILL)

    worker.communicate(timeout=30)
    found = service.get(db, campaign.id, made["id"])
    assert (found["state"], found["error"]) == (
        "failed",
        "The sandbox's judge ended with code -9. Ask for another rehearsal.",
    )


def test_who_fails_gives_the_place_in_the_tier_back(db: Database, database_url: str, tmp_path: Path) -> None:
    """239 of 300 can be reached: a tier of 250 is enough for all of them at once."""
    campaign = a_campaign(db, contacts=300, state="ready", variables=_COLUMN)
    portfolios.set_tier(db, "9001", "TIER_250")
    _set(db, "UPDATE contacts SET variables = '{}' WHERE id = ANY(%s)", campaign.contact_ids[::10])
    long_text = orjson.dumps({"first_name": "x" * 1025}).decode()
    _set(db, "UPDATE contacts SET variables = %s WHERE id = ANY(%s)", long_text, campaign.contact_ids[5:250:8])

    result = _rehearse(db, database_url, tmp_path, campaign)["result"]

    assert [(one["code"], one["count"]) for one in result["failures"]] == [(132005, 31), (-1, 30)]
    assert result["duration"]["seconds"][1] < 60
    assert [one for one in result["limits"] if one["kind"] == "tier"] == []


def test_who_counts_already_needs_no_place_in_the_tier(db: Database, database_url: str, tmp_path: Path) -> None:
    campaign = a_campaign(db, contacts=300, state="ready")
    portfolios.set_tier(db, "9001", "TIER_250")
    _set(
        db,
        "INSERT INTO portfolio_people (portfolio_id, phone, counted_at)"
        " SELECT '9001', phone, now() - interval '1 hour' FROM unnest(%s::text[]) AS phone",
        campaign.phones[50:300],
    )

    result = _rehearse(db, database_url, tmp_path, campaign)["result"]

    # The 250 who count pass, and count for a day from then on; the other 50 wait for that day's end.
    assert result["duration"]["seconds"] == pytest.approx([24 * 3600, 24 * 3600], rel=0.01)
    assert result["failures"] == []
