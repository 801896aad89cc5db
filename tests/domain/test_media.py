"""Which files a header may carry: content and declaration must agree."""

import pytest

from titanflow.domain.media import HEAD_BYTES, BadMedia, type_of

JPEG = b"\xff\xd8\xff\xe0" + b"\x00" * 20
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20
MP4 = b"\x00\x00\x00\x20ftypisom" + b"\x00" * 20
THREE_GP = b"\x00\x00\x00\x20ftyp3gp5" + b"\x00" * 20
PDF = b"%PDF-1.7\n"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.mark.parametrize(
    ("head", "declared", "mime_type", "kind"),
    [
        (JPEG, "image/jpeg", "image/jpeg", "image"),
        (JPEG, "image/jpg", "image/jpeg", "image"),
        (JPEG, "", "image/jpeg", "image"),
        (PNG, "image/png; charset=binary", "image/png", "image"),
        (MP4, "application/octet-stream", "video/mp4", "video"),
        (THREE_GP, "video/3gpp", "video/3gpp", "video"),
        (PDF, "application/pdf", "application/pdf", "document"),
        (b"PK\x03\x04....", DOCX, DOCX, "document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/msword", "application/msword", "document"),
        ("Grüße".encode(), "text/plain; charset=utf-8", "text/plain", "document"),
        (("x" * (HEAD_BYTES - 1) + "ü").encode()[:HEAD_BYTES], "text/plain", "text/plain", "document"),
    ],
)
def test_what_meta_takes(head: bytes, declared: str, mime_type: str, kind: str) -> None:
    found = type_of(head, declared)
    assert (found.mime_type, found.kind) == (mime_type, kind)


@pytest.mark.parametrize(
    ("head", "declared", "why"),
    [
        (b"", "image/jpeg", "empty"),
        (PNG, "image/jpeg", "something else"),
        (b"<script>alert(1)</script>", "image/png", "something else"),
        (b"GIF89a", "image/gif", "no type"),
        (b"RIFF....WEBP", "image/webp", "no type"),
        (b"\x00\x00\x00\x20ftypqt  ", "video/mp4", "something else"),
        (b"\x00\x00\x00\x20ftypM4A ", "video/mp4", "something else"),
        (b"PK\x03\x04....", "", "alone"),
        (b"PK\x03\x04....", "application/zip", "no type"),
        (b"\x7fELF\x02\x01\x01\x00", "application/octet-stream", "alone"),
        (b"a\x00b", "text/plain", "something else"),
        (b"\xff\xfe\xfa\xfb", "text/plain", "something else"),
    ],
)
def test_what_meta_would_refuse_is_refused_here(head: bytes, declared: str, why: str) -> None:
    with pytest.raises(BadMedia, match=why):
        type_of(head, declared)


def test_the_limits_are_metas() -> None:
    assert [type_of(head, "").limit for head in (JPEG, MP4, PDF)] == [5 * 2**20, 16 * 2**20, 100 * 2**20]
