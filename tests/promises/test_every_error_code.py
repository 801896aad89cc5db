"""Every code of Meta's table through the real path, both ways: in an answer, and by webhook after the 200.

The sandbox answers or reports it over HTTP; client, recorder, ingestor and PostgreSQL are the real ones. Each case has
an account, two numbers and a campaign of its own; one more account stands aside. What follows must be what
meta/error_policy says: the message's state, the scope of the consequence, the reason in words, the alarm.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pprint import pformat
from typing import Any

import pytest
from psycopg.rows import dict_row

from tests.meta.reference_table import MESSAGE_CODES, OTHER_CODES
from tests.support.builders import ACampaign, a_campaign, a_number
from tests.support.servers import short_folder
from titanflow import embedded
from titanflow.cli.stage import Stage
from titanflow.domain.outcomes import ErrorRule
from titanflow.domain.suppression import BY_CODE
from titanflow.domain.vault import Vault
from titanflow.meta.error_policy import rule_for
from titanflow.storage.database import Database
from titanflow.storage.pauses import LASTING_S

_UNKNOWN = (987654, 77)
_APP_CODES = (4, 17, 32, 613)
_WAVES = 6
_PATIENCE_S = 60.0
_TEMPLATE = "spring_offer"
_COMPONENTS = '[{"type": "BODY", "text": "Hi {{1}}, your code {{2}} is waiting. See you in {{3}}!"}]'
_VARIABLES = {f"body.{n}": {"value": f"value {n}"} for n in (1, 2, 3)}
_STATES = {"final": "failed", "again": "retrying", "doubt": "in_doubt"}


@dataclass(frozen=True)
class Case:
    """One code, one way. n: makes its account, numbers and people its own."""

    n: int
    code: int
    way: str

    @property
    def waba_id(self) -> str:
        return f"77{self.n:07d}"

    @property
    def numbers(self) -> tuple[str, str]:
        """The sending one, and another one of the account."""
        return f"661{self.n:07d}", f"662{self.n:07d}"

    @property
    def rule(self) -> ErrorRule:
        """An unknown code is refused by HTTP 400 here; `rule_for` takes a webhook's the same way."""
        return rule_for(self.code)

    @property
    def people(self) -> int:
        """As many as trip the breaker, and some who wait: else the campaign is over before it can stop.

        Webhooks come to two ingestors, each of which counts for itself.
        """
        waiting = 400 if self.rule.action in ("breaker", "next_template") else 0
        return max(1, self.rule.breaker * (2 if self.way == "status" else 1)) + waiting

    @property
    def message_state(self) -> str:
        return "failed" if self.way == "status" else _STATES[self.rule.verdict]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with short_folder() as folder:
        made = Stage(
            folder / "data", latency_ms=20, speed=200, profile="every-status", environment={"PIPELINE_CONCURRENCY": "4"}
        )
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.fixture(scope="module")
def rows(stage: Stage) -> Iterator[Database]:
    database = Database(stage.database_url, pool_size=2)
    yield database
    database.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("wave", range(_WAVES))
def test_every_code_ends_where_the_policy_says(stage: Stage, rows: Database, wave: int) -> None:
    cases = [case for case in _cases() if case.n % _WAVES == wave]
    campaigns = {case.n: _prepared(stage, rows, case) for case in cases}

    _run(rows, cases, campaigns)

    wrong = {(case.code, case.way): found for case in cases if (found := _differences(rows, case, campaigns[case.n]))}
    _finish(rows)
    assert not wrong, pformat(wrong, width=150)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["answer", "status"])
