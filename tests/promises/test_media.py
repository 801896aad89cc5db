"""Header media through the real path: uploaded once a number, the id reused, renewed when Meta has forgotten it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import on_stage
from tests.support.servers import short_folder
from titanflow.cli.stage import Stage

_JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)) * 8_000  # two megabytes: several pieces
_PICTURE = {"body.1": {"column": "first_name"}, "button.0.1": {"value": "SPRING26"}}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with short_folder() as folder:
        made = Stage(folder / "data", latency_ms=20, speed=20)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def _upload(stage: Stage, content: bytes = _JPEG, kind: str = "image/jpeg") -> tuple[int, Any]:
    return on_stage.ask(stage, "POST", "/api/v1/media?filename=a.jpg", content, Content_Type=kind)


def _picture_campaign(stage: Stage, waba: str, ids: list[str], people: int, media_id: int) -> int:
    template_id = on_stage.template(stage, waba, "spring_offer_picture")["id"]
    more = {"variables": _PICTURE, "media": {"media_id": media_id}}
    return on_stage.campaign(stage, [template_id], ids, people, **more)


def _uploads(stage: Stage, number: str) -> list[dict[str, Any]]:
    return [one for one in stage.meta.get("/_sandbox/media")["uploads"] if one["number"] == number]


def test_a_file_goes_in_by_body_and_by_form_and_is_checked(stage: Stage) -> None:
    status, made = _upload(stage)
    assert (status, made["kind"], made["size_bytes"], made["filename"]) == (201, "image", len(_JPEG), "a.jpg")
    boundary = b'--b\r\nContent-Disposition: form-data; name="file"; filename="c:\\\\x\\\\b.jpg"\r\n'
    form = boundary + b"Content-Type: image/jpeg\r\n\r\n" + _JPEG + b"\r\n--b--\r\n"
    status, again = _upload(stage, form, "multipart/form-data; boundary=b")
    assert (status, again["id"]) == (200, made["id"])  # the same bytes

    status, problem = _upload(stage, _JPEG, "image/png")
    assert (status, problem["code"]) == (415, "unsupported_media")
    status, problem = _upload(stage, b"")
    assert (status, problem["code"]) == (415, "unsupported_media")
    status, problem = _upload(stage, _JPEG + bytes(4 * 2**20))
    assert (status, problem["code"]) == (413, "too_large")
    assert not list((stage.data_dir / "uploads").glob("*.media"))
    assert stage.api.get("/api/v1/media")["total"] == 1
    assert on_stage.ask(stage, "GET", "/api/v1/media/999")[0] == 404


def test_a_campaign_names_media_that_exists_and_not_two_things(stage: Stage) -> None:
    for media, code in (
        ({"media_id": 999}, "unknown_media"),
        ({"media_id": 1, "link": "https://a.b/c"}, "invalid_input"),
    ):
        status, problem = on_stage.ask(
            stage, "POST", "/api/v1/campaigns", json.dumps({"name": "x", "media": media}).encode()
        )
        assert (status, problem["code"]) == (422, code)


@pytest.mark.timeout(180)
def test_two_campaigns_on_two_numbers_upload_once_a_number(stage: Stage) -> None:
    on_stage.numbers(stage, "810000001", ["8101", "8102"])
    media_id = _upload(stage)[1]["id"]
    both = [_picture_campaign(stage, "810000001", ["8101", "8102"], 100, media_id) for _ in range(2)]
    for campaign_id in both:
        on_stage.start(stage, campaign_id)

    for campaign_id in both:
        done = on_stage.completed(stage, campaign_id)
        assert done["counts"]["failed"] == sum(done["failed"].values())
        assert len(on_stage.accepted(stage, campaign_id)) == 100
    for number in ("8101", "8102"):
        [upload] = _uploads(stage, number)
        assert upload["used"] > 0
        assert upload["file_size"] == len(_JPEG)
    assert on_stage.ask(stage, "DELETE", f"/api/v1/media/{media_id}")[0] == 204  # nobody can send it any more


@pytest.mark.timeout(180)
def test_an_id_that_meta_has_forgotten_is_renewed_once_and_nobody_is_lost(stage: Stage) -> None:
    on_stage.numbers(stage, "820000001", ["8201"])
    media_id = _upload(stage)[1]["id"]
    campaign_id = _picture_campaign(stage, "820000001", ["8201"], 300, media_id)
    on_stage.start(stage, campaign_id)
    on_stage.until(lambda: len(on_stage.accepted(stage, campaign_id)) > 50, "the first fifty")

    [first] = _uploads(stage, "8201")
    stage.meta.post("/_sandbox/media", {"id": first["id"], "expires_in_s": 0})

    done = on_stage.completed(stage, campaign_id)
    assert len(on_stage.accepted(stage, campaign_id)) == 300
    assert not {"131009", "131053"} & done["failed"].keys()
    assert len(_uploads(stage, "8201")) == 2


@pytest.mark.timeout(180)
def test_a_refusal_that_comes_by_webhook_renews_it_too(stage: Stage) -> None:
    on_stage.numbers(stage, "825000001", ["8251"], mps=20)
    media_id = _upload(stage)[1]["id"]
    campaign_id = _picture_campaign(stage, "825000001", ["8251"], 150, media_id)
    stage.meta.post("/_sandbox/rules", {"where": "status", "code": 131053, "number": "8251", "next": 1})
    on_stage.start(stage, campaign_id)

    done = on_stage.completed(stage, campaign_id)
    on_stage.until(lambda: on_stage.stats(stage, campaign_id)["failed"].get("131053") == 1, "the failure")
    assert done["state"] == "completed"
    assert len(_uploads(stage, "8251")) == 2


@pytest.mark.timeout(180)
def test_an_upload_that_meta_refuses_pauses_the_campaign_with_the_reason(stage: Stage) -> None:
    on_stage.numbers(stage, "830000001", ["8301"])
    media_id = _upload(stage)[1]["id"]
    campaign_id = _picture_campaign(stage, "830000001", ["8301"], 20, media_id)
    stage.meta.post("/_sandbox/rules", {"where": "management", "path": "8301/media", "code": 131053, "next": 1})
    on_stage.start(stage, campaign_id)

    paused = on_stage.until(
        lambda: (now := on_stage.stats(stage, campaign_id))["state"] == "paused" and now, "the pause"
    )
    assert "can't be uploaded" in paused["state_reason"]
    assert paused["counts"]["pending"] == 20
    stage.api.post(f"/api/v1/campaigns/{campaign_id}/resume")
    on_stage.completed(stage, campaign_id)
    assert len(on_stage.accepted(stage, campaign_id)) == 20


@pytest.mark.timeout(120)
def test_a_file_of_another_kind_than_the_header_pauses_with_one_sentence(stage: Stage) -> None:
    on_stage.numbers(stage, "840000001", ["8401"])
    media_id = _upload(stage, b"%PDF-1.7\n%fine", "application/pdf")[1]["id"]
    campaign_id = _picture_campaign(stage, "840000001", ["8401"], 5, media_id)
    on_stage.start(stage, campaign_id)
    paused = on_stage.until(
        lambda: (now := on_stage.stats(stage, campaign_id))["state"] == "paused" and now, "the pause"
    )
    assert "wants the kind image" in paused["state_reason"]
    assert on_stage.accepted(stage, campaign_id) == []
