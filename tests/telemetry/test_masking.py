"""No log shows a secret, and no phone number unless LOG_PHONES=full: through real output, tracebacks included."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gunicorn.config import Config

from tests.support.servers import short_folder
from tests.support.visitors import Visitor
from titanflow.cli.stage import Stage
from titanflow.http.gunicorn_log import Logger
from titanflow.settings import Settings
from titanflow.telemetry.masking import Masker, mask_phones

_META = "EAAG" + "x1Y2" * 20
_OURS = "tf_" + "Ab-_9" * 8
_SECRET_TEXTS = [
    f"token {_META} refused",
    f"Authorization: Bearer {_OURS}",
    "Bearer abcdef123456",
    "X-Hub-Signature-256: sha256=" + "ab" * 32,
    "postgresql://titan:hun%40ter2-pass@db.example:5432/x failed",
    "redis://:hunter2-pass@r.example:6379/0",
    "connection string host=db user=x password=hunter2-pass port=1",
    '{"access_token": "hunter2-pass", "x": 1}',
    "{'pin': 'hunter2-pass'}",
    "/debug_token?input_token=hunter2-pass&access_token=other-hunter2-pass",
    "hub.verify_token=hunter2-pass&hub.mode=subscribe",
    "the configured value my-own-secret-value stands anywhere",
]
_PHONE_TEXTS = [
    "to +4915112345678 now",
    "GET /api/v1/contacts/%2B4915112345678",
    "GET /api/v1/contacts/4915112345678 HTTP/1.1",
    "/suppressions/4915112345678?x=1",
    "wa_id=4915112345678",
    '{"recipient_id": "4915112345678"}',
    "to: 4915112345678",
    "Key (phone, campaign_id)=(+4915112345678, 3) already exists.",
    "call +49 151 1234-5678 or +49 (151) 12345678",
    "wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjVGNDI1QTc0RjEzMDMzNDkyQQA= is unknown",
]
_HARMLESS = [
    "campaign 17 started at 2026-11-25T13:00:00+00:00",
    "number_id=106540352242922 phone_number_id=106540352242922",
    "wrote 123456789 bytes in 10.123456 s",
    "http://127.0.0.1:8000/health/ready",
    "code 131049: see /api/v1/campaigns/123456789/stats",
    "lag +12.5 ms, offset +0100",
]
_LEAKS = ("hunter2", _META, _OURS, "abcdef123456", "ab" * 32, "hun%40ter2", "my-own-secret-value")
_PHONE_LEAKS = ("15112345678", "151 1234", "1234-5678", "12345678", "NDkxNTExMjM0NTY3O")


@pytest.mark.parametrize("text", _SECRET_TEXTS)
@pytest.mark.parametrize("phones", [True, False])
def test_secrets_are_taken_out_of_any_text(text: str, phones: bool) -> None:
    said = Masker(phones=phones, secrets=("my-own-secret-value",)).text(text)

    assert "***" in said
    assert not any(leak in said for leak in _LEAKS), said


@pytest.mark.parametrize("text", _PHONE_TEXTS)
def test_phones_are_masked_unless_somebody_wants_them(text: str) -> None:
    said = mask_phones(text)

    assert "..." in said
    assert not any(leak in said for leak in _PHONE_LEAKS), said
    assert Masker(phones=False).text(text) == text


@pytest.mark.parametrize("text", _HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Masker(secrets=("my-own-secret-value",)).text(text) == text


def test_one_can_find_a_number_that_one_knows() -> None:
    assert mask_phones("+4915112345678") == "+4915...78"


def test_the_settings_know_all_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DATABASE_URL": "postgresql://u:p%40ss-word@h/x", "REDIS_URL": "redis://:redis-pass@h", "ADMIN_PIN": "83-92-01",
        "SECRET_KEY": "k" * 20 + "," + "l" * 20, "META_APP_SECRET": "app-secret", "META_VERIFY_TOKEN": "verify-me",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    secrets = Settings().secrets()

    assert {"p@ss-word", "redis-pass", "83-92-01", "k" * 20, "l" * 20, "app-secret", "verify-me"} <= set(secrets)


_PROGRAM = """
import logging, sys
import structlog
from titanflow.supervision.patch import patch_everything
patch_everything()
from titanflow.supervision import print_hub_errors_to, sleep_ms, spawn_plain
from titanflow.telemetry import logs, masking