@pytest.mark.parametrize("code", _APP_CODES)
def test_a_code_of_the_app_pauses_every_number(stage: Stage, rows: Database, code: int, way: str) -> None:
    case = Case(9000 + _APP_CODES.index(code) * 2 + (way == "status"), code, way)
    bystander = f"88{case.n}"
    a_number(rows, phone_number_id=bystander, waba_id="880000001")
    campaign = _prepared(stage, rows, case)

    _run(rows, [case], {case.n: campaign})

    found = _differences(rows, case, campaign)
    other = _one(
        rows, "SELECT state, state_reason, slowed_mps FROM phone_numbers WHERE phone_number_id = %s", bystander
    )
    _finish(rows)
    assert found == {}
    assert other == {"state": "paused", "state_reason": case.rule.reason, "slowed_mps": 40.0}


@pytest.mark.timeout(300)
def test_the_time_to_regain_access_is_minutes_and_the_subcode_33_is_the_number(stage: Stage, rows: Database) -> None:
    account, gone = Case(9900, 80007, "answer"), Case(9901, 33, "answer")
    campaigns = {
        account.n: _prepared(stage, rows, account, regain_minutes=12),
        gone.n: _prepared(stage, rows, gone, code=100, subcode=33),
    }

    _run(rows, [account, gone], campaigns)

    wait_s = _one(
        rows,
        "SELECT extract(epoch FROM paused_until - now())::int AS s FROM phone_numbers WHERE phone_number_id = %s",
        account.numbers[1],
    )["s"]
    found = _differences(rows, gone, campaigns[gone.n])
    _finish(rows)
    assert 600 < wait_s <= 720
    assert found == {}


@pytest.mark.timeout(300)
def test_alarms_are_listed_cleared_by_hand_and_by_the_end_of_their_cause(stage: Stage, rows: Database) -> None:
    case = Case(9950, 133010, "answer")
    campaign = _prepared(stage, rows, case)
    _run(rows, [case], {case.n: campaign})
    with rows.connection() as connection:
        connection.execute(
            "INSERT INTO alarms (key, kind, scope, target, sentence, fix)"
            " VALUES ('error_code:5', 'error_code', 'code', '5', 'Something', 'Look.')"
        )

    listed = stage.api.get("/api/v1/alarms?limit=200")
    by_hand = next(one for one in listed["items"] if one["kind"] == "error_code" and one["target"] == "5")
    cleared = [stage.api.post(f"/api/v1/alarms/{by_hand['id']}/clear") for _ in range(2)]
    stage.api.post(f"/api/v1/campaigns/{campaign.id}/pause")
    stage.api.post(f"/api/v1/phone-numbers/{case.numbers[0]}/resume")

    blocked = [one for one in listed["items"] if one["target"] == case.numbers[0]]
    assert [(one["kind"], one["sentence"], one["fix"]) for one in blocked] == [
        ("number_blocked", case.rule.sentence_and_code, case.rule.fix)
    ]
    assert listed["total"] >= 2
    assert cleared == [{"id": by_hand["id"], "state": "cleared"}] * 2
    _until(lambda: case.numbers[0] not in {one["target"] for one in _alarms(stage, "open")}, "the engine clears it")
    by = {one["target"]: one["cleared_by"] for one in _alarms(stage, "cleared")}
    assert (by["5"], by[case.numbers[0]]) == ("token 1 (demo)", "engine")
    _finish(rows)


