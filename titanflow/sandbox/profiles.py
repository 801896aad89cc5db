"""Fault profiles: how Meta misbehaves, as data. One row a profile; every fault that fires is counted."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Profile:
    """Shares are of all requests, users or statuses, 0 to 1; delays are in seconds.

    refuse: share of requests refused at the door, by error code. once: codes that hit exactly one request each, after
    so many accepted messages. doubt: share of ambiguous answers, by kind (graph.DOUBTS). pair: share of users whose
    first message meets 131056.
    """

    refuse: dict[int, float] = field(default_factory=dict)
    once: dict[int, int] = field(default_factory=dict)
    doubt: dict[str, float] = field(default_factory=dict)
    pair: float = 0.0
    throttle_share: float = 1.0  # of a number's allowance that Meta grants, in every second ten seconds
    unreachable: float = 0.02
    limited: float = 0.01
    opted_out: float = 0.003
    offline: float = 0.02
    no_read: float = 0.3
    duplicated: float = 0.0
    late: float = 0.0
    late_s: float = 8.0
    early: float = 0.0
    sent_missing: float = 0.0
    delivered_skipped: float = 0.02
    skew_s: int = 0
    shuffled: bool = False
    noise: float = 0.0  # unknown wamids, fields and statuses, and forged signatures, per flush


_DOUBT = {
    "code_2_after": 0.003,
    "code_2_before": 0.002,
    "code_131000_after": 0.003,
    "code_131000_before": 0.002,
    "code_131016_after": 0.002,
    "code_1_after": 0.002,
    "reset_after": 0.004,
    "reset_before": 0.002,
    "cut_after": 0.003,
    "malformed_after": 0.003,
    "empty_after": 0.002,
    "html_after": 0.002,
    "slow_after": 0.0003,
}

PROFILES: dict[str, Profile] = {
    "clean": Profile(),
    "every-status": Profile(
        unreachable=0, limited=0, opted_out=0, offline=0, no_read=0, delivered_skipped=0
    ),  # each message is sent, delivered and read: for measurements
    "throttled": Profile(
        refuse={130429: 0.002, 131057: 0.0003}, once={131048: 400, 4: 700}, pair=0.01, throttle_share=0.6
    ),
    "ambiguous": Profile(doubt=_DOUBT),
    "chaos-webhooks": Profile(
        duplicated=0.3,
        late=0.05,
        early=0.2,
        sent_missing=0.1,
        delivered_skipped=0.1,
        skew_s=300,
        shuffled=True,
        noise=0.3,
    ),
    "mixed": Profile(
        refuse={130429: 0.001},
        pair=0.005,
        throttle_share=0.8,
        doubt={kind: share / 2 for kind, share in _DOUBT.items()},
        duplicated=0.15,
        late=0.03,
        early=0.1,
        sent_missing=0.05,
        skew_s=60,
        shuffled=True,
        noise=0.15,
    ),
}
