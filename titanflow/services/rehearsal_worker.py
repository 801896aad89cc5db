"""A rehearsal's own process: reads the real contacts, renders, lets the sandbox judge. `python -m ... REHEARSAL_ID`.

It writes nothing but its own row. Killed anywhere, it leaves that row to be failed by whoever watches, and no file.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from titanflow import settings
from titanflow.domain import pacing, phones
from titanflow.domain.forecast import Days
from titanflow.domain.pacing import Departures, Lane
from titanflow.domain.rendering import MissingValue
from titanflow.errors import InvalidInput, TitanFlowError
from titanflow.services import rehearsal_report
from titanflow.services.rehearsal_judge import Judge, JudgeEnded, Refused
from titanflow.services.rehearsal_report import Failures, Seen
from titanflow.services.rehearsal_stage import Stage, stage_of
from titanflow.storage import rehearsals
from titanflow.storage.rehearsals import Candidate, Session
from titanflow.telemetry import masking

_BATCH = 1_000
_SMALLEST_BATCH = 25
_TELL_EVERY_S = 1.0
_NICE = 10


class _Unwanted(Exception):
    """Somebody cancelled it, or the process that started this one is gone."""


@dataclass(slots=True)
class _Batch:
    """Contacts under judgement. fates: in the order of the list, what is missing, or the place among the messages."""

    contacts: list[Candidate] = field(default_factory=list)
    fates: list[MissingValue | int] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)


class _Run:
    def __init__(self, session: Session, stage: Stage, judge: Judge) -> None:
        self._session, self._stage, self._judge = session, stage, judge
        plan = stage.situation.plan
        everybody = plan if plan.lanes else pacing.with_lanes(plan, [lane for lane, _ in stage.situation.idle])
        self._departures = Departures(everybody)
        self._finishes_at = plan.starts_at
        self._days = Days(stage.situation.zone)
        self._suppressed: Counter[str] = Counter()
        self._countries: Counter[str] = Counter()
        self._failures = Failures()
        self._checked = self._messages = self._already = 0
        self._counted = {phone for budget in plan.budgets.values() for _, phone in budget.used}
        self._known: list[str] = []
        # Places that refused people give back come with the verdict: the smaller the tier, the sooner it must come.
        self._batch = min([_BATCH, *(max(_SMALLEST_BATCH, one.limit // 20) for one in plan.budgets.values())])
        self._told = time.monotonic()
        self._parent = os.getppid()

    def run(self) -> Seen:
        """Go through all contacts. One batch is judged while the next one is made."""
        waiting: _Batch | None = None
        for candidates in self._candidates():
            batch = self._make(candidates)
            self._judge.send(batch.messages)
            if waiting is not None:
                self._settle(waiting, self._judge.verdict())
            waiting = batch
            self._checked += len(candidates)
            self._tell()
        if waiting is not None:
            self._settle(waiting, self._judge.verdict())
        return Seen(
            checked=self._checked,
            messages=self._messages,
            already=self._already,
            known=self._known,
            suppressed=self._suppressed,
            countries=self._countries,
            failures=self._failures,
            days=self._days,
            finishes_at=self._finishes_at,
        )

    def _candidates(self) -> Iterator[list[Candidate]]:
        """All of them; people who count in a tier already go first, as they pass those who wait for a place."""
        if not self._counted:
            yield from self._session.candidates(batch=self._batch)
            return
        for counted in (True, False):
            for candidates in self._session.candidates(batch=self._batch):
                yield [one for one in candidates if (one.phone in self._counted) == counted]

    def _make(self, candidates: list[Candidate]) -> _Batch:
        """Render a batch, each message with the moment at which it would leave."""
        batch = _Batch()
        for one in candidates:
            if one.state is not None and one.state != "retrying":
                self._already += 1
                continue
            if one.suppressed is not None:
                self._suppressed[one.suppressed] += 1
                continue
            batch.contacts.append(one)
            if one.phone in self._counted:
                self._known.append(one.phone)
            rendered = self._stage.template.render(orjson.loads(one.variables))
            lane, at = self._departures.next(one.phone)
            self._finishes_at = at
            self._days.add(at)
            batch.lanes.append(lane)
            if isinstance(rendered, MissingValue):  # it is claimed and gets its moment, but nothing leaves
                batch.fates.append(rendered)
                self._give_back(one, lane)
                continue
            batch.fates.append(len(batch.messages))
            batch.messages.append(_line(lane.number, at, one, rendered))
        self._messages += len(batch.contacts)
        return batch

    def _settle(self, batch: _Batch, refused: list[Refused]) -> None:
        """Count what became of a batch, in the order of the list."""
        by_line = {line: one for one in refused for line in one.lines}
        for contact, fate, lane in zip(batch.contacts, batch.fates, batch.lanes, strict=True):
            if isinstance(fate, MissingValue):
                self._failures.missing(fate, contact, lane.number)
            elif fate in by_line:
                self._failures.refused(by_line[fate], contact, lane.number)
            else:
                self._failures.accepted(lane.number)
                self._countries[phones.country(contact.phone) or "?"] += 1
                continue
            if not isinstance(fate, MissingValue):
                self._give_back(contact, lane)

    def _give_back(self, contact: Candidate, lane: Lane) -> None:
        if contact.phone not in self._counted:
            self._departures.give_back(lane.portfolio, 1)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told > _TELL_EVERY_S:
            self._told = now
            if not self._session.tell(self._checked) or os.getppid() != self._parent:
                raise _Unwanted


def _line(number: str, at: float, contact: Candidate, template: dict[str, Any]) -> bytes:
    message = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": contact.phone,
        "type": "template",
        "biz_opaque_callback_data": f"rehearsal:{contact.id}",
        "template": template,
    }
    return orjson.dumps({"number": number, "at": at, "message": message})


def main() -> int:
    """Run one rehearsal, nicer than what sends. Returns the exit code: 0 as well if it was cancelled meanwhile."""
    os.nice(_NICE)
    configured = settings.load()
    with rehearsals.session(configured.require_database(), int(sys.argv[1])) as session:
        if session is None:
            return 0
        facts = session.facts()
        rates = rehearsal_report.read_rates(configured.data_dir)
        judge: Judge | None = None
        try:
            stage = stage_of(facts, session.campaign(), concurrency=configured.pipeline_concurrency)
            judge = Judge(stage.for_judge)
            seen = _Run(session, stage, judge).run()
            session.finish(seen.checked, rehearsal_report.result(stage, facts, seen, rates))
        except JudgeEnded as ended:
            session.fail(f"{ended}. Ask for another rehearsal.")
        except InvalidInput as wrong:
            session.fail(wrong.one_line())
        except _Unwanted:
            return 0
        finally:
            if judge is not None:
                judge.close()
    return 0


if __name__ == "__main__":
    masking.mask_last_words()
    try:
        sys.exit(main())
    except TitanFlowError as error:
        print(error.one_line(), file=sys.stderr)
        sys.exit(1)
