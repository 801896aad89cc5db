"""What each number must keep, from the desired state: its rate, its campaigns' own limits, its portfolio's budget.

Told to the limiters by the Reconciler in each round, so that a change needs no restart and a restart loses nothing.
"""

from titanflow.actors.number.rate_limiter import Limits
from titanflow.domain import fair_share
from titanflow.domain.fair_share import OwnLimit
from titanflow.storage.desired import Desired


def of_numbers(wanted: Desired, number_ids: set[int]) -> dict[int, Limits]:
    """Return the limits of these numbers. A campaign's own is shared out to all that may send for it now, anywhere."""
    own: dict[int, dict[int, OwnLimit]] = {number_id: {} for number_id in number_ids}
    for campaign in wanted.campaigns.values():
        if campaign.max_mps is None:
            continue
        allowances = {number_id: wanted.numbers[number_id].max_mps for number_id in campaign.number_ids}
        for number_id, limit in fair_share.own_limits(campaign.max_mps, allowances).items():
            if number_id in own:
                own[number_id][campaign.id] = limit
    return {
        number_id: Limits(wanted.numbers[number_id].max_mps, own[number_id], wanted.numbers[number_id].portfolio_id)
        for number_id in number_ids
        if number_id in wanted.numbers
    }