def _alarms(stage: Stage, state: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = stage.api.get(f"/api/v1/alarms?state={state}&limit=200")["items"]
    return items


def _cases() -> list[Case]:
    """Both ways of each code about messages; those of other calls, which Meta never reports, in answers alone."""
    answered = [(code, "answer") for code in (*MESSAGE_CODES, *OTHER_CODES, *_UNKNOWN)]
    reported = [(code, "status") for code in (*MESSAGE_CODES, *_UNKNOWN)]
    cases = [(code, way) for code, way in (*answered, *reported) if code not in _APP_CODES]
    return [Case(n, code, way) for n, (code, way) in enumerate(cases)]


def _prepared(stage: Stage, rows: Database, case: Case, **rule: Any) -> ACampaign:
    """A ready campaign on a number to whose messages the code comes."""
    number, other = case.numbers
    stage.meta.post("/_sandbox/numbers", {"phone_number_id": number, "waba_id": case.waba_id, "mps": 1000})
    stage.meta.post("/_sandbox/numbers", {"phone_number_id": other, "waba_id": case.waba_id, "mps": 1000})
    asked = {"where": case.way, "code": case.code, "match": {"number": number}, **rule}
    stage.meta.post("/_sandbox/rules", asked)
    a_number(rows, phone_number_id=other, waba_id=case.waba_id)
    campaign = a_campaign(
        rows,
        contacts=case.people,
        state="ready",
        phone_number_id=number,
        waba_id=case.waba_id,
        template=_TEMPLATE,
        variables=_VARIABLES,
        first_phone=491_510_000_000 + case.n * 1000,
    )
    token = Vault([embedded.secret_key(stage.data_dir)]).encrypt("token")
    with rows.transaction() as transaction:
        transaction.execute("UPDATE templates SET components = %s WHERE id = %s", [_COMPONENTS, campaign.template_id])
        transaction.execute(
            "UPDATE phone_numbers SET access_token = %s, max_mps = %s WHERE waba_id = %s",
            [token, 10 if case.people > 100 else 80, case.waba_id],
        )
    return campaign


def _run(rows: Database, cases: list[Case], campaigns: dict[int, ACampaign]) -> None:
    """Start the campaigns and wait until every case has its consequence, or patience is at its end."""
    with rows.connection() as connection:
        connection.execute(
            "UPDATE campaigns SET state = 'running', started_at = now() WHERE id = ANY(%s)",
            [[campaign.id for campaign in campaigns.values()]],
        )
    waiting = list(cases)

    def all_done() -> bool:
        waiting[:] = [case for case in waiting if _differences(rows, case, campaigns[case.n])]
        return not waiting

    _until(all_done, "", must=False)


def _until(condition: Any, what: str, *, must: bool = True) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            assert not must, f"{what}: not within {_PATIENCE_S} s"
            return
        time.sleep(0.5)


def _finish(rows: Database) -> None:
    """Leave nothing that the next cases could feel."""
    with rows.transaction() as transaction:
        transaction.execute("UPDATE campaigns SET state = 'cancelled' WHERE state IN ('running', 'paused')")
        transaction.execute("DELETE FROM pauses")
        transaction.execute(
            "UPDATE phone_numbers SET state = 'active', state_reason = NULL, paused_until = NULL, meta_block = NULL"
        )


def _one(rows: Database, statement: Any, *parameters: Any) -> dict[str, Any]:
    with rows.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(statement, list(parameters)).fetchone()
    assert row is not None
    return row


def _differences(rows: Database, case: Case, campaign: ACampaign) -> dict[str, Any]:
    """What is not as the policy says: what there is, and what there should be."""
    wanted, found = _wanted(case, campaign), _found(rows, case, campaign)
    return {name: {"found": found[name], "wanted": value} for name, value in wanted.items() if found[name] != value}


def _wanted(case: Case, campaign: ACampaign) -> dict[str, Any]:
    rule, (number, _) = case.rule, case.numbers
    wanted: dict[str, Any] = {
        "messages": case.message_state,
        "campaign": "going on",
        "template": "APPROVED",
        "number": ("active", None),
        "other": ("active", None),
        "pause": rule.scope if rule.action in ("pause", "slow_down") else None,
        "slowed": rule.recover_s > 0,
        "suppressed": BY_CODE[case.code].reason if rule.action in ("suppress", "opt_out") else None,
        "alarms": {},
    }
    target = {"number": number, "account": case.waba_id}.get(rule.scope, "")
    match rule.action:
        case "block":
            wanted["number"] = ("blocked", rule.reason)
            wanted["alarms"] = {f"{rule.scope}_blocked:{target}": rule.sentence_and_code}
        case "pause":
            if rule.pause_s >= LASTING_S:  # a doubt's pause is spread, so longer than its first figure
                wanted["number"] = ("paused", rule.reason)
            if rule.alarm:
                wanted["alarms"] = {f"{rule.scope}_paused:{target}": rule.sentence_and_code}
        case "breaker":
            wanted["campaign"] = f"paused by engine: {rule.reason}"
            wanted["alarms"] = {f"campaign_paused:{campaign.id}": rule.reason.removesuffix(".")}
        case "next_template":
            wanted["template"] = "DISABLED" if case.code == 132016 else "PAUSED"
            wanted["campaign"] = f"paused by engine: {_no_template(wanted['template'])}"
            wanted["alarms"] = {f"campaign_paused:{campaign.id}": _no_template(wanted["template"]).removesuffix(".")}
    if rule.scope in ("account", "app"):
        wanted["other"] = wanted["number"]
    if rule.alarm and rule.scope not in ("number", "account", "app"):
        wanted["alarms"][f"error_code:{case.code}"] = rule.sentence_and_code
    return wanted


def _no_template(status: str) -> str:
    return f"No approved template is left: {_TEMPLATE} is {status}. Choose another one, then resume."


_FOUND = """
    SELECT campaign.state, campaign.state_by, campaign.state_reason,
           (SELECT status FROM templates WHERE id = %(template)s) AS template,
           (SELECT count(*) FROM message_logs WHERE campaign_id = campaign.id AND error_code = %(code)s
            AND state::text = %(message_state)s)
               + (SELECT count(*) FROM message_attempts AS attempt JOIN message_logs AS log ON log.id = attempt.log_id
                  WHERE log.campaign_id = campaign.id AND attempt.error_code = %(code)s
                    AND attempt.state::text = %(message_state)s) AS as_wanted,
           (SELECT coalesce(jsonb_object_agg(id, state), '{}') FROM message_logs WHERE campaign_id = campaign.id
            AND state::text NOT IN ('claimed', 'sent', %(message_state)s)) AS otherwise,
           (SELECT max(scope) FROM pauses WHERE code = %(code)s AND target = ANY(%(targets)s)) AS pause,
           (SELECT max(reason) FROM suppressions WHERE phone = ANY(%(phones)s)) AS suppressed,
           (SELECT coalesce(jsonb_object_agg(key, sentence), '{}') FROM alarms
            WHERE cleared_at IS NULL AND target = ANY(%(targets)s)) AS alarms,
           one.shown_state AS number, one.shown_reason AS number_reason, one.slowed_mps IS NOT NULL AS slowed,
           other.shown_state AS other, other.shown_reason AS other_reason
    FROM campaigns AS campaign, phone_numbers AS one, phone_numbers AS other
    WHERE campaign.id = %(campaign)s AND one.phone_number_id = %(one)s AND other.phone_number_id = %(other)s
"""


def _found(rows: Database, case: Case, campaign: ACampaign) -> dict[str, Any]:
    """The same from the rows. What is on its way counts as what it will be."""
    one, other = case.numbers
    parameters = {
        "campaign": campaign.id,
        "template": campaign.template_id,
        "code": case.code,
        "message_state": case.message_state,
        "phones": campaign.phones,
        "one": one,
        "other": other,
        "targets": [one, other, case.waba_id, str(case.code), str(campaign.id), ""],
    }
    with rows.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_FOUND, parameters).fetchone()
    assert row is not None
    paused = row["state"] == "paused"
    return {
        "messages": case.message_state if row["as_wanted"] and not row["otherwise"] else row["otherwise"],
        "campaign": f"paused by {row['state_by']}: {row['state_reason']}" if paused else "going on",
        "template": row["template"],
        "number": (row["number"], row["number_reason"]),
        "other": (row["other"], row["other_reason"]),
        "pause": row["pause"],
        "slowed": row["slowed"],
        "suppressed": row["suppressed"],
        "alarms": row["alarms"],
    }
