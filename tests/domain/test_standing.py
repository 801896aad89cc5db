"""How a campaign stands, in a sentence."""

import pytest

from titanflow.domain.live import CampaignLive
from titanflow.domain.standing import sentence

_COUNTS = dict.fromkeys(("claimed", "retrying", "in_doubt", "cancelled", "delivered", "read", "failed"), 0)
_COUNTS |= {"pending": 6_000, "sent": 3_000, "excluded": 1_000}


def _live(rate: float) -> CampaignLive:
    return CampaignLive(1, rate, "rate", "80 a second", ())


@pytest.mark.parametrize(
    ("state", "reason", "live", "says"),
    [
        (
            "running",
            None,
            _live(80.0),
            "Sends 80 a second; 6,000 of 9,000 left, done in 68 s to 94 s; limited by rate: 80 a second.",
        ),
        ("running", None, _live(0.0), "Nothing leaves: 80 a second; 6,000 of 9,000 left."),
        ("running", None, None, "Starting; 6,000 of 9,000 left."),
        ("paused", "by ana", None, "Paused: by ana; 6,000 of 9,000 left."),
        ("paused", None, None, "Paused; 6,000 of 9,000 left."),
    ],
)
def test_the_sentence(state: str, reason: str | None, live: CampaignLive | None, says: str) -> None:
    assert sentence(state, reason, _COUNTS, live) == says


def test_when_nobody_is_left() -> None:
    assert sentence("running", None, {**_COUNTS, "pending": 0}, _live(2.0)).startswith(
        "Sends 2 a second; all 3,000 are through;"
    )