masking.configure(phones=sys.argv[2] == "masked", secrets=["my-own-secret-value"])
if sys.argv[1] == "commands":
    logs.set_up_for_commands()
else:
    logs.set_up(sys.argv[1], "info")
print_hub_errors_to(masking.MaskingStream())
log = structlog.get_logger()
texts = TEXTS
for text in texts:
    log.warning("a.text", text=text, nested={"deep": [text, {"deeper": (text,)}]}, error=ValueError(text))
    log.warning("a.key", access_token="hunter2", ADMIN_PIN="hunter2", pin="hunter2", cookie="hunter2",
                headers={"Authorization": "hunter2", "x": {"client_secret": ["hunter2"]}}, to=4915112345678,
                phone="+4915112345678", phones=["4915112345678"], recipient_id="4915112345678")
    logging.getLogger("some.library").warning("it said %s", text)
    try:
        try:
            raise ConnectionError(text)
        except ConnectionError as inner:
            raise RuntimeError("outer " + text) from inner
    except RuntimeError:
        log.error("it.crashed", exc_info=True)
        logging.getLogger("some.library").exception("it crashed")

def dies():
    raise RuntimeError(" ".join(texts))

spawn_plain(dies)
sleep_ms(20)
dies()
"""


@pytest.mark.parametrize("form", ["json", "console", "commands"])
@pytest.mark.parametrize("phones", ["masked", "full"])
def test_real_output_of_a_process_shows_nothing(form: str, phones: str) -> None:
    """structlog, the standard library, a greenlet that dies, and the traceback that ends the process."""
    program = _PROGRAM.replace("TEXTS", repr(_SECRET_TEXTS + _PHONE_TEXTS))

    ended = subprocess.run(
        [sys.executable, "-c", program, form, phones], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip

    said = ended.stdout + ended.stderr
    assert ended.returncode == 1
    for must in ("it.crashed", "RuntimeError", "ConnectionError", "***", "dies", "<Greenlet"):
        assert must in said
    assert not [leak for leak in _LEAKS if leak in said]
    assert any(leak in said for leak in _PHONE_LEAKS) == (phones == "full")
    if form == "json":
        assert all(json.loads(line) for line in ended.stdout.splitlines())


def test_gunicorns_own_errors_are_masked(tmp_path: Path) -> None:
    config = Config()
    config.set("errorlog", str(tmp_path / "error.log"))
    logger = Logger(config)
    try:
        raise ConnectionError("can't reach postgresql://u:hunter2-pass@h/x for +4915112345678")
    except ConnectionError:
        logger.exception("Error handling request %s", "/api/v1/contacts/4915112345678?access_token=hunter2-pass")
    for handler in list(logging.getLogger("gunicorn.error").handlers):
        handler.close()
        logging.getLogger("gunicorn.error").removeHandler(handler)

    said = (tmp_path / "error.log").read_text()

    assert "Traceback" in said
    assert "/contacts/4915...78" in said
    assert not [leak for leak in (*_LEAKS, *_PHONE_LEAKS) if leak in said]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with short_folder() as folder:
        made = Stage(folder / "data", environment={"GUNICORN_CMD_ARGS": "--access-logfile - --log-level debug"})
        try:
            made.start()
            yield made
        finally:
            made.stop()


def test_the_log_of_a_whole_server_with_an_access_log_shows_nothing(stage: Stage) -> None:
    visitor = Visitor(stage.port, {"Authorization": f"Bearer {stage.token}"})
    visitor.ask("GET", "/api/v1/contacts/%2B4915112345678?access_token=hunter2-pass")
    visitor.ask("POST", "/api/v1/phone-numbers", {"phone_number_id": "1", "waba_id": "1", "access_token": _META})
    Visitor(stage.port).submit("/login", {"pin": "hunter2-pass"})
    Visitor(stage.port).submit("/login", {"pin": stage.pin})
    visitor.ask("GET", f"/api/webhooks?hub.mode=subscribe&hub.verify_token={stage.pin}", User_Agent=stage.token)

    stage.stop_server()

    said = (stage.data_dir / "server.log").read_text()
    assert "GET /api/v1/contacts/%2B4915...78" in said
    assert "login.failed" in said
    leaks = (*_LEAKS, *_PHONE_LEAKS, stage.token, stage.pin, stage._app_secret, stage.database_url)
    assert not [leak for leak in leaks if leak in said]
