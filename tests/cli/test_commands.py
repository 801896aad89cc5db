"""Each command once, against a real database, and a real server where it needs one."""

import getpass
import gzip
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
import structlog

from tests.support.builders import a_campaign, a_number, a_template
from tests.support.servers import short_folder
from titanflow import cli, embedded
from titanflow.cli.commands import root
from titanflow.cli.stage import Stage
from titanflow.domain.vault import Vault
from titanflow.storage import audit_log, phone_numbers
from titanflow.storage.database import Database
from titanflow.storage.webhook_files import WebhookFiles

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Run]:
    """Run a command in this process; returns its exit code and what it said on both outputs."""
    for name in ("TITANFLOW_TOKEN", "TITANFLOW_ADDRESS", "META_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("SECRET_KEY", "k" * 32)

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["titanflow", *[str(one) for one in arguments]])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        sys.stdout.flush()
        said = capfdbinary.readouterr()
        return int(ended.value.code or 0), said.out.decode(), said.err.decode()

    yield command
    structlog.reset_defaults()


def _json(run: Run, *arguments: object) -> Any:
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_tokens_are_made_listed_and_revoked(run: Run) -> None:
    made = _json(run, "token", "create", "me", "--scope", "send")
    assert made["token"].startswith("tf_")
    code, out, _ = run("token", "list")
    assert (code, made["token"] in out) == (0, False)
    listed = _json(run, "token", "list")
    assert [(one["name"], one["scopes"], one["revoked_at"]) for one in listed] == [("me", ["read", "send"], None)]

    assert _json(run, "token", "revoke", listed[0]["id"])["state"] == "revoked"

    assert _json(run, "token", "list")[0]["revoked_at"] is not None
    assert run("token", "revoke", 999)[0] == 66


def test_a_numbers_life(run: Run) -> None:
    added = _json(run, "number", "add", "1001", "--waba-id", "9001", "--access-token", "secret-text", "--name", "Shop")
    assert (added["max_mps"], added["state"]) == (80, "active")
    assert run("number", "add", "1001", "--waba-id", "9001", "--access-token", "x")[0] == 75

    assert _json(run, "number", "change", "1001", "--max-mps", 200)["max_mps"] == 200
    assert _json(run, "number", "pause", "1001") == {"id": "1001", "state": "paused"}
    shown = _json(run, "number", "show", "1001")
    assert (shown["name"], shown["state"], shown["state_reason"]) == ("Shop", "paused", "Paused by an operator")
    assert _json(run, "number", "resume", "1001") == {"id": "1001", "state": "active"}

    assert [one["phone_number_id"] for one in _json(run, "number", "list")] == ["1001"]
    for arguments in (("list",), ("show", "1001")):
        code, out, _ = run("number", *arguments)
        assert (code, "Shop" in out, "secret-text" in out) == (0, True, False)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("number", "show", "7"), 66, "There is no number 7"),
        (("number", "change", "7", "--max-mps", "80"), 66, "There is no number 7"),
        (("number", "pause", "7"), 66, "There is no number 7"),
        (("number", "change", "7", "--max-mps", "5"), 65, "max_mps"),
        (("number", "add", "x", "--waba-id", "1", "--access-token", "t"), 65, "phone_number_id"),
        (("template", "show", "7"), 66, "There is no template 7"),
        (("campaign", "show", "7"), 66, "There is no campaign 7"),
        (("campaign", "start", "7"), 66, "There is no campaign 7"),
        (("campaign", "export", "7"), 66, "There is no campaign 7"),
        (("campaign", "create"), 65, "name"),
        (("campaign", "create", "x", "--column", "body.1"), 65, "--column body.1 can't be used"),
        (("campaign", "create", "x", "--template", "7"), 65, "There is no template 7"),
        (("campaign", "create", "x", "--number", "7"), 65, "There is no phone number 7"),
        (("audit", "7"), 66, "There is no campaign 7"),
        (("campaign", "stats", "7", "--token", "t", "--address", "http://127.0.0.1:9"), 69, "can't be reached"),
        (("campaign", "stats", "7", "--token", "t", "--address", "nonsense"), 65, "is no address of a server"),
    ],
)
def test_a_mistake_is_one_line_with_an_exit_code(
    run: Run, arguments: tuple[str, ...], exit_code: int, said: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out, len(err.splitlines())) == (exit_code, "", 1)
    assert said in err


