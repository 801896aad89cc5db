"""What to say of a campaign that is done, if there is something to say. Pure."""

from collections.abc import Mapping

_LEFT = (("failed", "failed"), ("in_doubt", "in doubt, which may have been sent"))


def sentence(counts: Mapping[str, int]) -> str | None:
    """Return what is noteworthy at the end, None if all went well. counts: contacts by state."""
    left = [f"{counts[state]:,} {words}" for state, words in _LEFT if counts[state]]
    if not any(counts[state] for state in ("sent", "delivered", "read", "failed", "in_doubt")):
        total = sum(counts.values())
        return f"Nobody was sent to: all {total:,} were excluded" if total else "Nobody was sent to: the list is empty"
    return "Completed with " + " and ".join(left) if left else None
