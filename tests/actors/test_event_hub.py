"""The hub of server-sent events: each listener hears what concerns it; a slow one is dropped and harms nobody."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.in_process_api import an_api
from titanflow.actors.node import event_hub
from titanflow.actors.node.event_hub import EventHub, RedisIs, Told
from titanflow.actors.node.event_listener import EventListener, parse
from titanflow.storage.fast_copy import FastCopy
from titanflow.supervision import SHUTDOWN, Pid, observe, sleep_ms, start, stop, via


@pytest.fixture
def hub() -> Iterator[Pid]:
    pid = start(EventHub(), name=via("event_hub"))
    yield pid
    if pid.alive:
        stop(pid, reason=SHUTDOWN)


def _told(event: str, campaign_id: int, n: int = 0) -> Told:
    return Told(event, b'{"n":%d}' % n, campaign_id=campaign_id)


def _listening(hub: Pid) -> int:
    """How many, once all that was told has been passed on: a call waits behind it."""
    probe, _ = event_hub.subscribe(-1, frozenset())
    seen = observe(hub)
    event_hub.unsubscribe(probe)
    assert seen is not None
    return int(seen.as_dict()["state"]["listeners"]) - (probe.hub is not None)


def test_a_listener_hears_its_campaign_and_its_alarms_alone(hub: Pid) -> None:
    event_hub.tell(RedisIs(True))
    mine, _ = event_hub.subscribe(7, frozenset({"number:1001"}))
    everything, _ = event_hub.subscribe(None, None)

    event_hub.tell(_told("state", 8))
    event_hub.tell(_told("state", 7))
    event_hub.tell(Told("alarm", b"{}", target="number:1001"))
    event_hub.tell(Told("alarm", b"{}", target="number:2002"))
    assert _listening(hub) == 2

    assert [frame.split(b"\n")[1] for frame in mine.next(5)] == [b"event: state", b"event: alarm"]
    assert len(everything.next(5)) == 4


def test_of_figures_only_the_latest_waits_and_who_leaves_the_rest_unread_is_dropped(hub: Pid) -> None:
    event_hub.tell(RedisIs(True))
    slow, _ = event_hub.subscribe(None, None)
    for n in range(500):
        event_hub.tell(_told("stats", n % 2, n))
    assert _listening(hub) == 1
    latest = slow.next(5)

    for n in range(65):
        event_hub.tell(_told("state", 1, n))
    assert _listening(hub) == 0

    assert sorted(frame.split(b"data: ")[1].strip() for frame in latest) == [b'{"n":498}', b'{"n":499}']
    assert len(slow.next(5)) == 64
    assert slow.ended == "slow"


def test_all_streams_end_when_the_hub_or_redis_goes(hub: Pid) -> None:
    assert event_hub.subscribe(None, None)[1] == "redis_away"
    event_hub.tell(RedisIs(True))
    first, _ = event_hub.subscribe(None, None)
    event_hub.tell(RedisIs(False))
    event_hub.tell(RedisIs(True))
    second, _ = event_hub.subscribe(None, None)

    stop(hub, reason=SHUTDOWN)

    first.next(5)
    second.next(5)
    assert (first.ended, second.ended) == ("redis_away", "stopping")


def test_no_more_than_a_bounded_number_listen(hub: Pid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_hub, "MOST_LISTENERS", 2)
    event_hub.tell(RedisIs(True))
    first, _ = event_hub.subscribe(None, None)
    event_hub.subscribe(None, None)
    assert event_hub.subscribe(None, None)[1] == "too_many"

    event_hub.unsubscribe(first)

    assert event_hub.subscribe(None, None)[1] is None


def test_one_subscriber_to_redis_feeds_them_all(hub: Pid, redis_url: str) -> None:
    fast_copy = FastCopy(redis_url)
    feeding = start(EventListener(fast_copy))
    subscription, why_not = event_hub.subscribe(None, None)
    while why_not is not None:  # until it has subscribed
        sleep_ms(20)
        subscription, why_not = event_hub.subscribe(None, None)
    fast_copy.publish_states([{"id": 1, "campaign_id": 7, "state": "running"}])

    [frame] = subscription.next(10)

    assert b'event: state\ndata: {"campaign_id":7,"state":"running"}\n\n' in frame
    stop(feeding, reason=SHUTDOWN)
    fast_copy.close()


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"type": "stats"}', b'{"type": "new"}', b'{"type": "alarm"}'])
def test_what_can_not_be_read_is_left_aside(body: bytes) -> None:
    assert parse(body) is None


def test_without_redis_a_listener_gets_how_things_stand_and_is_asked_to_come_again(
    hub: Pid, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with an_api(database_url, redis_url, tmp_path) as api:
        campaign_id = api.ask("POST", "/campaigns", {"name": "c"}).json["id"]

        text = api.ask("GET", f"/campaigns/{campaign_id}/events").text

    assert text.startswith("retry: ")
    assert [line for line in text.split("\n") if line.startswith("event:")] == [
        "event: state",
        "event: stats",
        "event: end",
    ]
    assert text.endswith('data: {"reason":"redis_away"}\n\n')
