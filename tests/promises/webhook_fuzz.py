"""Broken webhooks beside valid ones: `python -m tests.promises.webhook_fuzz [--bodies 100000] [--seed S]`.

Each body holds the valid status of one message, and junk: shapes that Meta sends, mutated (types swapped, members gone,
nesting without end, numbers without end, NaN, halves of characters, NULs, wrong words, long texts). They come through
the door, many at once, so that a group commit has the junk of many. Every body must be taken, and every valid status be
in its row. Beside them come bodies that are no JSON at all, which are taken too: nobody should send them for a week.
"""

import argparse
import hmac
import json
import random
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from tests import early_patch  # noqa: F401  (first of all: psycopg must find a patched standard library)
from tests.support.builders import a_campaign, a_sender, claimed
from tests.support.servers import fresh_database, short_folder
from titanflow import embedded
from titanflow.actors.node.node import Node
from titanflow.actors.node.reported_failures import ReportedFailures
from titanflow.actors.node.webhook_ingestor import PARTITIONS, WebhookIngestor
from titanflow.errors import Unavailable
from titanflow.http.webhooks.door import Door
from titanflow.settings import Settings
from titanflow.storage.counters import heal
from titanflow.storage.database import Database
from titanflow.storage.migrations import migrate
from titanflow.supervision import ChildSpec, PartitionSupervisor, Supervisor, sleep_ms, start, stop, via

_SECRET = "of the fuzzer"
_AT_ONCE = 16
_A_CAMPAIGN = 2_000
_PATIENCE = 30
_A_PIECE = 10_000
_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
# These stand for what json.dumps can't write, until the body is text.
_NAN, _DEEP = "\x01NaN\x01", "\x01deep\x01"


@dataclass
class Found:
    """What the fuzzing has shown."""

    bodies: int = 0
    refused: list[str] = field(default_factory=list)
    again: int = 0
    deadlocks: int = 0
    lost: int = 0
    drift: list[str] = field(default_factory=list)
    quarantined: Counter[str] = field(default_factory=Counter)


@contextmanager
def a_door(db: Database) -> Iterator[Door]:
    """The door of a node that takes webhooks and does nothing else."""
    children = [
        ChildSpec("node", lambda: Node(db), name=via("node")),
        ChildSpec("reported_failures", lambda: ReportedFailures(db), name=via("reported_failures")),
        ChildSpec(
            "webhooks",
            lambda: PartitionSupervisor(lambda _: WebhookIngestor(db), PARTITIONS),
            type="supervisor",
            name=via("webhooks"),
        ),
    ]
    root = start(Supervisor(children))
    try:
        yield Door(Settings(meta_app_secret=(SecretStr(_SECRET),)))
    finally:
        stop(root)


def fuzz(db: Database, bodies: int, *, seed: int) -> Found:
    """Send so many bodies. Returns what went wrong."""
    found = Found()
    with a_door(db) as door:
        for first in range(0, bodies, _A_CAMPAIGN):
            _campaign(db, door, min(_A_CAMPAIGN, bodies - first), random.Random(seed + first), first, found)
    with db.connection() as connection:
        rows = connection.execute("SELECT reason, count(*) FROM webhook_quarantine GROUP BY 1").fetchall()
        counted = connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    found.quarantined.update(dict(rows))
    found.deadlocks = int(counted[0]) if counted else 0
    return found


