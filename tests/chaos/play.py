"""Plays a round and judges it: the server's books beside the fake Meta's ledger."""

import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.events import happen
from tests.chaos.plan import Plan
from tests.chaos.round import Round
from tests.chaos.world import World, persist
from titanflow.cli import books
from titanflow.errors import TitanFlowError, Unavailable
from titanflow.storage.database import connect

_WEBHOOKS_WITHIN_S = 90.0
_AT_REST_WITHIN_S = 8.0  # parked statuses are applied within two seconds
_ENDED = ("completed", "failed", "cancelled")


@dataclass(slots=True)
class Verdict:
    """What a round has shown. broken: promises that were broken, [] if all were kept."""

    plan: Plan
    broken: list[str]
    notes: list[str]
    seconds: float
    killed: int = 0
    crashed: int = 0
    messages: int = 0
    duplicates: int = 0
    forgotten: int = 0
    drift: int = 0
    lost: int = 0
    in_doubt: int = 0
    suppressed: int = 0
    lag_ms: float = 0.0
    sandbox: dict[str, Any] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """True if no promise was broken."""
        return not self.broken

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "kept": self.kept}


def play(world: World, plan: Plan) -> Verdict:
    """Play one round to its end. Never raises for what the server does: that is a broken promise."""
    began = time.monotonic()
    one = Round(world, plan)
    sandbox: dict[str, Any] = {}
    try:
        world.new_sandbox(plan)
        one.prepare()
        try:
            _let_it_happen(one)
        finally:
            one.end()
        _settle(one)
        sandbox = _judge(one)
    except TitanFlowError as error:
        one.broken.add(f"the server goes on: {error.one_line()[:300]}")
    return Verdict(
        plan,
        sorted(one.broken),
        one.notes,
        round(time.monotonic() - began, 1),
        killed=one.killed,
        crashed=one.crashed,
        messages=sandbox.get("accepted", 0),
        duplicates=sandbox.get("accepted_twice", 0),
        forgotten=sandbox.get("never_attempted", 0),
        drift=one.worst_drift,
        lost=sandbox.get("acknowledged_lost", 0),
        in_doubt=sandbox.get("never_sent_in_doubt", 0),
        suppressed=len(one.suppressed),
        lag_ms=sandbox.get("worst_lag_ms", 0.0),
        sandbox=sandbox,
    )


def _let_it_happen(one: Round) -> None:
    one.start()
    for event in one.plan.events:
        time.sleep(event.after_s)
        happen(event, one)
        if one.broken:
            return  # red is red: the books as they are now tell more than those of an hour later
    deadline = time.monotonic() + one.plan.deadline_s
    campaign: dict[str, Any] = {"state": "unknown", "state_reason": None, "state_by": None}
    while campaign["state"] not in _ENDED:
        if time.monotonic() > deadline:
            one.broken.add("the campaign ends")
            one.notes.append(f"{campaign['state']} by {campaign['state_by']}: {campaign['state_reason']}")
            return
        if one.broken:
            return
        time.sleep(0.1)
        try:
            campaign = one.world.stage.api.get(f"/api/v1/campaigns/{one.campaign_id}")
        except Unavailable:
            continue
        if campaign["state"] == "paused":  # all our own pauses are over
            one.broken.add("the campaign ends")
            one.notes.append(f"paused by {campaign['state_by']}: {campaign['state_reason']}")
            return


def _settle(one: Round) -> None:
    """Wait until every webhook was acknowledged."""
    deadline = time.monotonic() + (0 if one.broken else _WEBHOOKS_WITHIN_S)
    while one.world.stage.meta.get("/_sandbox/idle?timeout=5")["pending"]:
        if time.monotonic() > deadline:
            one.broken.add("webhooks are taken in")
            return


def _judge(one: Round) -> dict[str, Any]:
    """Compare the books with the ledger, once everything is at rest."""
    stage = one.world.stage
    deadline = time.monotonic() + (0 if one.broken else _AT_REST_WITHIN_S)
    while True:
        result = persist(lambda: books.compare(stage.api, stage.meta, one.campaign_id, max_mps={}))
        if result.held or time.monotonic() > deadline:
            break
        time.sleep(0.4)
    one.broken |= {promise for promise, held in result.promises.items() if not held}
    one.worst_drift = max(one.worst_drift, result.audit["counter_drift"])
    _judge_rates(one)
    if unexplained := _failed_without_meta(one):
        one.notes.append(f"failed, though Meta never said so: {unexplained}")
        one.broken.add("every failure is Meta's word")
    if _claimed_in_spite(one):
        one.broken.add("no means no")
    drifted = sum("counters.drifted" in line for line in one.log_lines())
    if drifted:  # and was mended before anybody looked
        one.broken.add("counters are exact")
        one.worst_drift = max(one.worst_drift, drifted)
    return result.sandbox


def _judge_rates(one: Round) -> None:
    """No second holds more than was ever allowed, plus one."""
    summary = one.world.stage.meta.get("/_sandbox/summary")
    for number_id, rate in summary["max_rate_1s_by_number"].items():
        allowed = one.most_mps.get(number_id, 0)
        if rate > allowed + 1:
            lag_ms = summary["worst_lag_ms"]
            one.notes.append(f"{rate} in a second, {allowed} allowed, the sandbox up to {lag_ms:.0f} ms late")
            one.broken.add("limits are kept")


def _failed_without_meta(one: Round) -> list[str]:
    """The codes of failures that this Meta neither answered nor reported: no outage is a reason to give somebody up."""
    summary = one.world.stage.meta.get("/_sandbox/summary")
    said = {*summary["refused"], *summary["failed"]}
    lines = persist(
        lambda: list(one.world.stage.api.lines(f"/api/v1/campaigns/{one.campaign_id}/export?format=ndjson"))
    )
    rows = [json.loads(line) for line in lines]
    return sorted({str(row["error_code"]) for row in rows if row["state"] == "failed"} - said)


def _claimed_in_spite(one: Round) -> int:
    """How many people were claimed by a statement that began after their suppression had been committed."""
    if not one.suppressed:
        return 0
    with connect(one.world.stage.database_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM unnest(%s::text[], %s::timestamptz[]) AS no (phone, since)"
            " JOIN contacts AS contact ON contact.phone = no.phone AND contact.campaign_id = %s"
            " JOIN message_logs AS message ON message.campaign_id = contact.campaign_id"
            " AND message.contact_id = contact.id WHERE message.claimed_at > no.since",
            [list(one.suppressed), list(one.suppressed.values()), one.campaign_id],
        ).fetchone()
    return int(row[0]) if row else 0
