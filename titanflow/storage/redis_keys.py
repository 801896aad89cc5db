"""Every Redis key and channel: name, type, lifetime. All of them may be lost; PostgreSQL has the truth."""

NUDGES = "titanflow:nudges"
"""Channel: "desired state changed", so that other nodes reconcile at once instead of within a second."""

EVENTS = "titanflow:events"
"""Channel: JSON {"type": "stats" or "state", "campaign_id", ...} or {"type": "alarm", "kind", ...}, for SSE."""

LIVE_TTL_S = 5


def campaign_live(campaign_id: int) -> str:
    """Hash, node id -> JSON of what that node's numbers do for a campaign, and when; LIVE_TTL_S after the last word."""
    return f"titanflow:campaign:{campaign_id}:live"


def login_tries(address: str) -> str:
    """JSON of domain/lockout.py's Record of an address or of everybody; a day after the latest try."""
    return f"titanflow:logins:{address}"
