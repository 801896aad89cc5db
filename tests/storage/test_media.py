"""Media in PostgreSQL, and who uploads what to Meta: once a number, whoever wants it."""

import hashlib
import threading
from typing import Any

import pytest

from tests.support.builders import a_campaign, a_number
from titanflow.storage import media, media_uploads
from titanflow.storage.database import Database


def _file(db: Database, content: bytes = b"\xff\xd8\xff picture", **more: Any) -> int:
    values = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "kind": "image",
        "mime_type": "image/jpeg",
        "size_bytes": len(content),
        "filename": None,
        **more,
    }
    halves = [content[: len(content) // 2], content[len(content) // 2 :]]
    return media.insert(db, values, halves)[0]


def _campaign_with(db: Database, media_id: int, *, state: str = "running") -> tuple[int, int]:
    campaign = a_campaign(db, contacts=1, state=state)
    with db.connection() as connection:
        connection.execute(
            "UPDATE campaigns SET media = jsonb_build_object('media_id', %s::int) WHERE id = %s",
            [media_id, campaign.id],
        )
    return campaign.id, campaign.number_id


def _meta_id(db: Database, media_id: int, number_id: int) -> str | None:
    found = media_uploads.of(db, media_id, number_id)
    assert found is not None
    return found.meta_media_id


def test_the_same_bytes_are_kept_once_and_come_back_whole(db: Database) -> None:
    content = bytes(range(256)) * 100
    first, second = _file(db, content), _file(db, content, filename="again.jpg")
    assert first == second
    assert b"".join(media.pieces(db, first)) == content


def test_a_file_that_breaks_off_leaves_nothing(db: Database) -> None:
    def broken() -> Any:
        yield b"half"
        raise OSError("the disk is full")

    values = {"sha256": "x", "kind": "image", "mime_type": "image/jpeg", "size_bytes": 9, "filename": None}
    with pytest.raises(OSError, match="full"):
        media.insert(db, values, broken())
    assert media.page(db, after=0, limit=9) == []


def test_a_file_that_a_campaign_may_still_send_stays(db: Database) -> None:
    media_id = _file(db)
    campaign_id, _ = _campaign_with(db, media_id)
    assert not media.delete(db, media_id)
    with db.connection() as connection:
        connection.execute("UPDATE campaigns SET state = 'completed' WHERE id = %s", [campaign_id])
    assert media.delete(db, media_id)
    assert list(media.pieces(db, media_id)) == []


def test_of_many_that_want_it_one_uploads(db: Database) -> None:
    media_id, number_id = _file(db), a_number(db)
    won: list[bool] = []

    def try_it() -> None:
        won.append(media_uploads.begin(db, media_id, number_id) is not None)

    threads = [threading.Thread(target=try_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)

    assert sorted(won) == [False] * 5 + [True]
    media_uploads.finish(db, media_id, number_id, meta_media_id="77")
    assert media_uploads.begin(db, media_id, number_id) is None
    assert _meta_id(db, media_id, number_id) == "77"
    assert media_uploads.begin(db, media_id, a_number(db, phone_number_id="1002")) is not None  # ids are a number's own


def test_an_expired_id_is_not_used_and_uploaded_again(db: Database) -> None:
    media_id, number_id = _file(db), a_number(db)
    media_uploads.begin(db, media_id, number_id)
    media_uploads.finish(db, media_id, number_id, meta_media_id="77")
    with db.connection() as connection:
        connection.execute("UPDATE media_uploads SET expires_at = now()")
    assert _meta_id(db, media_id, number_id) is None
    assert media_uploads.begin(db, media_id, number_id) is not None


def test_an_upload_whose_node_died_is_begun_again_when_its_time_is_over(db: Database) -> None:
    media_id, number_id = _file(db), a_number(db)
    assert media_uploads.begin(db, media_id, number_id) is not None
    with db.connection() as connection:
        connection.execute("UPDATE media_uploads SET uploading_until = now() - interval '1 s'")
    assert media_uploads.begin(db, media_id, number_id) is not None


def test_a_refused_id_is_renewed_once_and_then_it_is_the_files_fault(db: Database) -> None:
    media_id = _file(db)
    campaign_id, number_id = _campaign_with(db, media_id)
    media_uploads.begin(db, media_id, number_id)
    media_uploads.finish(db, media_id, number_id, meta_media_id="77")

    assert media_uploads.refused(db, campaign_id, number_id)
    assert _meta_id(db, media_id, number_id) is None
    assert media_uploads.refused(db, campaign_id, number_id)  # others that left with it
    assert media_uploads.begin(db, media_id, number_id) is not None
    media_uploads.finish(db, media_id, number_id, meta_media_id="78")
    assert media_uploads.refused(db, campaign_id, number_id)  # a late answer to the old one
    assert _meta_id(db, media_id, number_id) == "78"

    with db.connection() as connection:
        connection.execute("UPDATE media_uploads SET uploaded_at = now() - interval '1 minute'")
    assert not media_uploads.refused(db, campaign_id, number_id)
    assert _meta_id(db, media_id, number_id) == "78"


def test_a_campaign_with_a_link_has_nothing_to_renew(db: Database) -> None:
    campaign = a_campaign(db)
    assert not media_uploads.refused(db, campaign.id, campaign.number_id)


def test_a_failed_upload_waits_and_says_why(db: Database) -> None:
    media_id = _file(db)
    campaign_id, number_id = _campaign_with(db, media_id)
    media_uploads.begin(db, media_id, number_id)
    assert not media_uploads.nobody_can(db, campaign_id, media_id)

    media_uploads.fail(db, media_id, number_id, error="Meta refused: too large.", refused=True)

    assert media_uploads.begin(db, media_id, number_id) is None
    found = media_uploads.of(db, media_id, number_id)
    assert found is not None
    assert (found.error, found.waiting) == ("Meta refused: too large.", True)
    assert media_uploads.nobody_can(db, campaign_id, media_id)
    media_uploads.try_again(db, media_id)
    assert media_uploads.begin(db, media_id, number_id) is not None
