"""What a rehearsal found, counted while it ran, and made into the result that people read."""

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from titanflow.domain import forecast, rates
from titanflow.domain.forecast import Days, Limit, Situation
from titanflow.domain.outcomes import ErrorRule
from titanflow.domain.rates import BadRates, RateTable
from titanflow.domain.rendering import MissingValue
from titanflow.meta.error_policy import MISSING_VALUE, rule_for
from titanflow.services.rehearsal_judge import Refused
from titanflow.services.rehearsal_stage import Stage, iso
from titanflow.storage.rehearsals import Candidate, Facts
from titanflow.telemetry.masking import mask_phones

_EXAMPLES = 3
_MOST_KINDS = 200
_EXAMPLE_RATES = Path(__file__).with_name("example_rates.csv")
_LARGEST_TABLE_BYTES = 1024 * 1024

# Meta bills what it delivers; some people can't be reached.
_DELIVERED_LOW = Decimal("0.85")

_NO_US_MARKETING = "Meta delivers no marketing templates to US numbers: it takes the message and reports failure 131049"


@dataclass(slots=True)
class _Kind:
    """One way to fail. first: examples."""

    rule: ErrorRule
    sentence: str
    parameter: str | None = None
    count: int = 0
    first: list[dict[str, Any]] = field(default_factory=list)


class Failures:
    """People who would fail, by cause, in the order of the list; and how many fail alike in a row on one number."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[int, str], _Kind] = {}
        self._in_a_row: dict[str, tuple[int, int]] = {}  # number -> code, how many
        self._looked_at = 0
        self.tripped: tuple[ErrorRule, int] | None = None  # the breaker that would stop the campaign, after how many

    def missing(self, missing: MissingValue, contact: Candidate, number: str) -> None:
        """A person's row lacks a value."""
        kind = self._kinds.get((MISSING_VALUE.code, missing.parameter))
        if kind is None:
            kind = _Kind(MISSING_VALUE, missing.sentence(), missing.parameter)
            self._kinds[MISSING_VALUE.code, missing.parameter] = kind
        self._count(kind, contact, number)

    def refused(self, refused: Refused, contact: Candidate, number: str) -> None:
        """The sandbox refused a person's message."""
        details = mask_phones(refused.details)
        key = (refused.code, details)
        if key not in self._kinds and len(self._kinds) >= _MOST_KINDS:
            key = (refused.code, "")
        if key not in self._kinds:
            rule = rule_for(refused.code)
            self._kinds[key] = _Kind(rule, f"{rule.sentence}: {key[1]}" if key[1] else rule.sentence)
        self._count(self._kinds[key], contact, number)

    def accepted(self, number: str) -> None:
        """A person's message was taken."""
        self._looked_at += 1
        self._in_a_row.pop(number, None)

    def _count(self, kind: _Kind, contact: Candidate, number: str) -> None:
        self._looked_at += 1
        kind.count += 1
        if len(kind.first) < _EXAMPLES:
            kind.first.append({"contact_id": contact.id, "phone": mask_phones(contact.phone)})
        code = kind.rule.code
        before, count = self._in_a_row.get(number, (code, 0))
        count = count + 1 if before == code else 1
        self._in_a_row[number] = (code, count)
        if self.tripped is None and kind.rule.action == "breaker" and 0 < kind.rule.breaker <= count:
            self.tripped = (kind.rule, self._looked_at)

    @property
    def total(self) -> int:
        """How many people fail."""
        return sum(kind.count for kind in self._kinds.values())

    def listed(self) -> list[dict[str, Any]]:
        """Each cause, the most frequent first."""
        return [
            {
                "code": kind.rule.code,
                "parameter": kind.parameter,
                "sentence": kind.sentence,
                "fix": kind.rule.fix,
                "count": kind.count,
                "first": kind.first,
            }
            for kind in sorted(self._kinds.values(), key=lambda one: -one.count)
        ]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the run has counted. already: contacts whose message has left before. countries: of messages taken.

    known: the people among them who count in a tier already.
    """

    checked: int
    messages: int
    already: int
    known: list[str]
    suppressed: Counter[str]
    countries: Counter[str]
    failures: Failures
    days: Days
    finishes_at: float


@dataclass(frozen=True, slots=True)
class Rates:
    """The operator's table, or the example. problem: why the operator's can't be used."""

    table: RateTable | None
    source: str
    problem: str | None


def read_rates(data_dir: Path) -> Rates:
    """Read DATA_DIR/rates.csv, or the example table if there is none. A bad table costs only the costs."""
    own = data_dir / "rates.csv"
    if not own.exists():
        return Rates(rates.parse(_EXAMPLE_RATES.read_text(encoding="utf-8")), "example", None)
    try:
        if own.stat().st_size > _LARGEST_TABLE_BYTES:
            raise BadRates("it is larger than 1 MiB")
        return Rates(rates.parse(own.read_text(encoding="utf-8")), "rates.csv", None)
    except (BadRates, OSError, UnicodeDecodeError) as error:
        return Rates(None, "rates.csv", f"rates.csv can't be used: {error}")


