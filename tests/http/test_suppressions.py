"""Promise 6, as an operator and a CRM use it: the do-not-send list over HTTP, decisive at the claim."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.builders import a_campaign, a_sender, claimed, counts
from tests.support.in_process_api import Api, an_api

_PHONE = "+491510000000"


@pytest.fixture
def api(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Api]:
    with an_api(database_url, redis_url, tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    "written", ["+491510000000", "491510000000", "%2B491510000000", "00491510000000", "+49 151-0000000"]
)
def test_a_person_who_is_put_on_the_list_is_not_claimed(api: Api, written: str) -> None:
    campaign = a_campaign(api.db, contacts=2)

    made = api.ask("PUT", f"/suppressions/{written}", {"reason": "opted_out", "note": "by phone"})

    assert (made.status_code, made.json["phone"], made.json["pending_contacts"]) == (201, _PHONE, 1)
    taken = claimed(api.db, campaign, a_sender(api.db, campaign.number_id))
    assert [one.contact_id for one in taken] == campaign.contact_ids[1:]
    assert counts(api.db, campaign.id) == {"claimed": 1, "excluded": 1}
    assert api.ask("GET", "/suppressions/491510000000").json["note"] == "by phone"


def test_whoever_is_taken_off_the_list_is_sent_to_again(api: Api) -> None:
    campaign = a_campaign(api.db, contacts=1)
    api.ask("PUT", f"/suppressions/{_PHONE}", {})

    assert api.ask("DELETE", f"/suppressions/{_PHONE}").status_code == 204
    assert api.ask("DELETE", f"/suppressions/{_PHONE}").json["code"] == "not_suppressed"
    assert len(claimed(api.db, campaign, a_sender(api.db, campaign.number_id))) == 1


def test_all_forms_of_a_phone_that_are_one_person_are_kept_out(api: Api) -> None:
    campaign = a_campaign(api.db, contacts=1, first_phone=551187654321)  # the list has it without the ninth digit

    api.ask("PUT", "/suppressions/5511987654321", {})

    assert claimed(api.db, campaign, a_sender(api.db, campaign.number_id)) == []
    assert api.ask("DELETE", "/suppressions/551187654321").status_code == 204
    assert api.ask("GET", "/suppressions/5511987654321").status_code == 404


def test_a_list_adds_and_never_weakens(api: Api) -> None:
    api.ask("PUT", "/suppressions/+491510000001", {"reason": "opted_out", "source": "desk"})
    api.ask("PUT", "/suppressions/+491510000002", {"expires_at": "2100-01-01T00:00:00Z"})
    items = [
        {"phone": "+491510000001", "expires_at": "2100-01-01T00:00:00Z"},
        {"phone": "+491510000002", "source": "crm"},
        {"phone": "+491510000003", "source": "crm"},
        {"phone": "491510000003"},
        {"phone": "call me"},
    ]

    answer = api.ask("POST", "/suppressions", {"items": items}).json

    assert {key: answer[key] for key in ("added", "changed", "unchanged")} == {"added": 1, "changed": 1, "unchanged": 1}
    assert [(one["index"], one["reason"]) for one in answer["rejected"]] == [(4, "invalid_phone")]
    kept = {one["phone"]: one for one in api.ask("GET", "/suppressions").json["items"]}
    assert (kept["+491510000001"]["source"], kept["+491510000001"]["expires_at"]) == ("desk", None)
    assert (kept["+491510000002"]["source"], kept["+491510000002"]["expires_at"]) == ("crm", None)


def test_ten_thousand_at_once(api: Api) -> None:
    items = [{"phone": f"+4915{n:09d}"} for n in range(10_000)]

    assert api.ask("POST", "/suppressions", {"items": items}).json["added"] == 10_000
    assert api.ask("POST", "/suppressions", {"items": [*items, items[0]]}).status_code == 422


def test_the_list_has_filters_a_search_and_a_cursor_that_is_stable(api: Api) -> None:
    items = [{"phone": f"+49151000000{n}", "source": "crm", "note": f"ticket 10{n}%"} for n in range(5)]
    api.ask("POST", "/suppressions", {"items": items})
    first = api.ask("GET", "/suppressions?limit=2").json
    api.ask("PUT", "/suppressions/+491509999999", {"reason": "opted_out"})  # comes before the cursor

    second = api.ask("GET", f"/suppressions?limit=3&cursor={first['next_cursor']}").json

    assert [one["phone"][-1] for one in first["items"] + second["items"]] == ["0", "1", "2", "3", "4"]
    assert api.ask("GET", "/suppressions?source=crm&limit=1").json["total"] == 5
    assert api.ask("GET", "/suppressions?reason=opted_out").json["total"] == 1
    assert api.ask("GET", "/suppressions?search=103%25").json["total"] == 1
    assert api.ask("GET", "/suppressions?active=false").json["total"] == 0
    assert api.ask("GET", "/suppressions?cursor=a").json["code"] == "invalid_input"


def test_every_change_says_in_the_audit_log_what_was_there_before(api: Api) -> None:
    api.ask("PUT", f"/suppressions/{_PHONE}", {"reason": "opted_out"})
    api.ask("PUT", f"/suppressions/{_PHONE}", {"source": "crm", "expires_at": "2100-01-01T00:00:00+02:00"})
    api.ask("DELETE", f"/suppressions/{_PHONE}")

    with api.db.connection() as connection:
        rows = connection.execute(
            "SELECT what, target, detail FROM audit_log WHERE what LIKE 'suppression%' ORDER BY id"
        ).fetchall()

    assert [what for what, _, _ in rows] == ["suppression.put", "suppression.put", "suppression.deleted"]
    assert {target for _, target, _ in rows} == {"+4915...00"}
    assert [[one["source"] for one in detail["before"]] for _, _, detail in rows] == [[], ["api"], ["crm"]]


@pytest.mark.parametrize(
    "body",
    [
        {"reason": "recently_messaged"},
        {"source": "stop_word"},
        {"source": "131050"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2100-01-01T00:00:00"},
        {"note": "\0"},
    ],
)
def test_what_would_break_the_rules_is_refused(shared_api: Api, body: dict[str, str]) -> None:
    """A source that the engine writes would let START lift what a CRM has put there."""
    assert shared_api.ask("PUT", f"/suppressions/{_PHONE}", body).status_code == 422
    assert shared_api.ask("GET", f"/suppressions/{_PHONE}").status_code == 404


@pytest.mark.parametrize("written", ["0151234567", "abc", "+", "12", "+49151x", "9" * 30])
def test_what_is_no_phone_is_422(shared_api: Api, written: str) -> None:
    assert shared_api.ask("GET", f"/suppressions/{written}").json["code"] == "invalid_phone"
