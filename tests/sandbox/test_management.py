"""Templates and media over the Graph API, with the faults that lists and uploads have."""

import hashlib
from typing import Any

import pytest

from tests.sandbox.fake_meta import Answer, FakeMeta, a_message

_BODY = {"type": "BODY", "text": "Hi {{1}}, only today for you."}


@pytest.fixture(autouse=True)
def _nothing_left(sandbox: FakeMeta) -> None:
    sandbox.control("DELETE", "rules")
    sandbox.control("POST", "paging", {})


def _create(sandbox: FakeMeta, name: str, *components: object, **more: object) -> Answer:
    body = {"name": name, "language": "en_US", "category": "MARKETING", "components": list(components or (_BODY,))}
    return sandbox.post("960/message_templates", {**body, **more})


def _approved(sandbox: FakeMeta, name: str) -> str:
    template_id = str(_create(sandbox, name).body["id"])
    sandbox.receiver.wait(lambda: _events(sandbox, name, "APPROVED"))
    return template_id


def _events(sandbox: FakeMeta, name: str, event: str) -> list[Any]:
    updates = sandbox.receiver.changes("message_template_status_update")
    return [one for one in updates if (one["message_template_name"], one["event"]) == (name, event)]


def test_a_template_is_created_reviewed_edited_and_deleted(sandbox: FakeMeta) -> None:
    template_id = _approved(sandbox, "whole_life")
    assert sandbox.get(template_id).body["status"] == "APPROVED"

    edited = {"components": [{"type": "BODY", "text": "Hello {{1}}, for you."}]}
    assert sandbox.post(template_id, edited).body == {"success": True}
    assert sandbox.get(template_id).body["status"] == "PENDING"
    sandbox.receiver.wait(lambda: len(_events(sandbox, "whole_life", "APPROVED")) == 2)
    assert sandbox.get(template_id).body["components"] == edited["components"]

    assert sandbox.call("DELETE", "/v25.0/960/message_templates?name=whole_life").body == {"success": True}
    assert sandbox.get("960/message_templates?name=whole_life").body["data"] == []


def test_a_paused_template_is_unpaused(sandbox: FakeMeta) -> None:
    template_id = _approved(sandbox, "unpausable")
    sandbox.control("POST", "templates", {"waba_id": "960", "name": "unpausable", "status": "PAUSED"})
    assert sandbox.get("960/message_templates?status=PAUSED").body["data"][0]["id"] == template_id
    assert sandbox.post(f"{template_id}/unpause").body == {"success": True}
    assert sandbox.get(template_id).body["status"] == "APPROVED"


