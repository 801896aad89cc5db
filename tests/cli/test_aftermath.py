"""`titanflow campaign retry` and `doubts` against a real database."""

from tests.cli.test_commands import Run, _json, run
from tests.support.builders import a_campaign, a_sender, claimed
from titanflow.storage.database import Database
from titanflow.storage.settlements import Settlement, settle

__all__ = ["run"]


def test_failures_and_doubts_from_the_command_line(run: Run, db: Database) -> None:
    campaign = a_campaign(db, contacts=3)
    one, two, three = claimed(db, campaign, a_sender(db, campaign.number_id))
    outcomes = [
        Settlement(one.log_id or 0, 1, "in_doubt", error_detail="ReadTimeout: no answer"),
        Settlement(two.log_id or 0, 1, "in_doubt", error_detail="ReadTimeout: no answer"),
        Settlement(three.log_id or 0, 1, "failed", error_code=131008),
    ]
    settle(db, outcomes, node_id=1)

    assert _json(run, "campaign", "doubts", campaign.id)["total"] == 2
    code, out, _ = run("campaign", "doubts", campaign.id)
    assert (code, out.count("ReadTimeout")) == (0, 2)
    assert run("campaign", "doubts", campaign.id, "--as", "sent")[0] != 0
    told = _json(run, "campaign", "doubts", campaign.id, "--as", "sent", "--log-id", one.log_id)
    assert (told["resolved"], told["in_doubt"]) == (1, 1)
    told = _json(run, "campaign", "doubts", campaign.id, "--as", "resend", "--older-than-hours", 0)
    assert (told["resolved"], told["in_doubt"]) == (1, 0)

    assert _json(run, "campaign", "retry", campaign.id, "--code", "131026")["retrying"] == 0
    assert _json(run, "campaign", "retry", campaign.id)["retrying"] == 1
    assert "is no code" in run("campaign", "retry", campaign.id, "--code", "all")[2]
    assert run("campaign", "retry", 999)[0] == 66
