"""What to tell people about a message in doubt: what was seen of it, and what to expect. Pure."""

from datetime import datetime, timedelta

_REPORTS_COME_WITHIN = timedelta(minutes=15)


def evidence(detail: str | None, *, attempt: int, claimed_at: datetime, incarnation: int, sender_is_gone: bool) -> str:
    """Say what was seen of the attempt: Meta's ambiguous answer, how the request ended, or that nobody was left to see.

    detail: what the sender wrote down, None if it couldn't. sender_is_gone: another one has the number by now.
    """
    if detail:
        return f"Attempt {attempt} left, and its outcome is unknown: {detail}"
    if sender_is_gone:
        return (
            f"The server that claimed it at {claimed_at:%Y-%m-%d %H:%M:%S} UTC (incarnation {incarnation}) died or lost"
            f" the number before it could record an answer; attempt {attempt} may have left"
        )
    return (
        f"It was claimed at {claimed_at:%Y-%m-%d %H:%M:%S} UTC and no answer was recorded within twice the request's"
        f" time-out; attempt {attempt} may have left"
    )


def expectation(since: datetime, *, now: datetime, resend_after_hours: int | None) -> str:
    """Say what will happen if nobody does anything."""
    if resend_after_hours is not None:
        return (
            f"Unless Meta reports before, it is sent again at"
            f" {since + timedelta(hours=resend_after_hours):%Y-%m-%d %H:%M} UTC while the campaign runs;"
            " if Meta did take it, the person gets it twice"
        )
    if now - since < _REPORTS_COME_WITHIN:
        return "Meta's own report, within seconds or minutes if it was taken; it is never sent again by itself"
    return (
        "If webhooks arrive otherwise, it was most likely never taken."
        " It is never sent again by itself: it waits for Meta's report or your word"
    )
