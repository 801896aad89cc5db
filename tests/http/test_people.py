"""`GET /contacts/{phone}` answers "why did this person (not) get it" for every state and every reason there is."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import ACampaign, a_campaign, a_sender, claimed
from tests.support.in_process_api import Api, an_api
from titanflow.domain.live import NumberLive
from titanflow.storage.counters import STATES
from titanflow.storage.database import Database
from titanflow.storage.settlements import Settlement, settle

_PHONE = "+491510000000"
_REASONS = ("duplicate", "invalid_number", "blacklisted", "opted_out", "recently_messaged", "over_cap")
_PENDING_IN = ("draft", "importing", "ready", "scheduled", "paused", "running", "completed", "failed")
_LIMITS = ("rate", "throttled", "tier", "paused", "empty", "concurrency", "database")


@pytest.fixture
def api(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Api]:
    with an_api(database_url, redis_url, tmp_path) as made:
        yield made


def _set(api: Api, campaign: ACampaign, **columns: Any) -> None:
    with api.db.connection() as connection:
        for name, value in columns.items():
            connection.execute(f"UPDATE campaigns SET {name} = %s WHERE id = %s".encode(), [value, campaign.id])


def _only(api: Api, phone: str) -> dict[str, Any]:
    answer = api.ask("GET", f"/contacts/{phone}")
    assert answer.status_code == 200, answer.text
    [one] = answer.json["campaigns"]["items"]
    assert isinstance(one, dict)
    return one


@dataclass(frozen=True)
class Case:
    """One way that a contact can stand, and what the answer must say of it."""

    state: str
    says: str
    waits_for: str | None = None
    got_it: bool | None = None
    reason: str | None = None
    campaign: dict[str, Any] = field(default_factory=dict)
    message: dict[str, Any] = field(default_factory=dict)
    listed: dict[str, Any] = field(default_factory=dict)
    limited: tuple[str, str] | None = None


def _no(reason: str, says: str, **more: Any) -> Case:
    return Case("excluded", says, got_it=False, reason=reason, **more)


def _pending(state: str, says: str, waits_for: str | None, **more: Any) -> Case:
    got_it = None if waits_for else False
    return Case("pending", says, waits_for, got_it, campaign={"state": state, **more.pop("columns", {})}, **more)


_AT = "2026-11-24T12:00:00Z"
CASES = [
    _no("duplicate", "more than once"),
    _no("invalid_number", "can't be reached on WhatsApp"),
    _no("invalid_number", "code 131026", listed={"reason": "invalid_number", "source": "131026"}),
    _no("blacklisted", "do-not-send list, since .*written by crm", listed={"reason": "blacklisted", "source": "crm"}),
    _no("opted_out", "wrote a word of opting out", listed={"source": "stop_word"}),
    _no("opted_out", "switched marketing messages off", listed={"source": "user_preferences"}),
    _no("opted_out", "code 131050", listed={"source": "131050"}),
    _no("opted_out", "has opted out, when this was decided"),
    _no("recently_messaged", "within 7 days", campaign={"dedupe_days": 7}),
    _no("recently_messaged", "enough marketing", listed={"reason": "recently_messaged", "source": "131049"}),
    _no("over_cap", "takes 2 people", campaign={"audience_cap": 2}),
    _pending("draft", "is a draft", "start"),
    _pending("importing", "still coming in", "import"),
    _pending("ready", "has not been started", "start"),
    _pending("scheduled", "starts at 2026-12-01", "schedule", columns={"schedule_at": "2026-12-01T09:00:00Z"}),
    _pending("paused", "paused by operator: Paused by Ana", "pause", columns={"state_reason": "Paused by Ana"}),
    _pending(
        "paused",
        "outside its send window: Closed until nine. It opens at 2026-12-01",
        "send_window",
        columns={"state_by": "send_window", "state_reason": "Closed until nine", "window_turns_at": "2026-12-01"},
    ),
    _pending("completed", "won't be: the campaign is completed", None),
    _pending("failed", "won't be: the campaign is failed", None),
    _pending("running", "its turn comes soon", "turn"),
    *(
        _pending("running", says, "number" if limit == "paused" else "turn" if limit == "empty" else limit,
                 limited=(limit, "the detail of it"))
        for limit, says in {
            "rate": "as fast as it may; its turn will come: the detail of it",
            "throttled": "Meta asked for it: the detail",
            "tier": "daily limit of people is used up: the detail",
            "paused": "no number of it sends right now: the detail",
            "empty": "its turn comes soon",
            "concurrency": "answers take long: the detail",
            "database": "PostgreSQL is the brake: the detail",
        }.items()
    ),
    Case("pending", "left out when its turn comes: .*wrote a word", "exclusion", False, listed={"source": "stop_word"}),
    Case("claimed", "Taken for sending at .* by number 1001", "answer"),
    Case(
        "retrying",
        r"Attempt 1 was refused for now with code 130429 \(.*next attempt may leave from 2026-11-24 12:00",
        "retry",
        message={"error_code": 130429, "due_at": _AT},
    ),
    Case(
        "retrying",
        "failed at .* with code 131053 .* is to be sent again.*paused by operator",
        "pause",
        campaign={"state": "paused"},
        message={"error_code": 131053, "failed_at": _AT, "due_at": _AT},
    ),
    Case("retrying", "was in doubt since", "retry", message={"doubted_at": _AT, "due_at": _AT}),
    Case(
        "in_doubt",
        "Attempt 1 left, and its outcome is unknown: time-out. In doubt for .* days?. To expect: If webhooks",
        "report",
        message={"error_detail": "time-out", "due_at": "2026-11-20T12:00:00Z"},
    ),
    Case("in_doubt", "died or lost the number", "report", message={"due_at": _AT, "incarnation": 3}),
    Case("in_doubt", "sent again at", "report", campaign={"resend_after_hours": 24}, message={"due_at": _AT}),
    Case("sent", "took it at 2026-11-24 12:00:00 UTC from number 1001", "delivery", message={"sent_at": _AT}),
    Case("delivered", "delivered to the person's phone at", None, True, message={"delivered_at": _AT}),
    Case("read", "read it at", None, True, message={"read_at": _AT}),
    Case(
        "failed",
        "Failed at .* with code 131026: .*Meta: not on WhatsApp",
        None,
        False,
        message={"error_code": 131026, "error_detail": "not on WhatsApp", "failed_at": _AT},
    ),
    Case("failed", "with code 999999: Meta gave an error that", None, False, message={"error_code": 999999}),
    Case("failed", "without saying why", None, False, message={"failed_at": _AT}),
    Case("cancelled", "cancelled before it was sent: Cancelled by Ana", None, False,
         campaign={"state": "cancelled", "state_reason": "Cancelled by Ana"}),
    Case("cancelled", "cancelled after an attempt that was refused", None, False, message={"due_at": None}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.state}-{case.reason or case.waits_for or case.got_it}")
def test_every_state_and_reason_has_its_sentence(shared_api: Api, case: Case) -> None:
    api = shared_api
    campaign = a_campaign(api.db, contacts=1, first_phone=491510001000 + CASES.index(case))
    [phone] = campaign.phones
    if case.message or case.state == "claimed":
        [one] = claimed(api.db, campaign, a_sender(api.db, campaign.number_id))
        columns = {"state": case.state, **case.message}
        with api.db.connection() as connection:
            for name, value in columns.items():
                connection.execute(f"UPDATE message_logs SET {name} = %s WHERE id = %s".encode(), [value, one.log_id])
    elif case.state == "excluded":
        with api.db.connection() as connection:
            connection.execute("UPDATE contacts SET excluded_reason = %s WHERE phone = %s", [case.reason, phone])
    if case.listed:
        with api.db.connection() as connection:
            connection.execute(
                "INSERT INTO suppressions (phone, reason, source) VALUES (%s, %s, %s)",
                [phone, case.listed.get("reason", "opted_out"), case.listed["source"]],
            )
    _set(api, campaign, **case.campaign)
    if case.limited:
        limit, detail = case.limited
        number = NumberLive("1001", 80.0, 10.0, 1, limit, detail)  # type: ignore[arg-type]
        api.context.fast_copy.exchange_live(campaign.id, 1, [number])

    one_of_it = _only(api, phone)

    assert (one_of_it["state"], one_of_it["reason"]) == (case.state, case.reason)
    assert re.search(case.says, one_of_it["why"]), one_of_it["why"]
    assert (one_of_it["waits_for"], one_of_it["got_it"]) == (case.waits_for, case.got_it)
    assert ".." not in one_of_it["why"]
    assert "None" not in one_of_it["why"]
    assert "unknown time" not in one_of_it["why"]


def test_the_walk_leaves_nothing_out() -> None:
    assert {case.state for case in CASES} == set(STATES)
    assert {case.reason for case in CASES if case.state == "excluded"} == set(_REASONS)
    assert {case.campaign["state"] for case in CASES if case.state == "pending" and case.campaign} == set(_PENDING_IN)
    assert {case.limited[0] for case in CASES if case.limited} == set(_LIMITS)


def test_the_engines_own_path_tells_attempts_and_what_to_do(api: Api) -> None:
    campaign = a_campaign(api.db, contacts=1)
    sender = a_sender(api.db, campaign.number_id)
    [one] = claimed(api.db, campaign, sender)
    assert one.log_id
    refused = Settlement(one.log_id, 1, "retrying", error_code=130429, error_detail="slow down", due_in_s=0)
    settle(api.db, [refused], node_id=1)
    claimed(api.db, campaign, sender, again=True)
    settle(api.db, [Settlement(one.log_id, 2, "failed", error_code=131026, error_detail="gone")], node_id=1)

    answer = api.ask("GET", "/contacts/491510000000").json

    [campaign_shown] = answer["campaigns"]["items"]
    assert campaign_shown["attempt"] == 2
    [earlier] = campaign_shown["earlier_attempts"]
    assert (earlier["attempt"], earlier["error_code"], earlier["phone_number_id"]) == (1, 130429, "1001")
    assert earlier["meaning"]
    assert campaign_shown["fix"]
    assert (answer["suppression"]["reason"], answer["suppression"]["source"]) == ("invalid_number", "131026")
    assert "code 131026" in answer["suppression"]["why"]


def test_replies_and_rejected_lines_belong_to_it(api: Api) -> None:
    campaign = a_campaign(api.db, contacts=1)
    with api.db.connection() as connection:
        row = connection.execute(
            "INSERT INTO conversations (number_id, phone, last_message_at) VALUES (%s, %s, now()) RETURNING id",
            [campaign.number_id, _PHONE],
        ).fetchone()
        assert row is not None
        connection.execute(
            "INSERT INTO inbox_messages (conversation_id, direction, wamid, type, content, at)"
            " VALUES (%s, 'inbound', 'w1', 'text', '{\"text\": {\"body\": \"Thank you\"}}', now())",
            [row[0]],
        )
        import_id = connection.execute(
            "INSERT INTO imports (campaign_id, state, file) VALUES (%s, 'done', 'f') RETURNING id", [campaign.id]
        ).fetchone()
        assert import_id is not None
        for line, reason, value in ((3, "invalid_number", "0151-0000000"), (9, "lossy_number", "4.9151E+11")):
            connection.execute(
                "INSERT INTO import_rejects (import_id, line, reason, value) VALUES (%s, %s, %s, %s)",
                [import_id[0], line, reason, value],
            )

    answer = api.ask("GET", f"/contacts/{_PHONE}").json

    assert [message["text"] for message in answer["conversations"][0]["messages"]] == ["Thank you"]
    assert [(one["line"], one["reason"]) for one in answer["rejected_lines"]] == [(3, "invalid_number")]


def test_a_person_in_hundreds_of_campaigns_comes_in_pages(api: Api) -> None:
    campaign = a_campaign(api.db, contacts=1)
    with api.db.connection() as connection:
        connection.execute("INSERT INTO campaigns (name, state) SELECT 'c', 'ready' FROM generate_series(1, 300)")
        connection.execute(
            "INSERT INTO contacts (campaign_id, phone) SELECT id, %s FROM campaigns WHERE id <> %s",
            [_PHONE, campaign.id],
        )
    seen, cursor = [], ""
    while cursor is not None:
        page = api.ask("GET", f"/contacts/{_PHONE}?limit=100&cursor={cursor or 0}").json["campaigns"]
        seen += [one["campaign"]["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        assert page["total"] == 301

    assert len(seen) == len(set(seen)) == 301


def test_somebody_whom_nobody_knows_is_an_answer_too(api: Api) -> None:
    answer = api.ask("GET", "/contacts/+4915199999999").json

    assert answer["campaigns"] == {"items": [], "next_cursor": None, "total": 0}
    assert (answer["suppression"], answer["conversations"], answer["rejected_lines"]) == (None, [], [])


def test_its_plans_run_on_the_phone_alone(db: Database) -> None:
    """Cost must depend on the person, not on how many people there are."""
    from titanflow.storage import people

    with db.connection() as connection:
        connection.execute(
            "INSERT INTO contacts (campaign_id, phone) SELECT 1, '+4915' || n FROM generate_series(1, 20000) AS n"
        )
        connection.execute("INSERT INTO campaigns (name) SELECT 'c' FROM generate_series(1, 500)")
        connection.execute(
            "INSERT INTO message_logs (contact_id, incarnation, campaign_id, number_id, template_id, state)"
            " SELECT id, 1, 1, 1, 1, 'sent' FROM contacts"
        )
        connection.execute("INSERT INTO imports (campaign_id, file) VALUES (1, 'f')")
        connection.execute(
            "INSERT INTO import_rejects (import_id, line, reason, value)"
            " SELECT 1, n, 'invalid_number', '0151' || n FROM generate_series(1, 20000) AS n"
        )
        connection.execute("ANALYZE")
        plans = ""
        for statement in (people._CAMPAIGNS, people._REJECTS):
            parameters = {"phones": [_PHONE], "before": 2**62, "limit": 50, "ends": ["510000000"]}
            rows = connection.execute(f"EXPLAIN {statement}".encode(), parameters).fetchall()
            plans += "\n".join(row[0] for row in rows)

    assert "contacts_by_phone" in plans
    assert "import_rejects_by_digits" in plans
    assert "Seq Scan on contacts" not in plans
    assert "Seq Scan on message_logs" not in plans