@pytest.mark.parametrize(
    ("component", "code"),
    [
        ({"type": "BODY", "text": "x" * 1025}, 2388040),
        ({"type": "BODY", "text": "{{1}} is here now"}, 2388299),
        ({"type": "BODY", "text": "we wait for {{1}}"}, 2388299),
        ({"type": "BODY", "text": "a {{1}} {{2}} {{3}} b"}, 2388293),
        ({"type": "BODY", "text": "We have {{1}} and also {{3}} for you today"}, 2388072),
        ({"type": "HEADER", "format": "TEXT", "text": "{{1}} and {{2}} go"}, 2388047),
        ({"type": "FOOTER", "text": "bye {{1}} now"}, 2388073),
        ({"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "x" * 26}]}, 2388040),
    ],
)
def test_a_template_that_meta_would_not_take_is_refused(
    sandbox: FakeMeta, component: dict[str, object], code: int
) -> None:
    components = [component] if component["type"] == "BODY" else [_BODY, component]
    assert _create(sandbox, "never_made", *components).code == code
    assert sandbox.get("960/message_templates?name=never_made").body["data"] == []


def _listed(sandbox: FakeMeta, waba: str) -> tuple[list[str], int]:
    """Follow the cursors to the end; return the names and how many pages there were."""
    names: list[str] = []
    after, pages = "", 0
    while True:
        body = sandbox.get(f"{waba}/message_templates?limit=100{after}").body
        names += [one["name"] for one in body["data"]]
        pages += 1
        if "next" not in body["paging"]:
            return names, pages
        after = f"&after={body['paging']['cursors']['after']}"


def test_lists_come_in_short_and_empty_pages(sandbox: FakeMeta) -> None:
    whole, pages = _listed(sandbox, "961")
    assert (len(whole), pages) == (3, 1)
    sandbox.control("POST", "paging", {"limit": 1, "empty_first": True})
    assert _listed(sandbox, "961") == (whole, 6)


def test_a_cursor_expires(sandbox: FakeMeta) -> None:
    sandbox.control("POST", "paging", {"limit": 1, "expire": 1})
    assert sandbox.get("961/message_templates?after=1").code == 100
    assert sandbox.get("961/message_templates?after=1").status == 200


def test_management_calls_are_throttled_and_fail(sandbox: FakeMeta) -> None:
    rule = sandbox.rule(where="management", code=80008, match={"path": "/message_templates", "waba": "962"}, next=1)
    sandbox.rule(where="management", http_status=502, match={"path": "/phone_numbers"})
    assert sandbox.get("963/message_templates").status == 200
    assert sandbox.get("962/message_templates").code == 80008
    assert sandbox.get("962/message_templates").status == 200
    broken = sandbox.get("962/phone_numbers")
    assert (broken.status, broken.code) == (502, None)
    assert sandbox.hits(rule) == 1


def _upload(sandbox: FakeMeta, content: bytes, mime_type: str = "image/jpeg", number: str = "140") -> Answer:
    parts = [
        b'--edge\r\nContent-Disposition: form-data; name="messaging_product"\r\n\r\nwhatsapp\r\n',
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: %b\r\n\r\n%b\r\n'
        % (mime_type.encode(), content),
        b"--edge--\r\n",
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    return sandbox.call("POST", f"/v25.0/{number}/media", b"".join(parts), headers)


def _picture(media_id: str, to: str, echo: str) -> Any:
    message = a_message(to, template="spring_offer_picture", texts=("Ann",), echo=echo)
    message["template"]["components"] += [
        {"type": "header", "parameters": [{"type": "image", "image": {"id": media_id}}]},
        {
            "type": "button",
            "sub_type": "copy_code",
            "index": "0",
            "parameters": [{"type": "coupon_code", "coupon_code": "X1"}],
        },
    ]
    return message


def test_a_file_is_uploaded_once_and_its_id_used_by_many(sandbox: FakeMeta) -> None:
    content = b"\xff\xd8" + bytes(200_000)
    media_id = _upload(sandbox, content).body["id"]
    for n in range(3):
        assert sandbox.post("140/messages", _picture(media_id, f"+49175000000{n}", f"pic:{n}:1")).status == 200

    (listed,) = [one for one in sandbox.control("GET", "media")["uploads"] if one["id"] == media_id]
    assert (listed["used"], listed["file_size"], listed["number"]) == (3, len(content), "140")

    found = sandbox.get(media_id).body
    assert found["sha256"] == hashlib.sha256(content).hexdigest()
    path = found["url"].partition(f":{sandbox.port}")[2]
    assert sandbox.call("GET", path).body == content
    assert sandbox.call("GET", path, headers={"Authorization": ""}).code == 190


def test_another_number_can_not_use_it_nor_anybody_once_it_expired(sandbox: FakeMeta) -> None:
    media_id = _upload(sandbox, b"\xff\xd8picture").body["id"]
    assert sandbox.post("141/messages", _picture(media_id, "+491750000010", "pic:10:1")).code == 131009
    assert sandbox.post("140/messages", _picture("1234567890", "+491750000010", "pic:10:1")).code == 131009
    assert sandbox.get(f"{media_id}?phone_number_id=141").body["error"]["error_subcode"] == 33

    sandbox.control("POST", "media", {"id": media_id, "expires_in_s": 0})

    assert sandbox.post("140/messages", _picture(media_id, "+491750000010", "pic:10:2")).code == 131009


def test_a_deleted_file_is_gone(sandbox: FakeMeta) -> None:
    media_id = _upload(sandbox, b"\xff\xd8picture").body["id"]
    assert sandbox.call("DELETE", f"/v25.0/{media_id}").body == {"success": True}
    assert sandbox.get(media_id).code == 100
    assert sandbox.post("140/messages", _picture(media_id, "+491750000011", "pic:11:1")).code == 131009


@pytest.mark.parametrize(
    ("mime_type", "size", "code"),
    [("image/gif", 100, 100), ("image/png", 5 * 2**20 + 1, 131053), ("image/png", 0, 131053)],
)
def test_files_of_a_wrong_type_or_size_are_refused(sandbox: FakeMeta, mime_type: str, size: int, code: int) -> None:
    assert _upload(sandbox, bytes(size), mime_type).code == code
