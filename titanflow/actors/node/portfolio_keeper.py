"""PortfolioKeeper: gives places of a portfolio's daily budget back, and lets them expire.

One a process; child of Background (one_for_one, permanent). No state. Any number of nodes may do it at once: each
portfolio is worked on under the lock of its row. Costs one look a second where no portfolio has a limit.
OTP model: gen_server.
"""

from collections.abc import Callable

import structlog

from titanflow.errors import StorageUnavailable
from titanflow.storage import portfolios
from titanflow.storage.database import Database
from titanflow.supervision import GenServer, NoReply, Stop

log = structlog.get_logger()

_EVERY_MS = 1_000
_PROVE_EVERY = 300  # rounds


class _Keep:
    """To self."""


class PortfolioKeeper(GenServer):
    """Keeps the budgets once a second."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def init(self) -> None:
        """Begin soon."""
        self._rounds = 0
        self.send_after(_EVERY_MS, _Keep())

    def handle_info(self, message: object) -> NoReply | Stop | None:
        """Keep, and prove now and then that the count is right."""
        if not isinstance(message, _Keep):
            return super().handle_info(message)
        self.send_after(_EVERY_MS, _Keep())
        self._rounds += 1
        self._unless_away(self._keep)
        if self._rounds % _PROVE_EVERY == 0:
            self._unless_away(self._prove)
        return None

    def _keep(self) -> None:
        kept = portfolios.keep(self._db)
        if kept.given_back or kept.expired:
            log.info("budget.freed", given_back=kept.given_back, expired=kept.expired)

    def _prove(self) -> None:
        drift = portfolios.heal(self._db)
        if drift:
            log.error("budget.drifted", drift=drift)

    @staticmethod
    def _unless_away(step: Callable[[], None]) -> None:
        try:
            step()
        except StorageUnavailable as error:
            log.warning("budget.not_kept", why=error.why)
