"""The checks can fail: with the fence taken out, a second claim sends twice, and the audit says so."""

import pytest

from tests.support.builders import a_campaign, a_sender, claimed
from titanflow.storage import claims, reports
from titanflow.storage.database import Database


def test_without_the_fence_the_audit_finds_duplicates(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = a_campaign(db, contacts=3)
    sender = a_sender(db, campaign.number_id)
    with db.connection() as connection:
        connection.execute("DROP INDEX message_logs_fence")
    sabotaged = claims._CLAIM.replace("ON CONFLICT (campaign_id, contact_id) DO NOTHING", "")
    monkeypatch.setattr(claims, "_CLAIM", sabotaged)

    claimed(db, campaign, sender)
    claimed(db, campaign, sender)

    audit = reports.audit(db, campaign.id)
    assert audit["duplicates"] > 0
    assert not audit["balanced"]


def test_a_wrong_counter_is_drift(db: Database) -> None:
    campaign = a_campaign(db, contacts=3)
    with db.connection() as connection:
        connection.execute("UPDATE campaign_counters SET sent = sent + 2")

    assert reports.audit(db, campaign.id)["counter_drift"] == 2
