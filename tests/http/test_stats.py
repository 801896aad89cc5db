"""Promise 5, as dashboards see it: figures from roll-ups are those of the rows, in the days of any time zone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import ACampaign, a_campaign, a_sender, claimed
from tests.support.in_process_api import Api, an_api
from tests.support.webhooks import says, webhook
from titanflow.storage import statuses
from titanflow.storage.settlements import Settlement, settle
from titanflow.storage.statuses import StatusRow

_AT = datetime(2026, 3, 10, 18, 29, tzinfo=UTC)  # a minute before a day begins in Kolkata


@pytest.fixture
def api(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Api]:
    with an_api(database_url, redis_url, tmp_path) as made:
        yield made


def _sent(api: Api, *, contacts: int = 3, first_phone: int = 491510000000, **more: Any) -> tuple[ACampaign, list[int]]:
    campaign = a_campaign(api.db, contacts=contacts, first_phone=first_phone, **more)
    taken = claimed(api.db, campaign, a_sender(api.db, campaign.number_id))
    return campaign, [one.log_id or 0 for one in taken]


def _report(api: Api, *rows: tuple[int, str, datetime], code: int | None = None) -> None:
    with api.db.transaction() as transaction:
        told = [StatusRow(f"w{log_id}", status, at, log_id, 1, code) for log_id, status, at in rows]
        statuses.apply(transaction, told, node_id=1)


@pytest.fixture
def over_midnight(api: Api) -> ACampaign:
    """Three sent before a midnight of Kolkata; one read a day later, one delivered after it, one failed."""
    campaign, ids = _sent(api)
    _report(api, *[(log_id, "sent", _AT) for log_id in ids])
    _report(api, (ids[0], "read", _AT + timedelta(days=1)), (ids[1], "delivered", _AT + timedelta(minutes=2)))
    _report(api, (ids[2], "failed", _AT + timedelta(minutes=3)), code=131026)
    return campaign


def _rows(answer: Any, key: str) -> dict[str, tuple[int, ...]]:
    """The rows that are not zero."""
    names = ("sent", "delivered", "read", "failed")
    found = {row[key]: tuple(row[name] for name in names) for row in answer.json["items"]}
    return {name: row for name, row in found.items() if any(row)}


def test_days_are_those_of_the_zone(api: Api, over_midnight: ACampaign) -> None:
    at = f"from=2026-03-09&to=2026-03-12&campaign_id={over_midnight.id}"

    kolkata = api.ask("GET", f"/stats/daily?{at}&timezone=Asia/Kolkata")
    utc = api.ask("GET", f"/stats/daily?{at}")

    assert _rows(kolkata, "day") == {"2026-03-10": (3, 0, 0, 0), "2026-03-11": (0, 2, 1, 1)}
    assert _rows(utc, "day") == {"2026-03-10": (3, 1, 0, 1), "2026-03-11": (0, 1, 1, 0)}
    assert [row["day"] for row in utc.json["items"]] == ["2026-03-09", "2026-03-10", "2026-03-11", "2026-03-12"]
    totals = utc.json["totals"]
    assert (totals["sent"], totals["delivered"], totals["delivered_pct"]) == (3, 2, 66.67)
    assert (totals["read_pct"], totals["failed_pct"]) == (50.0, 33.33)
    assert totals["of"] == {
        "delivered_pct": "sent", "read_pct": "delivered", "failed_pct": "delivered + failed",
        "replied_pct": "delivered",
    }  # fmt: skip


def test_hours_are_those_of_the_zones_clock(api: Api, over_midnight: ACampaign) -> None:
    found = api.ask("GET", "/stats/hourly?from=2026-03-10&to=2026-03-10T20:00Z&timezone=Asia/Kolkata")

    assert _rows(found, "local") == {
        "2026-03-10T23:00:00+05:30": (3, 0, 0, 0),
        "2026-03-11T00:00:00+05:30": (0, 1, 0, 1),
    }
    assert _rows(found, "hour") == {"2026-03-10T17:30:00Z": (3, 0, 0, 0), "2026-03-10T18:30:00Z": (0, 1, 0, 1)}


def test_an_hour_that_a_clock_change_repeats_is_two(api: Api) -> None:
    _, ids = _sent(api, contacts=2)
    fold = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 in Berlin, the first time
    _report(api, (ids[0], "sent", fold), (ids[1], "sent", fold + timedelta(hours=1)))

    hours = api.ask("GET", "/stats/hourly?from=2026-10-25&to=2026-10-25&timezone=Europe/Berlin")
    days = api.ask("GET", "/stats/daily?from=2026-10-25&to=2026-10-25&timezone=Europe/Berlin")

    assert len(hours.json["items"]) == 25
    assert _rows(hours, "local") == {
        "2026-10-25T02:00:00+02:00": (1, 0, 0, 0),
        "2026-10-25T02:00:00+01:00": (1, 0, 0, 0),
    }
    assert _rows(days, "day") == {"2026-10-25": (2, 0, 0, 0)}


def test_numbers_templates_and_failures_of_a_period(api: Api, over_midnight: ACampaign) -> None:
    _, others = _sent(api, contacts=1, phone_number_id="1002", template="other", first_phone=491520000000)
    _report(api, (others[0], "failed", _AT + timedelta(days=1)))
    period = "from=2026-03-10&to=2026-03-12"

    numbers = api.ask("GET", f"/stats/phone-numbers?{period}").json
    templates = api.ask("GET", f"/stats/templates?{period}").json
    failures = api.ask("GET", f"/stats/failures?{period}").json
    first_day = api.ask("GET", "/stats/failures?from=2026-03-10&to=2026-03-10").json
    of_one = api.ask("GET", f"/stats/failures?{period}&campaign_id={over_midnight.id}").json

    assert [(one["phone_number_id"], one["sent"], one["failed"]) for one in numbers["items"]] == [
        ("1001", 3, 1), ("1002", 0, 1),
    ]  # fmt: skip
    assert {(one["name"], one["sent"], one["failed"], one["failed_pct"]) for one in templates["items"]} == {
        ("hello", 3, 1, 33.33), ("other", 0, 1, 100.0),
    }  # fmt: skip
    assert templates["totals"]["failed"] == 2
    assert {one["code"]: (one["count"], one["count_pct"]) for one in failures["items"]} == {
        "131026": (1, 50.0), "unknown": (1, 50.0),
    }  # fmt: skip
    [only] = first_day["items"]
    assert "can't be reached" in only["sentence"]
    assert [one["code"] for one in of_one["items"]] == ["131026"]


def test_deleted_numbers_keep_their_history(api: Api, over_midnight: ACampaign) -> None:
    with api.db.connection() as connection:
        connection.execute("DELETE FROM campaign_numbers")
        connection.execute("DELETE FROM campaign_templates")
        connection.execute("DELETE FROM phone_numbers")
        connection.execute("DELETE FROM templates")

    for path in ("phone-numbers", "templates"):
        found = api.ask("GET", f"/stats/{path}?from=2026-03-10&to=2026-03-12").json
        assert [(one["name"], one["sent"]) for one in found["items"]] == [(None, 3)]
        assert found["totals"]["sent"] == 3


def test_replies_with_their_rate_and_times(api: Api) -> None:
    campaign, ids = _sent(api, contacts=2)
    settle(api.db, [Settlement(log_id, 1, "sent", wamid=f"w{log_id}") for log_id in ids], node_id=1)
    now = datetime.now(UTC)
    _report(api, *[(log_id, "delivered", now) for log_id in ids])
    answered = int(now.timestamp()) + 90
    webhook(api.db, says("yes", wamid="a", at=answered, context={"id": f"w{ids[0]}"}))

    to = (now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = api.ask("GET", f"/stats/replies?to={to}&campaign_id={campaign.id}").json
    everybody = api.ask("GET", f"/stats/replies?to={to}").json

    assert (found["delivered"], found["replied"], found["replied_pct"]) == (2, 1, 50.0)
    assert found["times"] == [{"within_seconds": 120, "replied": 1, "within_pct": 100.0}]
    assert 60 <= found["median_seconds"] <= 120
    assert 85 <= found["mean_seconds"] <= 120
    assert everybody == found


def test_campaigns_beside_each_other(api: Api, over_midnight: ACampaign) -> None:
    other, _ = _sent(api, contacts=2, first_phone=491530000000)

    found = api.ask("GET", f"/campaigns/compare?ids={other.id},{over_midnight.id},{other.id}").json["items"]

    assert [one["id"] for one in found] == [other.id, over_midnight.id]
    assert (found[0]["total"], found[0]["counts"]["claimed"], found[0]["sent"]) == (2, 2, 0)
    assert found[0]["delivered_pct"] is None
    assert (found[1]["sent"], found[1]["delivered"], found[1]["delivered_pct"]) == (3, 2, 66.67)
    assert found[1]["failures"] == {"131026": 1}
    assert found[1]["counts"]["failed"] == 1


def test_the_dashboard_sets_today_beside_the_same_hours_of_last_week(api: Api) -> None:
    campaign, ids = _sent(api, contacts=4)
    now = datetime.now(UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    week_before = today - timedelta(days=7)
    same_time = now - timedelta(days=7)
    _report(api, (ids[0], "sent", now), (ids[1], "sent", today))
    _report(api, (ids[2], "sent", week_before), (ids[3], "sent", same_time + timedelta(minutes=16)))

    found = api.ask("GET", "/stats/dashboard").json

    assert found["today"]["sent"] == 2
    assert found["week_before"]["sent"] == (1 if now - today > timedelta(minutes=15) else 0)
    assert found["week_before"]["to"] <= same_time.isoformat().replace("+00:00", "Z")
    [one] = found["campaigns"]
    assert (one["id"], one["total"], one["counts"]["sent"]) == (campaign.id, 4, 4)
    assert one["sentence"] == "Starting; all 4 are through."
    assert found["campaigns_by_state"] == {"running": 1}
    assert [(number["phone_number_id"], number["sent"]) for number in found["numbers"]] == [("1001", 2)]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/stats/daily?timezone=Mars/Olympus", "is no time zone"),
        ("/stats/dashboard?timezone=nowhere", "is no time zone"),
        ("/stats/daily?from=2020-01-01&to=2026-01-01", "at most 400 days"),
        ("/stats/hourly?from=2026-01-01&to=2026-03-01", "at most 31 days"),
        ("/stats/daily?from=tomorrow", "from must be a date"),
        ("/stats/replies?from=2026-03-02&to=2026-03-01", "from must be before to"),
        ("/campaigns/compare?ids=1,x", "ids"),
        ("/campaigns/compare", "ids"),
        ("/campaigns/compare?ids=" + ",".join(str(n) for n in range(1, 22)), "at most 20"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_422_with_a_reason(api: Api, path: str, says: str) -> None:
    found = api.ask("GET", path)

    assert (found.status_code, found.json["code"]) == (422, "invalid_input")
    assert says in found.json["detail"]


def test_an_unknown_campaign_is_404(api: Api) -> None:
    found = api.ask("GET", "/campaigns/compare?ids=7")

    assert (found.status_code, found.json["code"]) == (404, "campaign_not_found")


def test_statistics_need_no_row_of_a_message_or_contact(api: Api, over_midnight: ACampaign) -> None:
    """Weakness C10 of the Elixir system: the dashboard's month was cut by retention."""
    paths = ("daily", "hourly?from=2026-03-10&to=2026-03-12", "phone-numbers", "templates", "failures", "replies")
    with api.db.transaction() as other:
        other.execute("LOCK TABLE message_logs, message_attempts, contacts, replies IN ACCESS EXCLUSIVE MODE")
        for path in (
            *(f"/stats/{one}" for one in paths),
            "/stats/dashboard",
            f"/campaigns/compare?ids={over_midnight.id}",
        ):
            assert api.ask("GET", path).status_code == 200, path
