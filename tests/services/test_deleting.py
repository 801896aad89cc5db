"""What is in use can't be deleted, and what is deleted leaves no loose end."""

import pytest

from tests.support.builders import a_campaign, a_number, a_sender, claimed
from titanflow.errors import Conflict
from titanflow.services import campaigns
from titanflow.storage import phone_numbers, reports
from titanflow.storage.database import Database


@pytest.mark.parametrize("state", ["scheduled", "running", "paused"])
def test_a_number_or_campaign_in_use_stays(db: Database, state: str) -> None:
    """Weakness L21 of the Elixir system: deleting one in use made the completion loop raise for every campaign."""
    campaign = a_campaign(db, contacts=2, state=state)

    assert not phone_numbers.delete(db, "1001")
    with pytest.raises(Conflict, match="can't be deleted"):
        campaigns.delete(db, campaign.id)

    assert campaigns.get(db, campaign.id)["state"] == state
    assert reports.stats(db, campaign.id)["total"] == 2


def test_an_ended_campaign_goes_with_all_its_rows_and_frees_its_number(db: Database) -> None:
    campaign = a_campaign(db, contacts=2)
    claimed(db, campaign, a_sender(db, campaign.number_id))
    other = a_campaign(db, contacts=1, phone_number_id="1002", first_phone=491520000000)
    a_number(db, phone_number_id="1003")
    with db.connection() as connection:
        connection.execute("UPDATE campaigns SET state = 'completed' WHERE id = %s", [campaign.id])

    campaigns.delete(db, campaign.id)

    assert reports.campaign_ids(db) == [other.id]
    assert phone_numbers.delete(db, "1001")
    with db.connection() as connection:
        left = connection.execute("SELECT count(*) FROM contacts").fetchone()
        assert left == (1,)
        assert connection.execute("SELECT count(*) FROM message_logs").fetchone() == (0,)