def _campaign(db: Database, door: Door, bodies: int, rng: random.Random, first: int, found: Found) -> None:
    campaign = a_campaign(db, contacts=bodies, first_phone=491_510_000_000 + first)
    log_ids = [one.log_id or 0 for one in claimed(db, campaign, a_sender(db, campaign.number_id))]
    waiting = deque((log_id, rng.randrange(2**40)) for log_id in log_ids)

    def deliver() -> None:
        while waiting:
            log_id, seed = waiting.popleft()
            bodies_now = [a_body(random.Random(seed), log_id)]
            if seed % 20 == 0:
                bodies_now.append(_no_json(random.Random(seed)))
            for body in bodies_now:
                _deliver(door, body, seed, found)

    threads = [threading.Thread(target=deliver) for _ in range(_AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.connection() as connection:
        row = connection.execute(
            "SELECT count(*) FROM message_logs WHERE campaign_id = %s AND (state <> 'read' OR read_at IS NULL)",
            [campaign.id],
        ).fetchone()
    assert row is not None
    found.bodies += bodies
    found.lost += int(row[0])
    found.drift += [f"{state} by {delta}" for state, delta in heal(db, campaign.id).items()]


def _deliver(door: Door, body: bytes, seed: int, found: Found) -> None:
    for _ in range(_PATIENCE):
        try:
            door.take(body, _signature(body), lambda: "")
            return
        except Unavailable as error:  # Meta comes again; but a body that is always refused would come for a week
            why = error.one_line()
            found.again += 1
            sleep_ms(100)
        except Exception as error:  # whatever it is, it would be a 500
            why = repr(error)
            break
    found.refused.append(f"{why} for seed {seed}: {body[:200]!r}")


def _signature(body: bytes) -> str:
    return "sha256=" + hmac.digest(_SECRET.encode(), body, "sha256").hex()


def a_body(rng: random.Random, log_id: int) -> bytes:
    """A body with the valid status `read` of this message, and junk."""
    valid = {"id": f"wamid.{log_id}", "status": "read", "timestamp": "1764072000",
             "recipient_id": "4915112345678", "biz_opaque_callback_data": f"m:{log_id}:1"}  # fmt: skip
    changes = [_mutated(rng, _change(rng), rng.choice((1, 1, 2, 5))) for _ in range(rng.choice((1, 1, 2, 4)))]
    place = rng.randrange(3)
    entries: Any = [{"id": "9001", "time": 1764072000, "changes": changes}]
    # Everything around the valid status may be broken too, but for what leads to it.
    around = _mutated(rng, {name: one for name, one in _value(rng).items() if name != "statuses"}, rng.randrange(3))
    value = {**(around if isinstance(around, dict) else {}), "statuses": [valid]}
    if place == 0:
        junk = [_mutated(rng, _status(rng), rng.choice((1, 2))) for _ in range(rng.choice((1, 3)))]
        value["statuses"] = [*junk, valid] if rng.random() < 0.5 else [valid, *junk]
    change = {"field": "messages", "value": value}
    if place == 2:
        entries.append({"id": _junk(rng), "time": _junk(rng), "changes": [change]})
        entries += [_junk(rng)] if rng.random() < 0.5 else []
    else:
        changes.insert(rng.randrange(len(changes) + 1), change)
    body = {"object": _junk(rng) if rng.random() < 0.2 else "whatsapp_business_account", "entry": entries}
    text = json.dumps(body, ensure_ascii=rng.random() < 0.7, allow_nan=True)
    text = text.replace(json.dumps(_NAN), "NaN").replace(json.dumps(_DEEP), "[" * 2_000 + "]" * 2_000)
    raw = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.05:  # a byte that is no UTF-8, inside a text
        raw = raw.replace(b"hello", b"he\xff\xfello")
    return raw


def _no_json(rng: random.Random) -> bytes:
    whole = json.dumps({"object": "x", "entry": [{"id": "1", "changes": [_change(rng)]}]}).encode()
    return rng.choice((b"", b"\x00", b"<xml/>", b"\xff\xfe\x00", whole[: len(whole) // 2], b"[" * 100_000, b"a=b&c=d"))


def _value(rng: random.Random) -> dict[str, Any]:
    return {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550000001", "phone_number_id": rng.choice(("1001", "1001", "9"))},
        "contacts": [{"profile": {"name": "J\u00f6rg"}, "wa_id": "4915112345678", "user_id": "DE.1"}],
        "messages": [_message(rng)],
        "statuses": [_status(rng)],
    }


def _status(rng: random.Random) -> dict[str, Any]:
    return {
        "id": f"wamid.x{rng.randrange(10**6)}",
        "status": rng.choice(("sent", "delivered", "read", "failed", "played", "deleted", "warning")),
        "timestamp": "1764072000",
        "recipient_id": "4915112345678",
        "biz_opaque_callback_data": rng.choice((None, "hello", f"m:{rng.randrange(10**12)}:1", "r:5:1", "m:0:0")),
        "conversation": {"id": "c", "expiration_timestamp": "1764172000", "origin": {"type": "marketing"}},
        "pricing": {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "marketing"},
        "errors": [{"code": 131026, "title": "hello", "message": "m", "error_data": {"details": "hello"}}],
    }


def _message(rng: random.Random) -> dict[str, Any]:
    kinds: dict[str, Any] = {
        "text": {"body": rng.choice(("hello", "STOP", "start", ""))},
        "button": {"payload": "STOP:1", "text": "Stop"},
        "interactive": {"type": "button_reply", "button_reply": {"id": "yes", "title": "hello"}},
        "image": {"id": "1", "mime_type": "image/jpeg", "sha256": "x=", "caption": "hello"},
        "document": {"id": "1", "filename": "f.pdf", "mime_type": "application/pdf", "sha256": "x="},
        "audio": {"id": "1", "mime_type": "audio/ogg", "voice": True},
        "location": {"latitude": 1.5, "longitude": 2.5, "name": "hello"},
        "contacts": [{"name": {"formatted_name": "hello"}, "phones": [{"phone": "+49", "wa_id": "49"}]}],
        "reaction": {"message_id": "wamid.OUT", "emoji": "\U0001f44d"},
        "order": {"catalog_id": "1", "text": "", "product_items": [{"quantity": 3, "item_price": 30.5}]},
        "system": {"body": "hello", "wa_id": "49", "type": "user_changed_number"},
        "unsupported": {},
        "edit": {"original_message_id": "wamid.1", "message": {"type": "text", "text": {"body": "hello"}}},
    }
    kind = rng.choice(list(kinds))
    return {
        "from": "4915112345678",
        "from_user_id": "DE.1",
        "id": f"wamid.in{rng.randrange(10**9)}",
        "timestamp": "1764072000",
        "type": kind,
        kind: kinds[kind],
        "context": {"from": "1", "id": f"wamid.{rng.randrange(5000)}", "forwarded": True},
        "referral": {"source_url": "https://x", "ctwa_clid": "c"},
        "errors": [{"code": 131051, "title": "hello"}],
    }


def _change(rng: random.Random) -> dict[str, Any]:
    template = {"message_template_id": 5, "message_template_name": "hello", "message_template_language": "en_US"}
    others: dict[str, Any] = {
        "message_template_status_update": {**template, "event": "PAUSED", "reason": "NONE", "other_info": {}},
        "message_template_quality_update": {**template, "previous_quality_score": "GREEN", "new_quality_score": "RED"},
        "template_category_update": {**template, "previous_category": "UTILITY", "new_category": "MARKETING"},
        "message_template_components_update": {**template, "message_template_element": "hello"},
        "phone_number_quality_update": {"display_phone_number": "15550000001", "event": "FLAGGED",
                                        "current_limit": "TIER_1K"},
        "phone_number_name_update": {"display_phone_number": "1", "decision": "APPROVED", "name": "h"},
        "business_capability_update": {"max_daily_conversations_per_business": 2000, "max_phone_numbers_per_waba": 25},
        "account_update": {"event": "ACCOUNT_RESTRICTION", "restriction_info": [{"restriction_type": "R"}],
                           "ban_info": {"waba_ban_state": ["DISABLE"]}},
        "account_alerts": {"entity_type": "WABA", "alert_severity": "CRITICAL", "alert_description": "hello"},
        "account_review_update": {"decision": "APPROVED"},
        "security": {"event": "PIN_CHANGED", "requester": "1"},
        "user_preferences": {"contacts": [{"wa_id": "49"}], "user_preferences": [
            {"wa_id": "4915112345678", "category": "marketing_messages", "value": "stop", "timestamp": 1764072000}]},
        "history": {"hello": 1},
    }  # fmt: skip
    field_name = rng.choice(["messages"] * 6 + list(others))
    return {"field": field_name, "value": others.get(field_name) or _value(rng)}


def _junk(rng: random.Random) -> Any:
    """Something that nobody expects here."""
    deep: Any = "hello"
    for _ in range(rng.choice((5, 60, 300))):
        deep = [deep] if rng.random() < 0.5 else {"a": deep}
    return rng.choice((
        None, True, False, 0, -1, 1.5, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, _NAN, _DEEP, "", " ", "hello",
        "hello" * 3000, "\x00", "a\x00b", "\ud800", "x\udfffhello", "\u202e", "\U0001f44d" * 200, "-5", "a" * 600,
        "1e9", "99999999999999999999", "NaN", "\u0661\u0662", [], {}, [None], [[]], {"": ""}, {"\x00": "\ud800"}, deep,
        ["hello"] * 300, {"id": {"id": []}}, "m:999999999999:1", "2026-11-25T12:00:00Z", 253402300800, 1764072000.5,
    ))  # fmt: skip


def _nodes(value: Any) -> Iterable[tuple[Any, Any]]:
    """Yield (container, key) of each place below."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield value, key
            yield from _nodes(item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield value, index
            yield from _nodes(item)


def _mutated(rng: random.Random, value: Any, times: int) -> Any:
    """The value with so many places broken."""
    holder = [value]
    for _ in range(times):
        container, key = rng.choice(list(_nodes(holder)))
        match rng.randrange(6):
            case 0:
                del container[key]
                if not holder:
                    holder.append(_junk(rng))
            case 1:
                container[key] = [container[key]]
            case 2:
                container[key] = {"x": container[key]}
            case 3 if isinstance(container, dict):
                container[rng.choice(("type", "id", "errors", "\x00", "\ud83d", "", "hello"))] = container.pop(key)
            case 4:
                container[key] = str(container[key])
            case _:
                container[key] = _junk(rng)
    return holder[0]


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.promises.webhook_fuzz", description=__doc__)
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args(arguments)
    began = time.monotonic()
    with (
        short_folder() as folder,
        embedded.start(folder / "data", durable=False) as servers,
        fresh_database(servers) as url,
    ):
        migrate(url)
        db = Database(url, pool_size=8)
        try:
            bad = False
            for first in range(0, given.bodies, _A_PIECE):
                found = fuzz(db, min(_A_PIECE, given.bodies - first), seed=given.seed + first)
                bad = bad or bool(found.refused or found.lost or found.drift or found.deadlocks)
                for one in (*found.refused[:20], *found.drift[:20]):
                    print(one)
                print(
                    f"{first + found.bodies} bodies in {time.monotonic() - began:.0f} s; of the last {found.bodies}"
                    f" {len(found.refused)} refused, {found.again} deliveries repeated, {found.lost} valid neighbours"
                    f" lost, {len(found.drift)} counters wrong, {found.deadlocks} deadlocks",
                    flush=True,
                )
        finally:
            db.close()
    for reason, count in found.quarantined.most_common(20):
        print(f"kept aside: {count:8} {reason}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