def result(stage: Stage, facts: Facts, seen: Seen, found_rates: Rates) -> dict[str, Any]:
    """Make the result of what was seen. docs/api.md describes it."""
    situation = replace(stage.situation, messages=seen.messages, failed=seen.failures.total, known=seen.known)
    us = seen.countries["US"] if stage.category == "MARKETING" else 0
    excluded = Counter(facts.excluded) + seen.suppressed
    failures = seen.failures.listed()
    if us:
        rule = rule_for(131049)
        failures.append(
            {"code": 131049, "parameter": None, "sentence": _NO_US_MARKETING, "fix": rule.fix, "count": us, "first": []}
        )
    found = [
        *stage.limits,
        *_limits_of_people(seen, us),
        *forecast.limits(situation, seen.finishes_at),
    ]
    return {
        "rehearsed_at": facts.now,
        "audience": {
            "total": seen.checked + sum(facts.excluded.values()),
            "to_send": seen.messages,
            "excluded": sum(excluded.values()),
            "sent_before": seen.already,
            "would_fail": seen.failures.total + us,
        },
        "exclusions": dict(excluded),
        "excluded_at_the_claim": dict(seen.suppressed),
        "rejected_lines": facts.rejected,
        "failures": failures,
        "duration": _duration(situation, seen),
        "costs": _costs(stage.category, seen, us, found_rates),
        "limits": [_as_json(one) for one in forecast.in_order(found)],
    }


def _limits_of_people(seen: Seen, us: int) -> list[Limit]:
    found = []
    if seen.failures.tripped is not None:
        rule, after = seen.failures.tripped
        sentence = (
            f"{rule.breaker} people in a row on one number fail alike ({rule.sentence}): the campaign would pause"
            f" by itself after {after:,} of {seen.messages:,}. {rule.fix}"
        )
        found.append(Limit("breaker", sentence, None, seen.messages - after))
    if us:
        sentence = f"{us:,} people have US numbers, which get no marketing templates: {us:,} messages fail."
        found.append(Limit("us_marketing", sentence, 0.0, us))
    if seen.failures.total:
        share = seen.failures.total / seen.messages
        sentence = (
            f"{seen.failures.total:,} of {seen.messages:,} people ({share:.1%}) would fail, for the reasons listed."
        )
        found.append(Limit("failures", sentence, 0.0, seen.failures.total))
    return found


def _duration(situation: Situation, seen: Seen) -> dict[str, Any]:
    span = forecast.range_s(situation, seen.finishes_at)
    starts_at = situation.plan.starts_at
    days = seen.days if situation.plan.lanes else Days(situation.zone)
    return {
        "seconds": [round(one, 1) for one in span] if span else None,
        "says": _said(span),
        "starts_at": iso(starts_at),
        "ends_at": [iso(starts_at + one) for one in span] if span else None,
        "messages_per_second": round(situation.plan.mps, 1),
        "timezone": str(situation.zone),
        "days": days.listed(),
        "days_in_all": days.total,
        "rests_on": forecast.rests_on(situation),
    }


def _said(span: tuple[float, float] | None) -> str:
    if span is None:
        return "it can't be sent now"
    low, high = (forecast.spoken(one) for one in span)
    return low if low == high else f"{low} to {high}"


def _costs(category: str, seen: Seen, us: int, found: Rates) -> dict[str, Any]:
    by_country: list[dict[str, Any]] = []
    without_rate: list[dict[str, Any]] = []
    high = Decimal(0)
    for country, count in seen.countries.most_common():
        billed = 0 if country == "US" and us else count
        rate = found.table.rates.get((country, category)) if found.table else None
        if rate is None:
            without_rate.append({"country": country, "messages": count})
            continue
        high += rate * billed
        by_country.append(
            {
                "country": country,
                "category": category,
                "messages": count,
                "rate": float(rate),
                "low": _money(rate * billed * _DELIVERED_LOW),
                "high": _money(rate * billed),
            }
        )
    unpriced = sum(one["messages"] for one in without_rate)
    names = ", ".join(f"{one['country']} ({one['messages']:,})" for one in without_rate[:10])
    return {
        "currency": found.table.currency if found.table else None,
        "low": _money(high * _DELIVERED_LOW),
        "high": _money(high),
        "by_country": by_country,
        "without_rate": without_rate,
        "table": found.source,
        "notes": found.table.notes if found.table else None,
        "problem": found.problem
        or (f"{unpriced:,} messages are not in the sum, their countries have no rate: {names}" if unpriced else None),
        "rests_on": "High: every message is delivered and billed. Low: 85 % are. Meta bills what it delivers.",
    }


def _money(amount: Decimal) -> float:
    return float(round(amount, 2))


def _as_json(limit: Limit) -> dict[str, Any]:
    given = asdict(limit)
    return {**given, "seconds": round(limit.seconds, 1) if limit.seconds is not None else None}
