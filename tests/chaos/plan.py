"""What happens in a round: a pure function of its seed. The same seed plans the same round."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

PROFILES = ("clean", "every-status", "throttled", "ambiguous", "chaos-webhooks", "mixed")

# What a fault rule of the sandbox may do for a while to a share of the messages (docs/sandbox.md). Not here: what
# stops a number until an operator acts, and answers that take half a minute; both have tests of their own.
_DOUBTS = (
    *(
        "code_1",
        "code_2",
        "code_506",
        "code_131000",
        "code_131016",
        "code_133004",
        "reset",
        "close",
        "cut",
        "malformed",
    ),
    *("empty", "no_messages", "html", "html_403", "html_429", "html_503", "redirect"),
)
FAULTS: tuple[Mapping[str, str | int], ...] = (
    *({"where": "doubt", "kind": f"{kind}_{when}"} for kind in _DOUBTS for when in ("before", "after")),
    *({"where": "doubt", "kind": f"{kind}_after"} for kind in ("gzip", "chunked", "text_type", "close_after_answer")),
    *({"where": "answer", "code": code} for code in (130429, 131056, 131021, 130472, 80008, 132005)),
    *({"where": "status", "code": code} for code in (131026, 131049, 131050)),
)

# kind -> (weight, smallest amount, largest amount). The amount is a duration in seconds unless said otherwise.
KINDS: dict[str, tuple[float, float, float]] = {
    "kill_server": (3.0, 0.0, 0.5),  # down for so long
    "freeze_server": (2.0, 0.1, 14.0),
    "restart_server": (1.0, 0.0, 0.3),
    "restart_postgres_fast": (1.0, 0.0, 0.5),
    "restart_postgres_immediate": (1.0, 0.0, 0.5),
    "kill_postgres": (2.0, 0.0, 1.5),
    "restart_redis": (1.0, 0.0, 0.0),
    "kill_redis": (1.0, 0.0, 2.0),
    "flush_redis": (1.0, 0.0, 0.0),
    "switch_profile": (1.0, 0.0, 0.0),
    "fault_rule": (2.0, 0.01, 0.08),  # of this share of the messages
    "pause_resume": (1.5, 0.2, 1.0),
    "change_rate": (1.5, 100.0, 500.0),  # messages a second
    "hold_webhooks": (2.0, 1.0, 8.0),  # Meta reports nothing for so long: doubts stay doubts
    "suppress": (2.0, 1.0, 30.0),  # so many people
    "crash_actor": (2.5, 0.0, 0.0),
    "clock_jump": (1.5, 60.0, 400_000.0),  # seconds, forwards or back
    "full_disk": (0.4, 0.5, 3.0),  # on a stage of its own, always alone
}

_LONGER_THAN_A_LEASE_S = 10.0


@dataclass(frozen=True, slots=True)
class Event:
    """One disaster. after_s: since the one before it was over. pick: 0 to 1, which of the things it may hit."""

    kind: str
    after_s: float
    amount: float
    pick: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One round. mps: of each number. deadline_s: from the start to `completed`.

    Meta's pauses may add up to 190 s: 60 for 131048, 10 for 131057, 120 for code 4, one after the other.
    """

    seed: int
    contacts: int
    numbers: int
    mps: int
    latency_ms: float
    profile: str
    events: tuple[Event, ...]
    deadline_s: float = 300.0

    @property
    def on_small_disk(self) -> bool:
        """Whether PostgreSQL's data must lie on a file system that can be filled."""
        return any(event.kind == "full_disk" for event in self.events)

    def line(self) -> str:
        """The round in a few words."""
        happens = " ".join(f"{event.kind}+{event.after_s:.1f}" for event in self.events)
        numbers = f"{self.numbers} x {self.mps}/s, {self.latency_ms:.0f} ms"
        return f"{self.profile}, {self.contacts} contacts, {numbers}: {happens}"


def make_plan(seed: int, *, only: str | None = None, without: frozenset[str] = frozenset()) -> Plan:
    """Return the round of a seed. only: every event is of this kind. without: kinds that this machine can't do."""
    rng = random.Random(seed)
    numbers, mps = rng.randint(1, 3), rng.randint(100, 500)
    contacts = max(200, min(1_000, int(numbers * mps * rng.uniform(1.2, 4.0))))
    profile = rng.choice(PROFILES)
    if profile == "throttled" and rng.random() < 0.9:
        contacts = min(contacts, 390)  # the 400th message pauses its number for a minute: not in every such round
    latency_ms = float(rng.randint(10, 250))
    sending_s = max(1.0, contacts / (numbers * mps))
    kinds = [only] if only else [kind for kind in KINDS if kind not in without]
    weights = [KINDS[kind][0] for kind in kinds]
    chosen = rng.choices(kinds, weights, k=rng.choices(range(1, 7), (3, 5, 4, 3, 2, 1))[0])
    if "full_disk" in chosen:
        chosen = ["full_disk"]
    gap_s = max(0.6, sending_s / len(chosen))
    events = tuple(_event(rng, kind, rng.uniform(0.05, gap_s)) for kind in chosen)
    return Plan(seed, contacts, numbers, mps, latency_ms, profile, events)


def _event(rng: random.Random, kind: str, after_s: float) -> Event:
    _, least, most = KINDS[kind]
    if kind == "freeze_server":  # mostly short; sometimes around and beyond the end of a lease
        long = rng.random() < 0.25
        amount = rng.uniform(_LONGER_THAN_A_LEASE_S - 3, most) if long else rng.uniform(least, 2.0)
    else:
        amount = rng.uniform(least, most)
    return Event(kind, round(after_s, 3), round(amount, 3), rng.random())
