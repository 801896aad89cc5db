"""The judge of a rehearsal: would this Meta take these messages? `python -m titanflow.sandbox.rehearsal`.

A filter without network and without a clock of its own: each message comes with the moment at which it would arrive,
and is held against this Meta's own validation and limits at that moment. docs/sandbox.md describes the lines.

First line: the stage, {"numbers": [{"id", "waba_id", "mps", "portfolio"}], "templates": {waba_id: [as the Graph API
lists them]}, "portfolios": {name: {"limit": people in 24 hours, "used": [[at, phone]]}}}. Then messages,
{"number", "at", "message"}, `at` in seconds; an empty line asks for the verdict on those since the last one:
{"accepted": count, "refused": [{"code", "details", "lines": [of the messages since the last verdict, from 0]}]}.
"""

import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import orjson

from titanflow.sandbox.errors import Refusal
from titanflow.sandbox.ledger import Window
from titanflow.sandbox.limits import PairLimit, Portfolio
from titanflow.sandbox.templates import Template
from titanflow.sandbox.users import wa_id
from titanflow.sandbox.validation import check_message

_MOST_KINDS = 50  # details may quote what is wrong; beyond so many, only codes are told apart


@dataclass
class _Verdict:
    """On the messages since the last one."""

    accepted: int = 0
    refused: dict[tuple[int, str], list[int]] = field(default_factory=dict)

    def refuse(self, error: Refusal, line: int) -> None:
        key = (error.code, error.details)
        if key not in self.refused and len(self.refused) >= _MOST_KINDS:
            key = (error.code, "")
        self.refused.setdefault(key, []).append(line)

    def as_line(self) -> bytes:
        refused = [
            {"code": code, "details": details, "lines": lines} for (code, details), lines in self.refused.items()
        ]
        return orjson.dumps({"accepted": self.accepted, "refused": refused}) + b"\n"


class Judge:
    """This Meta, as far as one campaign meets it."""

    def __init__(self, stage: dict[str, Any]) -> None:
        self._numbers = {str(one["id"]): one for one in stage["numbers"]}
        self._windows = {number: Window() for number in self._numbers}
        self._pairs = {number: PairLimit() for number in self._numbers}
        self._portfolios = {
            name: _portfolio(name, int(one["limit"]), one["used"]) for name, one in stage["portfolios"].items()
        }
        self._templates = {
            waba_id: {(one.name, one.language): one for one in map(_template, listed)}
            for waba_id, listed in stage["templates"].items()
        }

    def check(self, number_id: str, message: Any, at: float) -> None:
        """Take a message that arrives at a moment. Raises Refusal."""
        number = self._numbers[number_id]
        in_window = self._windows[number_id].add(at)
        to = check_message(message, self._templates.get(str(number["waba_id"]), {})).to
        if in_window > float(number["mps"]) + 1:
            raise Refusal(130429, "Rate limit hit: message failed to send because of too many messages")
        person = wa_id(to)
        if not self._pairs[number_id].passes(person, at, "burst"):
            raise Refusal(131056, "pair rate limit hit")
        portfolio = self._portfolios.get(str(number["portfolio"]))
        if portfolio is not None:
            if not portfolio.passes(person, at):
                raise Refusal(131048, "The portfolio's messaging limit is reached")
            portfolio.count(person, at)


def serve(lines: BinaryIO, verdicts: BinaryIO) -> None:
    """Judge until the lines end. One that is cut short is the end too: whoever wrote it was killed."""
    first = lines.readline()
    if not first.endswith(b"\n"):
        return
    judge = Judge(orjson.loads(first))
    verdict, line = _Verdict(), 0
    for text in lines:
        if not text.endswith(b"\n"):
            return
        if text == b"\n":
            verdicts.write(verdict.as_line())
            verdicts.flush()
            verdict, line = _Verdict(), 0
            continue
        one = orjson.loads(text)
        try:
            judge.check(one["number"], one["message"], one["at"])
            verdict.accepted += 1
        except Refusal as error:
            verdict.refuse(error, line)
        line += 1


def _portfolio(name: str, limit: int, used: list[tuple[float, str]]) -> Portfolio:
    """A portfolio that has reached people before."""
    made = Portfolio(name, tier_limit=limit, counting=True)
    for at, phone in used:
        made.count(wa_id(phone), at)
    return made


def _template(one: dict[str, Any]) -> Template:
    return Template(
        id=str(one["id"]),
        name=str(one["name"]),
        language=str(one["language"]),
        components=one["components"],
        status=str(one["status"]),
        category=str(one["category"]),
        parameter_format=str(one["parameter_format"]),
    )


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # nobody waits for the verdict any more
        serve(sys.stdin.buffer, sys.stdout.buffer)
