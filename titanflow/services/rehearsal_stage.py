"""From a campaign's facts to the stage of its rehearsal: the plan to send by, the template, the judge's Meta."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from titanflow.domain import forecast, send_windows, tiers
from titanflow.domain.forecast import Limit
from titanflow.domain.pacing import Budget, Lane, Plan
from titanflow.domain.rendering import CompiledTemplate, compile_template
from titanflow.domain.send_windows import SendWindow
from titanflow.errors import InvalidInput
from titanflow.storage.rehearsals import Facts, Number, Template

# What Meta lets a number send in a second, by the level it reports.
_THROUGHPUT = {"STANDARD": 80, "HIGH": 1_000}


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything a rehearsal needs before it reads the contacts. for_judge: see titanflow/sandbox/rehearsal.py."""

    situation: forecast.Situation
    template: CompiledTemplate
    category: str
    for_judge: dict[str, Any]
    limits: tuple[Limit, ...]


def stage_of(facts: Facts, campaign: Mapping[str, Any], *, concurrency: int) -> Stage:
    """Put the stage together. The campaign has a template and a number; nothing else is taken for granted."""
    chosen = next((one for one in facts.templates if one.status == "APPROVED"), facts.templates[0])
    lanes, idle = [], []
    for number in facts.numbers:
        mps = min(number.max_mps, _THROUGHPUT.get(number.throughput, number.max_mps))
        lane = Lane(number.phone_number_id, float(mps), number.portfolio_id)
        reason = _idle_because(number)
        if reason is not None:
            idle.append((lane, reason))
        else:
            until = number.paused_until.timestamp() if number.state != "active" and number.paused_until else 0.0
            lanes.append(Lane(lane.number, lane.mps, lane.portfolio, joins_at=until))
    start = max(facts.now, campaign["schedule_at"] or facts.now)
    window = send_windows.parse(campaign["send_window"]) if campaign["send_window"] else None
    plan = Plan(
        starts_at=start.timestamp(),
        lanes=tuple(lanes),
        budgets=_budgets(facts),
        max_mps=campaign["max_mps"],
        opening=partial(_opening, window) if window else None,
    )
    situation = forecast.Situation(
        plan=plan,
        idle=tuple(idle),
        names={one.phone_number_id: one.display_phone_number for one in facts.numbers},
        wanted={one.phone_number_id: float(one.max_mps) for one in facts.numbers},
        shared={one.phone_number_id: one.shared_with for one in facts.numbers if one.shared_with},
        concurrency=concurrency,
        zone=window.zone if window else UTC,
    )
    all_lanes = [*lanes, *(lane for lane, _ in idle)]
    template = compile_template(
        chosen.id,
        chosen.name,
        chosen.language,
        chosen.components,
        variables=campaign["variables"],
        media=_uploaded(campaign["media"]),
    )
    return Stage(situation, template, chosen.category, _for_judge(facts, plan, all_lanes), tuple(_limits(facts)))


def _uploaded(media: dict[str, Any]) -> dict[str, Any]:
    """The campaign's media as it will be when it is at Meta: some id."""
    return {**media, "id": f"media-{media['media_id']}"} if media.get("media_id") else media


def _opening(window: SendWindow, at: float) -> tuple[float, float]:
    """The open interval of a send window that contains a moment, or the next one."""
    moment = datetime.fromtimestamp(at, UTC)
    opens_at = moment if window.is_open(moment) else window.turns_at(moment)
    if opens_at is None:
        raise InvalidInput("The send window never opens", fix="Change the campaign's send_window.")
    closes_at = window.turns_at(opens_at)
    return opens_at.timestamp(), closes_at.timestamp() if closes_at else float("inf")


def _idle_because(number: Number) -> str | None:
    """Why a number sends nothing until somebody does something; None if it sends now or after a pause."""
    if number.state == "active" or (number.state in ("paused", "exhausted") and number.paused_until is not None):
        return None
    return number.state_reason or f"it is {number.state}"


def _budgets(facts: Facts) -> dict[str, Budget]:
    """The budgets of the portfolios that are limited; without a portfolio, the tier that Meta told of the number."""
    budgets: dict[str, Budget] = {}
    for number in facts.numbers:
        name = number.portfolio_id
        limit = number.tier_limit if number.portfolio_known else _limit_of(number.tier)
        if limit is not None and (name not in budgets or limit > budgets[name].limit):
            used = tuple((one.at.timestamp(), one.phone) for one in facts.used if one.portfolio_id == name)
            budgets[name] = Budget(limit, used)
    return budgets


def _limit_of(tier: str) -> int | None:
    try:
        limit = tiers.limit_of(tier)
    except ValueError:  # a tier of the future limits nothing that is known
        return None
    return None if limit == "not_set" else limit


def _for_judge(facts: Facts, plan: Plan, lanes: Sequence[Lane]) -> dict[str, Any]:
    templates: dict[str, list[dict[str, Any]]] = {}
    for one in facts.templates:
        templates.setdefault(one.waba_id, []).append(_as_listed(one))
    accounts = {number.phone_number_id: number.waba_id for number in facts.numbers}
    return {
        "numbers": [
            {"id": lane.number, "waba_id": accounts[lane.number], "mps": lane.mps, "portfolio": lane.portfolio}
            for lane in lanes
        ],
        "templates": templates,
        "portfolios": {name: {"limit": one.limit, "used": one.used} for name, one in plan.budgets.items()},
    }


def _as_listed(template: Template) -> dict[str, Any]:
    return {
        "id": template.meta_template_id or template.id,
        "name": template.name,
        "language": template.language,
        "status": template.status,
        "category": template.category,
        "parameter_format": template.parameter_format,
        "components": template.components,
    }


def _limits(facts: Facts) -> list[Limit]:
    """What is known to bite before anybody is looked at."""
    found = []
    if all(one.status != "APPROVED" for one in facts.templates):
        statuses = ", ".join(f"{one.name} is {one.status}" for one in facts.templates)
        found.append(Limit("template", f"None of its templates is approved ({statuses}): nothing would be sent.", None))
    for one in facts.numbers:
        if one.slowed_until is not None and one.slowed_until > facts.now:
            back = f"{one.slowed_until:%Y-%m-%d %H:%M} UTC"
            name = one.display_phone_number or one.phone_number_id
            sentence = f"Meta throttled {name}: it is slower until {back}, which isn't counted in."
            found.append(Limit("slowed_number", sentence, 0.0))
    bad = [one.display_phone_number or one.phone_number_id for one in facts.numbers if one.quality == "RED"]
    if bad:
        sentence = f"Meta rates the quality of {', '.join(bad)} RED: it may stop the number while the campaign runs."
        found.append(Limit("quality", sentence, 0.0))
    return found


def iso(at: float) -> datetime:
    """A moment of the virtual clock, to the second."""
    return datetime.fromtimestamp(round(at), UTC)
