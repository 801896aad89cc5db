"""Everything this Meta knows: portfolios, accounts, numbers, templates, tokens, people."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from titanflow.sandbox.clock import Clock
from titanflow.sandbox.errors import Refusal
from titanflow.sandbox.ledger import Ledger, Window
from titanflow.sandbox.limits import PairLimit, Portfolio
from titanflow.sandbox.media import Media
from titanflow.sandbox.profiles import PROFILES, Profile
from titanflow.sandbox.rules import Rules
from titanflow.sandbox.templates import Template, starter_templates
from titanflow.sandbox.webhooks import Webhooks

SERVICE_WINDOW_S = 86400.0


@dataclass(eq=False)
class Number:
    """A phone number of this Meta. windows: since when each person may be answered freely; times by the clock."""

    id: str
    waba_id: str
    display: str
    mps: int = 1000
    name: str = "Sandbox"
    quality: str = "GREEN"
    status: str = "CONNECTED"
    registered: bool = True
    deleted: bool = False
    maintenance_until: float = 0.0
    name_status: str = "APPROVED"
    windows: dict[str, float] = field(default_factory=dict)
    inbound: Window = field(default_factory=Window)
    pairs: PairLimit = field(default_factory=PairLimit)

    @property
    def metadata(self) -> dict[str, str]:
        """As webhooks carry it."""
        return {"display_phone_number": self.display, "phone_number_id": self.id}

    @property
    def throughput(self) -> str:
        """Meta's level."""
        return "HIGH" if self.mps > 80 else "NOT_APPLICABLE" if self.mps <= 20 else "STANDARD"


@dataclass(eq=False)
class Account:
    """A WhatsApp Business Account. refuse: the code that every message of it meets now (368, 131031, ...), or None."""

    id: str
    portfolio: Portfolio
    name: str = "Sandbox Account"
    refuse: int | None = None
    no_payment: bool = False
    restricted_until: float | None = None
    subscribed: bool = True
    templates: dict[tuple[str, str], Template] = field(default_factory=dict)


@dataclass
class Paging:
    """How lists misbehave. limit: the most a page holds; empty_first: an empty page before each; expire: cursors."""

    limit: int = 0
    empty_first: bool = False
    expire: int = 0


class Meta:
    """The whole state, and the few questions about it that several endpoints ask."""

    def __init__(
        self, ledger: Ledger, webhooks: Webhooks, profile: Profile, seed: int, latency_s: float, clock: Clock
    ) -> None:
        self.ledger, self.webhooks, self.seed, self.latency_s, self.clock = ledger, webhooks, seed, latency_s, clock
        self.tokens: dict[str, float | None] = {}  # until when each is good
        self.expired_tokens: set[str] = set()
        self.numbers: dict[str, Number] = {}
        self.accounts: dict[str, Account] = {}
        self.portfolios: dict[str, Portfolio] = {}
        self.media = Media(seed)
        self.rules = webhooks.rules = Rules(seed)
        self.random = random.Random(seed)  # noqa: S311  (a simulation, no secret)
        self.pair_mode = "burst"
        self.known_user_ids: dict[str, str] = {}  # user id -> wa_id, of those who were seen
        self.stopped: dict[str, bool] = {}  # wa_id of who said STOP -> whether the sender has acknowledged it
        self.fired: set[int] = set()
        self.pairs: set[str] = set()
        self.paging = Paging()
        self.review_s = 0.5
        self._inbound = 0
        self.use_profile(profile)

    def use(self, name: str) -> None:
        """Change the fault profile."""
        self.use_profile(PROFILES[name])

    def use_profile(self, profile: Profile) -> None:
        """Change the fault profile."""
        self.profile = self.webhooks.profile = profile
        self._doubts = list(profile.doubt.items())

    def account(self, waba_id: str) -> Account:
        """Return an account; an unknown one comes into being, with a portfolio of its own and approved templates."""
        known = self.accounts.get(waba_id)
        if known is None:
            portfolio = self.portfolio(f"7{waba_id}")
            known = self.accounts[waba_id] = Account(waba_id, portfolio)
            known.templates = starter_templates(waba_id)
        return known

    def portfolio(self, portfolio_id: str) -> Portfolio:
        """Return a portfolio; an unknown one comes into being, without a limit."""
        return self.portfolios.setdefault(portfolio_id, Portfolio(portfolio_id))

    def number(self, phone_number_id: str) -> Number:
        """Return a number; in an open sandbox an unknown one comes into being."""
        known = self.numbers.get(phone_number_id)
        if known is None and not self.tokens and phone_number_id.isdigit():
            known = Number(phone_number_id, "900000001", "15550" + phone_number_id[-6:])
            self.numbers[phone_number_id] = known
        if known is None or known.deleted:
            raise unknown_object(phone_number_id)
        return known

    def numbers_of(self, waba_id: str) -> list[Number]:
        """The numbers of an account that still exist."""
        return [one for one in self.numbers.values() if one.waba_id == waba_id and not one.deleted]

    def all_templates(self) -> Iterator[tuple[Account, Template]]:
        """Every template with its account."""
        for account in self.accounts.values():
            for template in account.templates.values():
                yield account, template

    def check_token(self, token: str) -> None:
        """Raise Refusal 190 unless the token is good; without configured tokens any will do."""
        if not token:
            raise Refusal(190, "Invalid OAuth access token - Cannot parse access token", subcode=None)
        if token in self.expired_tokens:
            raise Refusal(190, "Error validating access token: Session has expired", subcode=463)
        if self.tokens:
            if token not in self.tokens:
                raise Refusal(190, "Invalid OAuth access token - Cannot parse access token")
            until = self.tokens[token]
            if until is not None and self.clock.now() >= until:
                raise Refusal(190, "Error validating access token: Session has expired", subcode=463)

    def wamid(self, row: int) -> str:
        """The message id of a row of the ledger."""
        return f"wamid.HBgL{self.seed:04d}{row + 1:012d}FQIAERgS=="

    def inbound_wamid(self) -> str:
        """A new id for a message from a person."""
        self._inbound += 1
        return f"wamid.HBgLI{self.seed:04d}{self._inbound:011d}FQIAEhgU=="

    def doubt(self) -> str | None:
        """Draw an ambiguous fault of the profile."""
        if not self._doubts:
            return None
        drawn = self.random.random()
        for kind, share in self._doubts:
            if drawn < share:
                return kind
            drawn -= share
        return None

    def in_service_window(self, number: Number, person: str) -> bool:
        """Whether the person wrote to this number within the last 24 hours."""
        since = number.windows.get(person)
        return since is not None and self.clock.now() - since < SERVICE_WINDOW_S


def unknown_object(object_id: str) -> Refusal:
    """What Meta says of an id that it doesn't know, or doesn't show to this token."""
    details = (
        f"Unsupported post request. Object with ID '{object_id}' does not exist, cannot be loaded due to missing "
        "permissions, or does not support this operation"
    )
    return Refusal(100, details, subcode=33)
