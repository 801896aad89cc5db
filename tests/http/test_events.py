"""Server-sent events on a real server: how things stand at once, then each change; nothing missed after a break."""

import time
from typing import Any

from tests.support.event_streams import Listener
from titanflow.cli.stage import Stage


def _listen(stage: Stage, campaign_id: int | None, **more: Any) -> Listener:
    path = "/api/v1/events" if campaign_id is None else f"/api/v1/campaigns/{campaign_id}/events"
    return Listener(stage.port, path, stage.token, **more)


def _campaign(stage: Stage) -> int:
    return int(stage.api.post("/api/v1/campaigns", {"name": "c"})["id"])


def _listeners(stage: Stage) -> int:
    waiting = [stage.api.get("/api/v1/supervision")]
    while waiting:
        one = waiting.pop()
        if one["kind"] == "EventHub":
            return int(one["state"]["listeners"])
        waiting += one["children"]
    raise AssertionError("there is no EventHub")


def test_a_listener_is_told_at_once_how_a_campaign_stands(stage: Stage) -> None:
    campaign_id = _campaign(stage)

    listener = _listen(stage, campaign_id)

    assert listener.headers["content-type"].startswith("text/event-stream")
    assert listener.headers["cache-control"] == "no-store"
    assert listener.until("state").data["state"] == "draft"
    stats = listener.until("stats").data
    assert (stats["campaign_id"], stats["total"], stats["counts"]["pending"]) == (campaign_id, 0, 0)
    listener.close()


def test_changes_are_told_to_those_whom_they_concern(stage: Stage) -> None:
    mine, other = _campaign(stage), _campaign(stage)
    listener, everything = _listen(stage, mine), _listen(stage, None)
    listener.until("stats")

    for campaign_id in (other, mine):
        stage.api.post(f"/api/v1/campaigns/{campaign_id}/cancel")

    assert listener.until("state", state="cancelled").data["campaign_id"] == mine
    told = everything.until("state", state="cancelled", campaign_id=other)
    assert told.data["state_by"]
    assert told.id
    everything.until("state", state="cancelled", campaign_id=mine)
    listener.close()
    everything.close()


def test_what_happened_while_nobody_listened_is_told_to_whoever_comes_back(stage: Stage) -> None:
    campaign_id, other = _campaign(stage), _campaign(stage)
    listener = _listen(stage, campaign_id)
    last = listener.until("stats").id
    listener.close()
    assert last

    stage.api.post(f"/api/v1/campaigns/{campaign_id}/cancel")
    stage.api.post(f"/api/v1/campaigns/{other}/cancel")

    back = _listen(stage, campaign_id, last_event_id=last)
    states = []
    while (heard := back.next()) is not None and heard.event != "stats":
        states.append((heard.data["campaign_id"], heard.data["state"]))
    assert states[-2:] == [(campaign_id, "cancelled"), (campaign_id, "cancelled")]  # the change, then how it stands
    assert {one for one, _ in states} == {campaign_id}
    back.close()


def test_what_is_no_campaign_is_404_and_a_token_is_needed(stage: Stage) -> None:
    assert _listen(stage, 99999).status == 404
    assert Listener(stage.port, "/api/v1/events", "tf_wrong").status == 401


def test_fifty_listeners_are_all_told_and_let_go(stage: Stage) -> None:
    campaign_id = _campaign(stage)
    listeners = [_listen(stage, campaign_id if n % 2 else None) for n in range(50)]
    assert _listeners(stage) >= 50

    stage.api.post(f"/api/v1/campaigns/{campaign_id}/cancel")

    for listener in listeners:
        listener.until("state", state="cancelled", campaign_id=campaign_id)
        listener.close()
    deadline = time.monotonic() + 60
    while _listeners(stage) > 25:  # it is noticed when something is written: to those who hear of all campaigns
        assert time.monotonic() < deadline
        _campaign(stage)
        time.sleep(0.2)


def test_a_server_that_stops_ends_its_streams_at_once(stage: Stage) -> None:
    listeners = [_listen(stage, None) for _ in range(20)]
    began = time.monotonic()

    stage.stop_server()

    for listener in listeners:
        assert listener.until("end").data == {"reason": "stopping"}
        assert listener.next() is None
    assert time.monotonic() - began < 25
