"""One round: what is known of it while it runs, and the campaign it is about."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

from tests.chaos.plan import Plan
from tests.chaos.world import WABA, World, persist
from titanflow.cli.example_contacts import generate
from titanflow.errors import TitanFlowError, Unavailable

_TEMPLATE = "spring_offer"
_AUDIT_EVERY_S = 0.4


@dataclass
class Round:
    """A campaign among disasters. broken: the promises that were seen broken so far."""

    world: World
    plan: Plan
    campaign_id: int = 0
    number_ids: list[str] = field(default_factory=list)
    most_mps: dict[str, int] = field(default_factory=dict)  # what each number was ever allowed
    suppressed: dict[str, datetime] = field(default_factory=dict)  # phone -> when that was committed, by PostgreSQL
    broken: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    killed: int = 0
    crashed: int = 0
    worst_drift: int = 0

    def __post_init__(self) -> None:
        self._background: list[Thread] = []
        self._undo: list[Any] = []
        self._over = Flag()
        self.log_from = self._log().stat().st_size if self._log().exists() else 0

    def prepare(self) -> None:
        """Bring a new campaign with new numbers and new people to `ready`."""
        plan, api, meta = self.plan, self.world.stage.api, self.world.stage.meta
        rates = [int(event.amount) for event in plan.events if event.kind == "change_rate"]
        for n in range(plan.numbers):
            number_id = f"2{plan.seed % 10**10:010d}{n}"
            metas_limit = max([plan.mps, *rates])
            meta.post("/_sandbox/numbers", {"phone_number_id": number_id, "waba_id": WABA, "mps": metas_limit})
            number = {"phone_number_id": number_id, "waba_id": WABA, "access_token": "chaos", "max_mps": plan.mps}
            persist(lambda body=number: _made(lambda: api.post("/api/v1/phone-numbers", body)))  # type: ignore[misc]
            self.number_ids.append(number_id)
            self.most_mps[number_id] = plan.mps
        if not self._templates():
            persist(lambda: api.post("/api/v1/templates/sync"))
        template_id = next(one["id"] for one in self._templates() if one["name"] == _TEMPLATE)
        fields = {
            "name": f"chaos {plan.seed}",
            "template_ids": [template_id],
            "phone_number_ids": self.number_ids,
            "variables": {
                "body.1": {"column": "first_name", "default": "there"},
                "body.2": {"column": "code"},
                "body.3": {"column": "city", "default": "our shop"},
            },
        }
        self.campaign_id = int(persist(lambda: api.post("/api/v1/campaigns", fields))["id"])
        file = self.world.folder / "contacts.csv"
        generate(file, plan.contacts, plan.seed, first=plan.seed % 999 * 1_000)
        imported = persist(lambda: api.upload(f"/api/v1/campaigns/{self.campaign_id}/contacts", file))
        path = f"/api/v1/campaigns/{self.campaign_id}/imports/{imported['id']}"
        deadline = time.monotonic() + 60
        while imported["state"] == "running" and time.monotonic() < deadline:
            time.sleep(0.05)
            imported = persist(lambda: api.get(path))
        if imported["state"] != "done":
            raise TitanFlowError(f"The import is {imported['state']}", why=str(imported["error"]))

    def _templates(self) -> list[dict[str, Any]]:
        listed = persist(lambda: self.world.stage.api.get("/api/v1/templates?limit=100"))
        items: list[dict[str, Any]] = listed["items"]
        return items

    def start(self) -> None:
        """Start the campaign, and an auditor who counts again and again."""
        persist(lambda: self.world.stage.api.post(f"/api/v1/campaigns/{self.campaign_id}/start"))
        self.in_background(Thread(target=self._audit_again_and_again))

    def in_background(self, thread: Thread, *, undo: Any = None) -> None:
        """Let something go on beside; undo: makes its effect end at the latest when the round does."""
        if undo is not None:
            self._undo.append(undo)
        self._background.append(thread)
        thread.start()

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond the end of the round."""
        self._over.wait(seconds)

    def end(self) -> None:
        """End everything that goes on beside, and put the clock right."""
        self._over.set()
        for undo in self._undo:
            undo()
        for thread in self._background:
            thread.join()
        self.world.move_clock(0)

    def log_lines(self) -> list[str]:
        """What the server has logged in this round."""
        with self._log().open(errors="replace") as file:
            file.seek(self.log_from)
            return file.read().splitlines()

    def _log(self) -> Path:
        return self.world.stage.data_dir / "server.log"

    def _audit_again_and_again(self) -> None:
        """Counters are exact at any time, not just in the end."""
        while not self._over.wait(_AUDIT_EVERY_S):
            try:
                audit = self.world.stage.api.get(f"/api/v1/campaigns/{self.campaign_id}/audit")
            except Unavailable:
                continue
            self.worst_drift = max(self.worst_drift, audit["counter_drift"])
            if audit["counter_drift"]:
                self.broken.add("counters are exact")
            if audit["duplicates"]:
                self.broken.add("nobody gets it twice")
            if not audit["balanced"]:
                self.broken.add("the books balance")


def _made(make: Any) -> None:
    """Make something once: an answer that got lost may have made it."""
    try:
        make()
    except Unavailable:
        raise
    except TitanFlowError as error:
        if error.code != "number_exists":
            raise