def test_templates_are_listed_and_shown_with_their_parameters(run: Run, db: Database) -> None:
    template_id = a_template(db)

    assert [one["name"] for one in _json(run, "template", "list")] == ["hello"]
    assert _json(run, "template", "show", template_id)["parameters"] == ["body.1", "body.2"]
    code, out, _ = run("template", "list")
    assert (code, "APPROVED" in out) == (0, True)


def test_a_draft_is_made_from_options_or_from_json(run: Run, db: Database, tmp_path: Path) -> None:
    a_number(db)
    template_id = a_template(db)
    body = tmp_path / "campaign.json"
    body.write_text(json.dumps({"name": "from the file", "dedupe_days": 7, "max_mps": 50}))

    made = _json(
        run, "campaign", "create", "Spring", "--template", template_id, "--number", "1001", "--body", body,
        "--column", "body.1=first_name", "--default", "body.1=there", "--value", "body.2=X=1",
    )  # fmt: skip

    assert (made["name"], made["state"], made["dedupe_days"], made["max_mps"]) == ("Spring", "draft", 7, 50)
    assert made["phone_number_ids"] == ["1001"]
    assert made["template_ids"] == [template_id]
    assert made["variables"]["body.2"]["value"] == "X=1"
    assert (made["variables"]["body.1"]["column"], made["variables"]["body.1"]["default"]) == ("first_name", "there")


def test_a_campaign_is_started_paused_resumed_cancelled_and_exported(run: Run, db: Database) -> None:
    campaign = a_campaign(db, contacts=2, state="ready")

    states = [
        _json(run, "campaign", verb, campaign.id)["state"]
        for verb in ("start", "start", "pause", "pause", "resume", "cancel")
    ]

    assert states == ["running", "running", "paused", "paused", "running", "cancelled"]
    assert run("campaign", "resume", campaign.id)[0] == 75
    assert [(one["name"], one["state"]) for one in _json(run, "campaign", "list")] == [("a campaign", "cancelled")]
    shown = _json(run, "campaign", "show", campaign.id)
    assert (shown["total"], shown["counts"]["cancelled"]) == (2, 2)
    code, out, _ = run("campaign", "export", campaign.id)
    assert (code, len(out.splitlines())) == (0, 3)
    _, out, _ = run("campaign", "export", campaign.id, "--json")
    assert [json.loads(line)["state"] for line in out.splitlines()] == ["cancelled", "cancelled"]
    assert [one["balanced"] for one in _json(run, "audit")] == [True]


def test_audit_fails_when_a_counter_is_wrong(run: Run, db: Database) -> None:
    """Promise 5: the command is how an operator proves it, so it must be able to fail."""
    campaign = a_campaign(db, contacts=2)
    with db.connection() as connection:
        connection.execute("UPDATE campaign_counters SET pending = 3")

    assert run("audit", campaign.id)[0] == 1


def test_a_start_says_what_is_missing(run: Run) -> None:
    campaign_id = _json(run, "campaign", "create", "x")["id"]

    code, _, err = run("campaign", "start", campaign_id)

    assert code == 75
    assert "lacks a template, a phone number, contacts" in err


