"""Send windows that are surely open or surely closed right now, and campaigns that have them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from titanflow.domain.send_windows import DAYS
from titanflow.storage.database import Database

OPEN = {"timezone": "UTC", "days": list(DAYS), "from": "00:00", "to": "24:00"}


def closed() -> dict[str, Any]:
    """A window on the day after the day after tomorrow."""
    day = (datetime.now(UTC) + timedelta(days=3)).weekday()
    return {"timezone": "UTC", "days": [DAYS[day]], "from": "09:00", "to": "20:00"}


def set_window(db: Database, campaign_id: int, window: dict[str, Any] | None, **columns: Any) -> None:
    """Write a campaign's window, and its state, state_by and the seconds until it turns (turns_in_s) if given."""
    with db.connection() as connection:
        connection.execute(
            "UPDATE campaigns SET send_window = %(window)s, state = coalesce(%(state)s, state),"
            " state_by = coalesce(%(state_by)s, state_by),"
            " window_turns_at = now() + make_interval(secs => %(turns_in_s)s::float8) WHERE id = %(id)s",
            {
                "window": orjson.dumps(window).decode() if window else None,
                "state": None,
                "state_by": None,
                "turns_in_s": None,
                **columns,
                "id": campaign_id,
            },
        )
