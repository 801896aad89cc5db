"""What somebody who listens is told first: how things stand, and what changed since the last event that was heard."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from titanflow.domain import server_sent
from titanflow.services import campaigns
from titanflow.storage import alarms, campaign_changes
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy

# Clocks of processes differ a little, and an event may have been told after one that changed later.
_MARGIN = timedelta(seconds=5)
_OLDEST = timedelta(hours=24)
_FIGURES_ARE_FRESH_S = 5.0


class Listening:
    """Makes first frames. Keeps figures for a few seconds, since a thousand listeners ask for the same ones."""

    def __init__(self, db: Database, fast_copy: FastCopy) -> None:
        self._db, self._fast_copy = db, fast_copy
        self._figures: dict[int, tuple[float, bytes]] = {}

    def targets(self, campaign_id: int) -> frozenset[str]:
        """Return whose alarms concern a campaign. Raises NotFound."""
        campaigns.get(self._db, campaign_id)
        return campaign_changes.targets_of(self._db, campaign_id)

    def first(self, campaign_id: int | None, targets: frozenset[str] | None, last_event_id: str | None) -> list[bytes]:
        """Return what was missed, then how it stands. Raises StorageUnavailable."""
        since = server_sent.told_at(last_event_id)
        event_id = server_sent.id_at(time.time_ns() // 1_000_000, 0)
        frames = []
        if since is not None:
            since = max(since - _MARGIN, datetime.now(UTC) - _OLDEST)
            missed = campaign_changes.since(self._db, since, campaign_id=campaign_id)
            frames = [server_sent.frame("state", _json(_without_id(one)), _id_of(one["at"])) for one in missed]
        frames += [
            server_sent.frame("alarm", _json({"state": "cleared" if one["cleared_at"] else "open", **one}), event_id)
            for one in alarms.since(self._db, since)
            if targets is None or f"{one['scope']}:{one['target']}" in targets
        ]
        states = campaign_changes.states_now(self._db, campaign_id=campaign_id)
        running = [one["campaign_id"] for one in states if campaign_id or one["state"] == "running"]
        for one in states:
            frames.append(server_sent.frame("state", _json(one), event_id))
            if one["campaign_id"] in running:
                figures = self.figures(one["campaign_id"], running=one["state"] == "running")
                frames.append(server_sent.frame("stats", figures, event_id))
        return frames

    def figures(self, campaign_id: int, *, running: bool = True) -> bytes:
        """Return a campaign's figures as `stats` events have them, a few seconds old at most."""
        at, known = self._figures.get(campaign_id, (0.0, b""))
        if time.monotonic() - at < _FIGURES_ARE_FRESH_S:
            return known
        counts = campaign_changes.counts_of(self._db, [campaign_id]).get(campaign_id, {})
        live = campaigns.live(self._fast_copy, campaign_id) if running else None
        figures = _json(
            {
                "campaign_id": campaign_id,
                "total": sum(counts.values()),
                "counts": counts,
                "rate_now": round(live.rate_now, 1) if live else 0.0,
                "limited_by": live.limited_by if live else None,
                "limited_detail": live.limited_detail if live else None,
            }
        )
        if len(self._figures) > 1_000:
            self._figures.clear()
        self._figures[campaign_id] = (time.monotonic(), figures)
        return figures


def _id_of(at: datetime) -> str:
    return server_sent.id_at(int(at.timestamp() * 1000), "s")


def _without_id(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "id"}


def _json(given: object) -> bytes:
    return orjson.dumps(given, option=orjson.OPT_UTC_Z)
