"""Fuzzes a running server by its own OpenAPI document: `python -m tests.http.fuzz --examples 200 --seed 1`.

schemathesis sends what the document allows and what it forbids, with and without a token, and holds every answer
against it: no 5xx but 503, no status, media type, header or member that isn't described, nothing without a token. The
server is real, with its tree, PostgreSQL, Redis and the sandbox, and has things that the requests can hit.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.http.fuzz_hooks import CAMPAIGNS, DOOMED, FIRST, PERSON
from tests.support.servers import short_folder
from titanflow.cli.stage import Stage
from titanflow.services import tokens
from titanflow.storage.database import Database

_HERE = Path(__file__).parent
_CSV = "phone,first_name\n+4915112345678,Ada\n+4915112345679,Grace\n+491511234567a,Nobody\n"


def furnish(stage: Stage) -> str:
    """Put something of each kind on the stage. Returns a token whose id no request guesses: none revokes it."""
    for number in ("2001", "2002"):
        stage.api.post(
            "/api/v1/phone-numbers", {"phone_number_id": number, "waba_id": "900000001", "access_token": "sandbox"}
        )
    database = Database(stage.database_url, pool_size=1)
    try:
        with database.connection() as connection:
            for table, first in (("campaigns", FIRST), ("api_tokens", 918273645)):
                connection.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s, false)", [table, first])
        token = tokens.create(database, "fuzzer", "admin")
    finally:
        database.close()
    stage.api.post("/api/v1/templates/sync")
    template_ids = [one["id"] for one in stage.api.get("/api/v1/templates?limit=3")["items"]]
    contacts = stage.data_dir / "contacts.csv"
    contacts.write_text(_CSV)
    for n in range(CAMPAIGNS + DOOMED):
        fields = {"name": f"Fuzzed {n}", "template_ids": template_ids[:1], "phone_number_ids": ["2001"]}
        made = stage.api.post("/api/v1/campaigns", fields)
        stage.api.upload(f"/api/v1/campaigns/{made['id']}/contacts", contacts)
    furnish_inbox(stage)
    _await(stage, f"/api/v1/campaigns/{FIRST}", lambda campaign: campaign["state"] == "ready")
    stage.api.post(f"/api/v1/campaigns/{FIRST}/rehearse")
    return token


def furnish_inbox(stage: Stage) -> None:
    """Let a person write, and wait until that is a conversation."""
    stage.meta.post("/_sandbox/inbound", {"number": "2001", "from": PERSON, "text": "When do you open?"})
    _await(stage, "/api/v1/conversations", lambda page: bool(page["items"]))


def _await(stage: Stage, path: str, is_so: Callable[[Any], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so(stage.api.get(path)):
        assert time.monotonic() < deadline, f"{path} never became what it should"
        time.sleep(0.1)


def fuzz(
    stage: Stage, token: str | None, *, examples: int, seed: int, only: str | None = None, har: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis in a process of its own. only: a regular expression of paths. har: a file for all traffic.

    Without a token every operation but the public ones must answer 401, so that no answer can be called too strict.
    """
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(_HERE / "schemathesis.toml"), "run"]
    command += [f"{stage.address}/api/v1/openapi.json", "--checks", "all"]
    if token is None:
        command += ["--exclude-checks", "positive_data_acceptance,missing_required_header,unsupported_method"]
    else:
        command += ["--header", f"Authorization: Bearer {token}"]
    command += ["--phases", "coverage,fuzzing", "--max-examples", str(examples), "--seed", str(seed)]
    command += ["--continue-on-failure", "--no-color", "--no-shrink", "--request-timeout", "30"]
    command += ["--exclude-path-regex", "/events$"]  # streams that go on for ten minutes; test_events.py has them
    if har:
        command += ["--report-har-path", str(har)]
    if only:
        command += ["--include-path-regex", only]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.http.fuzz_hooks"}
    return subprocess.run(command, env=environment, cwd=_HERE.parents[1], capture_output=True, text=True, check=False)


def let_in(stage: Stage, har: Path) -> list[str]:
    """The requests of a run without a token that were carried out, though their operation isn't public."""
    document = stage.api.get("/api/v1/openapi.json")
    public = {
        path for path, item in document["paths"].items() if any(one.get("security") == [] for one in item.values())
    }
    told = []
    for entry in json.loads(har.read_text())["log"]["entries"]:
        method, path = entry["request"]["method"], urlsplit(entry["request"]["url"]).path
        status = entry["response"]["status"]
        if status < 400 and path not in public and method != "OPTIONS":  # which methods there are is no secret
            told.append(f"let in without a token: {method} {path} {status}")
    return told


def main() -> int:
    """Fuzz as asked; print schemathesis's own words; 1 if it found something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="for each operation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="regular expression of paths")
    parser.add_argument("--har", type=Path, help="keep all requests and answers there")
    parser.add_argument("--anonymous", action="store_true", help="without a token: nothing may be carried out")
    asked = parser.parse_args()
    with short_folder() as folder:
        har = asked.har or folder / "traffic.har"
        stage = Stage(folder / "data", speed=10)
        try:
            stage.start()
            token = furnish(stage)
            done = fuzz(
                stage,
                None if asked.anonymous else token,
                examples=asked.examples,
                seed=asked.seed,
                only=asked.only,
                har=har if asked.anonymous else asked.har,
            )
            inside = let_in(stage, har) if asked.anonymous else []
            crashes = [line for line in (stage.data_dir / "server.log").read_text().splitlines() if "crashed" in line]
        finally:
            stage.stop()
    print(done.stdout, done.stderr, *crashes[:20], *inside[:20], sep="\n")
    return 1 if done.returncode or crashes or inside else 0


if __name__ == "__main__":
    sys.exit(main())