def test_webhooks_that_were_kept_aside_are_listed_and_replayed(run: Run, db: Database, tmp_path: Path) -> None:
    assert run("webhook", "quarantine")[1].strip() == "Nothing is kept aside."
    with db.connection() as connection:
        connection.execute(
            "INSERT INTO webhook_quarantine (field, reason, body) VALUES"
            " ('messages', 'an unknown status', '{\"entry\": []}'), (NULL, 'not JSON', '{\"text\": \"<html>\"}')"
        )
    [kept] = json.loads(run("webhook", "quarantine", "--field", "messages", "--json")[1])
    assert (kept["reason"], kept["body"]) == ("an unknown status", {"entry": []})
    assert "not JSON" in run("webhook", "quarantine")[1]

    told = json.loads(run("webhook", "replay", "--json")[1])

    assert told == {"webhooks": 2, "updates": 0, "unreadable": 1, "still_kept": 1}
    captured = tmp_path / "captured.ndjson"
    captured.write_text('{"entry": []}\n<html>\n')
    [of_file] = json.loads(run("webhook", "replay", captured, "--json")[1])
    assert of_file == {"file": "captured.ndjson", "webhooks": 2, "updates": 0, "unreadable": 1}
    assert audit_log.page(db, before=2**63 - 1, limit=1)[0][0]["what"] == "titanflow webhook replay"


