"""Fault rules: what shall go wrong, for which messages, how often. Each counts its hits. docs/sandbox.md has the keys.

A rule is asked after the token, the number and the message were found right, so it never hides a real mistake.
"""

import hashlib
import itertools
import random
import re
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from titanflow.sandbox.errors import SHAPES, SUBCODES, Refusal

WHERE = ("answer", "doubt", "status", "webhook", "management")
DOUBTS = (
    *(f"code_{code}" for code in (1, 2, 506, 131000, 131016, 133004)),
    *("reset", "close", "cut", "malformed", "empty", "no_messages", "slow", "hang"),
    *("html", "html_403", "html_429", "html_503", "redirect"),
)
# Answers that look odd and still say clearly that the message was accepted.
ODDITIES = ("gzip", "chunked", "text_type", "extra_fields", "close_after_answer")
_DOUBT = re.compile(f"({'|'.join(DOUBTS)})_(before|after)|({'|'.join(ODDITIES)})_after")


class BadRule(ValueError):
    """What a rule asked for that makes no sense; the text is for people."""


@dataclass(slots=True)
class Rule:
    """One fault. Everything that is None matches all; shares are 0 to 1."""

    where: str
    code: int | None = None
    subcode: int | None = None
    http_status: int | None = None
    details: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    retry_after_s: int | None = None
    regain_minutes: int | None = None
    shape: str = ""
    kind: str = ""
    delay_s: float | None = None
    status: str | None = None
    drop: bool = False
    copies: int = 0
    number: str | None = None
    waba: str | None = None
    template: str | None = None
    to: str | None = None
    echo: str | None = None
    path: str | None = None
    people: float | None = None
    share: float = 1.0
    after: int = 0
    every: int = 1
    next: int | None = None
    for_s: float | None = None
    id: int = 0
    hits: int = 0
    seen: int = 0
    until: float | None = None

    def refusal(self, waba_id: str) -> Refusal:
        """The answer of a rule that refuses at the door."""
        code = 1 if self.code is None else self.code
        headers = dict(self.headers)
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.regain_minutes is not None:
            use = {"type": "messaging", "call_count": 100, "total_cputime": 1, "total_time": 1}
            use["estimated_time_to_regain_access"] = self.regain_minutes
            headers["x-business-use-case-usage"] = orjson.dumps({waba_id: [use]}).decode()
        subcode = SUBCODES.get(code) if self.subcode is None else self.subcode
        return Refusal(code, self.details, status=self.http_status, subcode=subcode, headers=headers, shape=self.shape)

    def as_json(self) -> dict[str, Any]:
        """As the control API lists it: what was set, and what it counted."""
        shown = asdict(self)
        kept = {key: shown[key] for key in _SETTABLE if shown[key] != _DEFAULTS[key]}
        return {"id": self.id, **kept, "hits": self.hits, "seen": self.seen, "active": self.active}

    @property
    def active(self) -> bool:
        """Whether it can still fire."""
        return (self.next is None or self.next > 0) and (self.until is None or time.monotonic() < self.until)


_DEFAULTS = asdict(Rule(""))
_SETTABLE = [name for name in _DEFAULTS if name not in ("id", "hits", "seen", "until")]
_MATCH = ("number", "waba", "template", "to", "echo", "path", "people")


def rule_of(body: Any) -> Rule:
    """Make a rule of a control request. Raises BadRule."""
    if not isinstance(body, dict):
        raise BadRule("a rule is a JSON object")
    asked = {**body, **body.get("match", {})}
    asked.pop("match", None)
    unknown = sorted(set(asked) - set(_SETTABLE))
    if unknown:
        raise BadRule(f"unknown keys {', '.join(unknown)}; known: {', '.join(_SETTABLE)}")
    try:
        rule = Rule(**asked)
    except TypeError as error:
        raise BadRule(str(error)) from None
    rule.number, rule.waba, rule.to = (None if one is None else str(one) for one in (rule.number, rule.waba, rule.to))
    if rule.where not in WHERE:
        raise BadRule(f"where is {rule.where!r}; known: {', '.join(WHERE)}")
    if rule.where in ("answer", "status") and not isinstance(rule.code, int):
        raise BadRule(f"where={rule.where} needs a code")
    if rule.where == "doubt" and not _DOUBT.fullmatch(rule.kind):
        raise BadRule(
            f"kind is {rule.kind!r}; known: {', '.join(DOUBTS)} with _before or _after, {ODDITIES} with _after"
        )
    if rule.where == "webhook" and not (rule.drop or rule.copies or rule.delay_s is not None):
        raise BadRule("where=webhook needs drop, copies or delay_s")
    if rule.where == "management" and rule.code is None and rule.http_status is None:
        raise BadRule("where=management needs a code or an http_status")
    if rule.shape and rule.shape not in SHAPES:
        raise BadRule(f"shape is {rule.shape!r}; known: {', '.join(SHAPES)}")
    if not isinstance(rule.every, int) or rule.every < 1:
        raise BadRule("every is a whole number of at least 1")
    if rule.for_s is not None:
        rule.until = time.monotonic() + rule.for_s
    return rule


class Rules:
    """All rules, in the order they came; the first that fires wins."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  (a simulation, no secret)
        self._seed = seed
        self._ids = itertools.count(1)
        self._all: list[Rule] = []
        self._by_where: dict[str, list[Rule]] = {}

    def add(self, rule: Rule) -> Rule:
        """Put a rule into force."""
        rule.id = next(self._ids)
        self._all.append(rule)
        self._by_where.setdefault(rule.where, []).append(rule)
        return rule

    def remove(self, rule_id: int | None = None) -> int:
        """Remove one rule, or all of them. Returns how many went."""
        kept = [] if rule_id is None else [rule for rule in self._all if rule.id != rule_id]
        gone = len(self._all) - len(kept)
        self._all, self._by_where = kept, {}
        for rule in kept:
            self._by_where.setdefault(rule.where, []).append(rule)
        return gone

    def listed(self) -> list[dict[str, Any]]:
        """All rules with their hits."""
        return [rule.as_json() for rule in self._all]

    def fired(self, where: str, **of: str) -> Rule | None:
        """Return the first rule that fires for a message (number, waba, template, to, echo, status, path)."""
        for rule in self._by_where.get(where, ()):
            if rule.active and self._matches(rule, of) and self._draws(rule):
                rule.hits += 1
                if rule.next is not None:
                    rule.next -= 1
                return rule
        return None

    def any(self, where: str) -> bool:
        """Whether there is a rule to ask; spares the hot path the rest."""
        return where in self._by_where

    def _matches(self, rule: Rule, of: dict[str, str]) -> bool:
        for name in ("number", "waba", "template", "status"):
            wanted = getattr(rule, name)
            if wanted is not None and wanted != of.get(name):
                return False
        if rule.to is not None and rule.to.lstrip("+") != of.get("to", "").lstrip("+"):
            return False
        if rule.echo is not None and not of.get("echo", "").startswith(rule.echo):
            return False
        if rule.path is not None and rule.path not in of.get("path", ""):
            return False
        return rule.people is None or chosen(of.get("to", ""), rule.people, f"{self._seed}:{rule.id}")

    def _draws(self, rule: Rule) -> bool:
        rule.seen += 1
        if rule.seen <= rule.after or (rule.seen - rule.after) % rule.every:
            return False
        return rule.share >= 1 or self._random.random() < rule.share


def chosen(phone: str, share: float, salt: str) -> bool:
    """Whether a person is among a share of all people: the same answer each time."""
    digest = hashlib.blake2b(f"{salt}:{phone.lstrip('+')}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32 < share
