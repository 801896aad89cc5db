"""The sandbox's own time: real time, plus what the control API has advanced it by."""

import time


class Clock:
    """Limits, expiries and scheduled webhooks go by it; the arrivals in the ledger are stamped by real time."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic() + self.ahead_s

    def wall(self) -> float:
        """Seconds since 1970, as webhooks carry them."""
        return time.time() + self.ahead_s
