"""Campaigns whose send window opens or closes: found by the time that was worked out before, moved by compare-and-set.

`campaigns.window_turns_at` is the whole state: when the window of a running campaign closes, or when that of a
campaign paused by it opens. A claim checks it too, so nothing is claimed after the end, whoever is late.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from titanflow.domain.send_windows import Verdict
from titanflow.storage.database import Database

# One statement of the desired state's round: costs an empty index scan while no campaign has a window.
TURNS = """
    SELECT id, state, send_window, window_turns_at, now() AS at
    FROM campaigns
    WHERE window_turns_at <= now() + interval '1100 ms'
      AND (state = 'running' OR (state = 'paused' AND state_by = 'send_window'))
"""


@dataclass(frozen=True, slots=True)
class WindowTurn:
    """A campaign whose window turns within a second, or should have. at: PostgreSQL's clock when it was read."""

    id: int
    state: str
    send_window: dict[str, Any] | None
    window_turns_at: datetime
    at: datetime

    @property
    def due_in_s(self) -> float:
        """Seconds until it turns; not positive: it is due."""
        return (self.window_turns_at - self.at).total_seconds()


_TURN = """
    UPDATE campaigns SET state = %(state)s, updated_at = now(), window_turns_at = %(turns_at)s,
        state_by = CASE WHEN state = %(state)s THEN state_by ELSE 'send_window' END,
        state_reason = CASE WHEN state = 'running' AND %(state)s = 'running' THEN state_reason ELSE %(reason)s END,
        started_at = CASE WHEN %(state)s = 'running' THEN coalesce(started_at, now()) ELSE started_at END
    WHERE id = %(id)s AND state = %(seen_state)s AND window_turns_at = %(seen_at)s
      AND (state = 'running' OR state_by = 'send_window')
    RETURNING id
"""


def turn(db: Database, seen: WindowTurn, verdict: Verdict) -> bool:
    """Carry a verdict out, unless somebody has moved the campaign since it was seen. Returns if it was carried out."""
    parameters = {
        "id": seen.id,
        "state": "running" if verdict.running else "paused",
        "reason": verdict.reason,
        "turns_at": verdict.turns_at,
        "seen_state": seen.state,
        "seen_at": seen.window_turns_at,
    }
    with db.connection() as connection:
        return connection.execute(_TURN, parameters).fetchone() is not None
