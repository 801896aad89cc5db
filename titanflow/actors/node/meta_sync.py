"""TemplateSync and NumberSync: ask Meta what has become of templates and numbers, at times and when news demand it.

One of each a process; children of Background (one_for_one, permanent). What is due is in PostgreSQL, and one node takes
it: a crash forgets nothing. Each account or number is asked in a task of its own, a few at once, and one that fails or
hangs costs only itself. OTP model: gen_server with Task.Supervisor.async_nolink.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from titanflow.actors.node.reconciler import nudge
from titanflow.domain import account_events, number_facts
from titanflow.domain.number_facts import NumberFacts
from titanflow.domain.vault import Vault
from titanflow.errors import StorageUnavailable, TitanFlowError, Unavailable
from titanflow.meta.management import Management, MetaRefused
from titanflow.storage import meta_syncs, phone_numbers, portfolios, templates
from titanflow.storage.database import Database
from titanflow.storage.meta_syncs import Subject
from titanflow.supervision import (
    KILL,
    CallExit,
    Down,
    GenServer,
    NoReply,
    StartError,
    Stop,
    Task,
    TaskReply,
    async_nolink,
    exit_process,
    via,
)

log = structlog.get_logger()

TIMEOUT_S = 30

_LOOK_MS = 2_000
_AT_ONCE = 5
_EVERY_S: dict[Subject, float] = {"templates": 15 * 60.0, "number": 10 * 60.0}


class MetaQuestions:
    """Asks Meta about one thing and keeps the answer. Each call opens and closes its own connection."""

    def __init__(self, db: Database, vault: Vault, graph_url: str, api_version: str) -> None:
        self._db, self._vault, self._graph_url, self._api_version = db, vault, graph_url, api_version

    def templates(self, waba_id: str) -> int:
        """Make an account's templates what Meta lists. Returns how many. Raises TitanFlowError."""
        accounts = meta_syncs.accounts(self._db, waba_id)
        if not accounts:
            return 0
        asked_at = templates.now(self._db)
        meta = self._meta(accounts[0]["access_token"])
        try:
            listed = meta.templates(waba_id)
        finally:
            meta.close()
        return templates.replace(self._db, waba_id, listed, asked_at=asked_at)

    def number(self, phone_number_id: str) -> int:
        """Make a number what Meta says of it: quality, limit, status, portfolio. Returns 1. Raises TitanFlowError."""
        known = phone_numbers.access(self._db, phone_number_id)
        if known is None:
            return 0
        meta = self._meta(known["access_token"])
        try:
            facts = number_facts.read(meta.number(phone_number_id))
            portfolio_id = known["portfolio_id"] or self._portfolio(meta, known["waba_id"])
        except MetaRefused as refused:
            if not refused.gone:
                raise
            facts, portfolio_id = NumberFacts(status="DELETED"), None
        finally:
            meta.close()
        block = account_events.status_block(facts.status)
        returned = block is None and account_events.status_block(known["status"]) is not None
        state = phone_numbers.sync(self._db, phone_number_id, facts, block=block, returned=returned)
        if facts.tier is not None:
            portfolios.set_tier(self._db, portfolio_id or known["waba_id"], facts.tier)
        nudge()
        if state != known["state"]:
            log.warning("number.changed_by_meta", phone_number_id=phone_number_id, state=state, status=facts.status)
        return 1

    def _portfolio(self, meta: Management, waba_id: str) -> str | None:
        """Find out whose account it is. Worth a question, not a failure: until it is known the account has a budget."""
        try:
            portfolio_id = meta.portfolio(waba_id)
        except Unavailable as error:
            log.info("portfolio.unknown", waba_id=waba_id, why=error.why)
            return None
        if portfolio_id is not None:
            portfolios.assign(self._db, waba_id, portfolio_id)
        return portfolio_id

    def _meta(self, access_token: bytes) -> Management:
        return Management(self._graph_url, self._api_version, self._vault.decrypt(bytes(access_token)))


@dataclass(frozen=True, slots=True)
class _Look:
    """To self: see what is due."""


@dataclass(frozen=True, slots=True)
class _TooLate:
    """To self: this question has had its time."""

    key: str
    task: Task[str | None]


class MetaSync(GenServer):
    """Sees every two seconds what is due."""

    def __init__(self, db: Database, questions: MetaQuestions, subject: Subject) -> None:
        self._db, self._questions, self._subject = db, questions, subject

    def init(self) -> None:
        """Look soon."""
        ask: dict[Subject, Callable[[str], int]] = {
            "templates": self._questions.templates,
            "number": self._questions.number,
        }
        self._ask = ask[self._subject]
        self._running: dict[str, Task[str | None]] = {}
        self.send_after(_LOOK_MS, _Look())

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Begin what is due; note what ended."""
        match message:
            case _Look():
                self.send_after(_LOOK_MS, _Look())
                try:
                    self._begin()
                except StorageUnavailable as error:
                    log.warning("meta.not_asked", subject=self._subject, why=error.why)
            case TaskReply(ref, error):
                self._ended(ref, error)
            case Down(ref):
                self._ended(ref, "The question crashed; the log says why")
            case _TooLate(key, task):
                if self._running.get(key) is task:
                    exit_process(task.pid, KILL)
                    self._ended(task.ref, f"Meta gave no answer within {TIMEOUT_S} s")
            case _:
                return super().handle_info(message)
        return None

    def observed_state(self) -> dict[str, object]:
        """For `observe()`."""
        return {"subject": self._subject, "asking": sorted(self._running)}

    def _begin(self) -> None:
        room = _AT_ONCE - len(self._running)
        if room <= 0:
            return
        for key in meta_syncs.take(self._db, self._subject, every_s=_EVERY_S[self._subject], limit=room):
            try:
                task = async_nolink(via("tasks"), self._question, key)
            except (StartError, CallExit):  # it is due again when its time is over
                return
            self._running[key] = task
            self.send_after(TIMEOUT_S * 1000, _TooLate(key, task))

    def _question(self, key: str) -> str | None:
        """In the task: ask. Returns why it couldn't be asked, None if it was."""
        try:
            self._ask(key)
        except TitanFlowError as error:
            return error.one_line()
        return None

    def _ended(self, ref: object, error: str | None) -> None:
        key = next((key for key, task in self._running.items() if task.ref is ref), None)
        if key is None:
            return
        del self._running[key]
        if error is not None:
            log.warning("meta.answer_missing", subject=self._subject, key=key, why=error)
        try:
            meta_syncs.finish(self._db, self._subject, key, error=error)
        except StorageUnavailable as away:
            log.warning("meta.answer_not_noted", subject=self._subject, key=key, why=away.why)