def test_migrate_and_doctor(run: Run, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _json(run, "migrate") == {"applied": []}
    code, _, err = run("doctor")
    assert (code, "META_APP_SECRET is not set" in err) == (78, True)
    for name, value in (("META_APP_SECRET", "s"), ("META_VERIFY_TOKEN", "t"), ("ADMIN_PIN", "83-92-01")):
        monkeypatch.setenv(name, value)
    assert _json(run, "doctor")["pending_migrations"] == []
    with db.connection() as connection:
        connection.execute("DELETE FROM schema_migrations")

    code, _, err = run("number", "list")

    assert (code, "Run `titanflow migrate`" in err) == (78, True)


def test_commands_find_the_embedded_servers_and_their_key(
    run: Run, servers: embedded.EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATA_DIR", str(servers._layout.data_dir))

    assert isinstance(_json(run, "migrate")["applied"], list)
    _json(run, "number", "add", "1001", "--waba-id", "1", "--access-token", "t")
    assert [one["phone_number_id"] for one in _json(run, "number", "list")] == ["1001"]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with short_folder() as folder:
        made = Stage(folder / "data", speed=10, latency_ms=5)
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.fixture
def remote(run: Run, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command against the stage's server and its database."""
    monkeypatch.setenv("DATABASE_URL", stage.database_url)
    monkeypatch.setenv("REDIS_URL", stage.servers.urls.redis_url)
    monkeypatch.setenv("SECRET_KEY", embedded.secret_key(stage.data_dir))
    monkeypatch.setenv("TITANFLOW_ADDRESS", stage.address)
    monkeypatch.setenv("TITANFLOW_TOKEN", stage.token)
    return run


def test_a_whole_campaign_from_the_command_line(remote: Run, stage: Stage, tmp_path: Path) -> None:
    stage.meta.post("/_sandbox/numbers", {"phone_number_id": "555", "waba_id": "900000001", "mps": 80})
    _json(remote, "number", "add", "555", "--waba-id", "900000001", "--access-token", "demo-token")
    assert _json(remote, "number", "sync", "555")["phone_number_id"] == "555"
    assert _json(remote, "template", "sync")["synced"] > 0
    template = next(one for one in _json(remote, "template", "list") if one["name"] == "spring_offer")
    parameters = _json(remote, "template", "show", template["id"])["parameters"]
    bound = [part for name in parameters for part in ("--value", f"{name}=x")]
    made = _json(remote, "campaign", "create", "c", "--template", template["id"], "--number", "555", *bound)
    contacts = tmp_path / "contacts.csv.gz"
    contacts.write_bytes(gzip.compress(b"phone\n+4915510000001\n+4915510000002\nx\n"))

    imported = _json(remote, "campaign", "import", made["id"], contacts)

    assert (imported["state"], imported["accepted"], imported["rejected"]) == ("done", 2, 1)
    assert _json(remote, "campaign", "start", made["id"])["state"] == "running"
    deadline = time.monotonic() + 60
    while (stats := _json(remote, "campaign", "stats", made["id"]))["state"] != "completed":
        assert time.monotonic() < deadline, stats
        time.sleep(0.1)
    assert sum(stats["counts"][state] for state in ("sent", "delivered", "read", "failed")) == 2


def test_an_import_that_is_refused_names_the_line(remote: Run, tmp_path: Path) -> None:
    made = _json(remote, "campaign", "create", "c")
    contacts = tmp_path / "contacts.csv"
    contacts.write_bytes(b"phone,name\n+4915510000001,Ana\n+4915510000002,\xff\n")

    code, out, err = remote("campaign", "import", made["id"], contacts)

    assert (code, out, len(err.splitlines())) == (65, "", 1)
    assert "line 3: The file is not valid UTF-8" in err


def test_the_tree_and_a_wrong_token(remote: Run) -> None:
    code, out, _ = remote("tree")
    assert (code, "reconciler" in out) == (0, True)
    assert "reconciler" in json.dumps(_json(remote, "tree"))

    code, _, err = remote("tree", "--token", "tf_wrong")

    assert (code, len(err.splitlines())) == (77, 1)


def test_a_campaign_is_rehearsed_without_a_server(
    run: Run, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    made = a_campaign(db, contacts=30, state="ready")

    found = _json(run, "campaign", "rehearse", made.id)
    code, out, _ = run("campaign", "rehearse", made.id)

    assert (found["state"], found["result"]["audience"]["to_send"]) == ("done", 30)
    assert code == 0
    assert "30 of 30 would be sent to, 0 are excluded, 0 would fail." in out
    assert "At 80 a second over one number, 30 messages take less than a second." in out
    assert "example rates, not today's price list" in out
    code, _, err = run("campaign", "rehearse", 99)
    assert (code, len(err.strip().splitlines())) == (66, 1)


_READ_ONLY = {
    "audit", "bench", "campaign export", "campaign list", "campaign show", "campaign stats", "demo", "doctor",
    "migrate", "number list", "number show", "sandbox", "serve", "template list", "template show", "token list", "tree",
    "webhook quarantine",
}  # fmt: skip
_THROUGH_THE_SERVER = {"campaign import", "number sync", "template sync"}  # the server's audit log names the token
_KEPT = {
    "campaign cancel", "campaign create", "campaign doubts", "campaign pause", "campaign rehearse", "campaign resume",
    "campaign retry", "campaign start", "contact erase", "number add", "number change", "number pause", "number rekey",
    "number resume", "token create", "token revoke", "webhook replay",
}  # fmt: skip


def _names(group: click.Group) -> Iterator[str]:
    for name, command in group.commands.items():
        yield from (f"{name} {inner}" for inner in _names(command)) if isinstance(command, click.Group) else [name]


def test_every_command_either_changes_nothing_or_is_kept_in_the_audit_log() -> None:
    """Whoever adds a command says which; one that changes something opens the database by `changing`."""
    assert set(_names(root)) == _READ_ONLY | _THROUGH_THE_SERVER | _KEPT


def test_the_audit_log_keeps_who_ran_which_command_and_how_it_ended(run: Run, db: Database) -> None:
    campaign = a_campaign(db, contacts=1, state="running")
    outcomes = [
        ("token create", run("token", "create", "me", "--scope", "send")),
        ("token revoke", run("token", "revoke", 1)),
        ("token revoke", run("token", "revoke", 999)),
        ("number add", run("number", "add", "2001", "--waba-id", "9001", "--access-token", "secret-text")),
        ("number change", run("number", "change", "2001", "--max-mps", 90)),
        ("number pause", run("number", "pause", "2001")),
        ("number resume", run("number", "resume", "2001")),
        ("campaign create", run("campaign", "create", "Later")),
        ("campaign pause", run("campaign", "pause", campaign.id)),
        ("campaign resume", run("campaign", "resume", campaign.id)),
        ("campaign start", run("campaign", "start", campaign.id)),
        ("campaign retry", run("campaign", "retry", campaign.id)),
        ("campaign doubts", run("campaign", "doubts", campaign.id, "--as", "failed", "--older-than-hours", 1)),
        ("campaign cancel", run("campaign", "cancel", campaign.id)),
        ("campaign start", run("campaign", "start", campaign.id)),
        ("campaign rehearse", run("campaign", "rehearse", campaign.id)),
    ]
    run("campaign", "doubts", campaign.id)  # only looks

    entries = audit_log.page(db, before=2**62, limit=99)[0][::-1]

    assert [one["what"] for one in entries] == [f"titanflow {name}" for name, _ in outcomes]
    assert {one["who"] for one in entries} == {f"cli:{getpass.getuser()}"}
    assert [one["outcome"] for one in entries] == ["refused" if code else "done" for _, (code, _, _) in outcomes]
    assert [one["target"] for one in entries][1:4] == ["token 1", "token 999", "number 2001"]
    assert entries[2]["detail"]["code"] == "token_not_found"
    assert "secret-text" not in str(entries)
    assert _json(run, "campaign", "show", campaign.id)["state_by"] == f"cli:{getpass.getuser()}"


def test_a_key_is_rotated_without_entering_tokens_anew(run: Run, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = "o" * 32, "n" * 32
    for name in ("ADMIN_PIN", "META_APP_SECRET", "META_VERIFY_TOKEN"):
        monkeypatch.setenv(name, "839201-x")
    monkeypatch.setenv("SECRET_KEY", old)
    for number in ("1001", "1002"):
        run("number", "add", number, "--waba-id", "9001", "--access-token", f"token of {number}".replace(" ", "-"))
    monkeypatch.setenv("SECRET_KEY", f"{new},{old}")
    run("number", "add", "1003", "--waba-id", "9001", "--access-token", "a-new-one")

    assert _json(run, "doctor")["keys"] == {"numbers": 3, "older": ["1001", "1002"], "unreadable": []}
    assert "2 access tokens still need an earlier SECRET_KEY" in run("doctor")[1]
    assert _json(run, "number", "rekey") == {"numbers": 3, "older": [], "unreadable": []}

    monkeypatch.setenv("SECRET_KEY", new)
    assert run("doctor")[1] == "All is well.\n"
    kept = {number: Vault([new]).decrypt(ciphertext) for number, ciphertext in phone_numbers.ciphertexts(db)}
    assert kept == {"1001": "token-of-1001", "1002": "token-of-1002", "1003": "a-new-one"}


def test_a_key_that_is_missing_is_said_in_words(run: Run, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADMIN_PIN", "META_APP_SECRET", "META_VERIFY_TOKEN"):
        monkeypatch.setenv(name, "839201-x")
    run("number", "add", "1001", "--waba-id", "9001", "--access-token", "one")
    monkeypatch.setenv("SECRET_KEY", "x" * 32)

    code, _, err = run("number", "rekey")

    assert (code, err.count("\n")) == (78, 1)
    assert "The access tokens of 1001 can't be decrypted: none of the keys in SECRET_KEY fits. Add the earlier" in err
    assert "No key in SECRET_KEY fits the access tokens of 1001" in run("doctor")[1]


def test_a_person_is_erased_with_the_webhooks_of_this_host(
    run: Run, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    campaign = a_campaign(db, contacts=1)
    kept = WebhookFiles(tmp_path / "webhooks", "1")
    kept.append([b'{"wa_id":"491510000000"}', b"{}"], at=datetime(2026, 11, 1, tzinfo=UTC))
    kept.close()

    told = _json(run, "contact", "erase", campaign.phones[0], "--yes")

    assert (told["erased"], told["contacts"], told["kept_webhooks"]) == (True, 1, 1)
    assert run("contact", "erase", "nobody", "--yes")[0] == 65
    assert "4915100" not in str(audit_log.page(db, before=2**62, limit=9))
