"""How many requests a caller may make: a steady rate with a burst (GCRA). Pure; times in seconds."""


def take(full_at: float, now: float, *, per_second: float, burst: int) -> tuple[float, float]:
    """Count a request. Returns the moment when the allowance is full again, and how long to wait: 0.0 lets it through.

    full_at: what the call before returned, 0.0 for a new caller.
    """
    interval = 1 / per_second
    begins = max(full_at, now)
    wait_s = begins - now - (burst - 1) * interval
    if wait_s > 1e-9:
        return full_at, wait_s
    return begins + interval, 0.0
