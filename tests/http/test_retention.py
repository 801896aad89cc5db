"""How long things are kept, and people who are erased, over HTTP."""

from pathlib import Path

import pytest

from tests.support.builders import a_campaign
from tests.support.in_process_api import an_api
from titanflow.storage import retention

_PHONE = "+491510000000"


@pytest.mark.usefixtures("db")
def test_days_closed_campaigns_and_erased_people(database_url: str, redis_url: str, tmp_path: Path) -> None:
    with an_api(database_url, redis_url, tmp_path) as api:
        days = {"log_days": 30, "conversation_days": 365, "media_days": 90}
        assert api.ask("GET", "/settings/retention").json == days
        changed = api.ask("PATCH", "/settings/retention", {"log_days": 8, "conversation_days": None})
        assert (changed.status_code, changed.json) == (200, {**days, "log_days": 8, "conversation_days": None})
        assert api.ask("PATCH", "/settings/retention", {"log_days": 6}).status_code == 422
        campaign, other = a_campaign(api.db, state="completed"), a_campaign(api.db)
        with api.db.connection() as connection:
            connection.execute(
                "UPDATE campaigns SET updated_at = now() - interval '9 days' WHERE id = %s", [campaign.id]
            )
        assert retention.close(api.db) == 1

        for path in ("messages", "export", "doubts"):
            gone = api.ask("GET", f"/campaigns/{campaign.id}/{path}")
            assert (gone.status_code, gone.json["code"]) == (410, "closed")
        assert api.ask("GET", f"/campaigns/{campaign.id}").json["closed_at"] is not None
        assert api.ask("GET", f"/campaigns/{campaign.id}/stats").json["total"] == 3
        assert api.ask("GET", f"/campaigns/{campaign.id}/audit").json["balanced"] is True
        again = api.ask("POST", f"/campaigns/{campaign.id}/retry", {})
        assert (again.status_code, again.json["code"]) == (409, "wrong_state")

        erased = api.ask("DELETE", f"/contacts/{_PHONE}")
        assert (erased.status_code, erased.json["contacts"]) == (200, 2)
        person = api.ask("GET", f"/contacts/{_PHONE}").json
        assert (person["campaigns"]["total"], person["logs_kept_days"]) == (0, 8)
        assert person["suppression"]["source"] == "erasure"
        assert api.ask("GET", f"/suppressions/{_PHONE}").json["reason"] == "opted_out"
        rows = api.ask("GET", f"/campaigns/{other.id}/messages").json["items"]
        assert next((row["phone"].partition(":")[0], row["state"]) for row in rows) == ("erased", "excluded")
