"""Fair shares of one number between the campaigns that use it. Pure; all times are monotonic nanoseconds.

Max-min fairness: whoever wants less than an equal share gets all of it, the others share what is left equally. Each
campaign has an account of what it was served; free departures fill the lowest accounts first, like water. Whoever
asked a moment ago is expected to want as much again, and no more; so nobody starves, and nothing is kept for somebody
who can't use it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from titanflow.domain import gcra
from titanflow.domain.gcra import Plan

# Who has not asked for so long wants nothing any more; what it had in flight is still believed for a while.
_CONTENDS_NS = 300_000_000
_BELIEVED_NS = 2_000_000_000


@dataclass(slots=True)
class _Account:
    """One campaign. wanted: when it last asked; granted: how many of those it was given."""

    served: float
    asked_at_ns: int
    in_flight: int = 0
    granted: int = 0
    wanted: int = 0


class FairShares:
    """Shares out departures, and requests in flight, of one number."""

    __slots__ = ("_accounts",)

    def __init__(self) -> None:
        self._accounts: dict[int, _Account] = {}

    def tell(self, campaign_id: int, *, used: int, in_flight: int, now_ns: int) -> int:
        """Take in how a campaign stands: of its last grant it used so many. Returns how many it did not use."""
        self._forget(now_ns)
        account = self._accounts.get(campaign_id)
        if account is None:
            account = self._accounts[campaign_id] = _Account(0.0, now_ns)
        elif account.asked_at_ns >= now_ns - _CONTENDS_NS:
            unused = max(0, account.granted - used)
            account.served -= unused
            account.granted, account.in_flight, account.asked_at_ns = 0, in_flight, now_ns
            return unused
        # It was away: what it did not want meanwhile is nothing that it may have now.
        account.served = max(account.served, min(self._others(campaign_id, now_ns), default=account.served))
        account.granted, account.wanted, account.in_flight, account.asked_at_ns = 0, 0, in_flight, now_ns
        return 0

    def on_the_way(self, campaign_id: int, now_ns: int) -> int:
        """Return how many the other campaigns were granted that may not have got a departure yet."""
        return sum(
            account.granted
            for other_id, account in self._accounts.items()
            if other_id != campaign_id and account.asked_at_ns >= now_ns - _CONTENDS_NS
        )

    def flying(self) -> int:
        """Return how many requests are in flight, or about to be, over all campaigns."""
        return sum(account.in_flight + account.granted for account in self._accounts.values())

    def contenders(self, now_ns: int) -> int:
        """Return how many campaigns want to send now."""
        return sum(1 for account in self._accounts.values() if account.asked_at_ns >= now_ns - _CONTENDS_NS)

    def take(self, campaign_id: int, wanted: int, *, free: int, now_ns: int) -> int:
        """Return how many of `free` departures a campaign gets that has just told how it stands."""
        account = self._accounts[campaign_id]
        others = [
            (other.served, other.wanted)
            for other_id, other in self._accounts.items()
            if other_id != campaign_id and other.wanted and other.asked_at_ns >= now_ns - _CONTENDS_NS
        ]
        count = min(wanted, free, _filled(account.served, wanted, others, free)) if free > 0 else 0
        account.served += count
        account.granted, account.wanted = count, wanted
        if count == wanted:  # content: it saves nothing up for later
            account.served = max(account.served, min((served for served, _ in others), default=account.served))
        return count

    def _others(self, campaign_id: int, now_ns: int) -> list[float]:
        return [
            account.served
            for other_id, account in self._accounts.items()
            if other_id != campaign_id and account.asked_at_ns >= now_ns - _CONTENDS_NS
        ]

    def _forget(self, now_ns: int) -> None:
        for campaign_id, account in list(self._accounts.items()):
            if account.asked_at_ns < now_ns - _BELIEVED_NS:
                del self._accounts[campaign_id]
        lowest = min((account.served for account in self._accounts.values()), default=0.0)
        if lowest > 1e6:  # only differences matter
            for account in self._accounts.values():
                account.served -= lowest


def _filled(served: float, wanted: int, others: list[tuple[float, int]], free: int) -> int:
    """Fill `free` into the lowest accounts, none beyond what it wants; return how much this one gets, rounded up."""
    accounts = [(served, wanted), *others]
    # Between two of these heights, the same accounts are being filled.
    heights = sorted({height for low, room in accounts for height in (float(low), low + room)})
    left, level = float(free), heights[0]
    for height in heights[1:]:
        filling = sum(1 for low, room in accounts if low <= level < low + room)
        needed = filling * (height - level)
        if needed >= left:
            level += left / filling
            break
        left, level = left - needed, height
    return max(0, min(wanted, -int(-(level - served - 1e-9) // 1)))


@dataclass(frozen=True, slots=True)
class OwnLimit:
    """A campaign's own max_mps over all its numbers, and the part of it that is this number's."""

    max_mps: int
    share_mps: float

    @property
    def sentence(self) -> str:
        """For people."""
        whole = f"the campaign's own limit of {self.max_mps} a second"
        return whole if self.share_mps >= self.max_mps else f"{whole}, {self.share_mps:.3g} of it on this number"


def own_limits(max_mps: int, numbers: dict[int, int]) -> dict[int, OwnLimit]:
    """Share a campaign's own limit out to its numbers (id -> max_mps), in proportion to what each may send.

    So none is given more than it can use as long as another could use it.
    """
    total = sum(numbers.values())
    return {number_id: OwnLimit(max_mps, max_mps * mps / total) for number_id, mps in numbers.items()}


class OwnPace:
    """Keeps campaigns' own limits on one number."""

    __slots__ = ("_plans",)

    def __init__(self) -> None:
        self._plans: dict[int, Plan] = {}

    def available(self, campaign_id: int, limit: OwnLimit, *, now_ns: int, horizon_ns: int) -> int:
        """Return how many messages the campaign's own limit lets go within the horizon."""
        plan = self._plans.get(campaign_id) or gcra.empty(limit.share_mps, now_ns=now_ns)
        if plan.mps != limit.share_mps:
            # What was reserved at the old rate takes as long at the new one, not longer.
            plan = gcra.at_rate(replace(plan, next_at_ns=min(plan.next_at_ns, now_ns + horizon_ns)), limit.share_mps)
        self._plans[campaign_id] = plan
        return gcra.available(plan, now_ns=now_ns, horizon_ns=max(horizon_ns, plan.interval_ns * 3 // 2))

    def take(self, campaign_id: int, count: int, *, now_ns: int) -> None:
        """Use that many up."""
        self._plans[campaign_id], _ = gcra.schedule(self._plans[campaign_id], count, now_ns=now_ns)

    def give_back(self, campaign_id: int, count: int) -> None:
        """They were not used."""
        plan = self._plans.get(campaign_id)
        if plan is not None and count:
            self._plans[campaign_id] = replace(plan, next_at_ns=plan.next_at_ns - count * plan.interval_ns)

    def keep_only(self, campaign_ids: Iterable[int]) -> None:
        """Forget the campaigns that have no limit of their own, or are gone."""
        keep = set(campaign_ids)
        self._plans = {campaign_id: plan for campaign_id, plan in self._plans.items() if campaign_id in keep}
