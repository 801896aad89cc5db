"""Which files a template's header may carry: type by content and by what the sender declares, and size. Pure.

Source: Meta's page "Media": image JPEG or PNG up to 5 MB, video MP4 or 3GPP up to 16 MB, document up to 100 MB.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["image", "video", "document"]

_MB = 1024 * 1024
LIMITS: dict[Kind, int] = {"image": 5 * _MB, "video": 16 * _MB, "document": 100 * _MB}

# So much of a file's beginning is needed to tell its type.
HEAD_BYTES = 512

_OOXML = "application/vnd.openxmlformats-officedocument"
_KINDS: dict[str, Kind] = {
    "image/jpeg": "image",
    "image/png": "image",
    "video/mp4": "video",
    "video/3gpp": "video",
    "application/pdf": "document",
    "text/plain": "document",
    "application/msword": "document",
    "application/vnd.ms-excel": "document",
    "application/vnd.ms-powerpoint": "document",
    f"{_OOXML}.wordprocessingml.document": "document",
    f"{_OOXML}.spreadsheetml.sheet": "document",
    f"{_OOXML}.presentationml.presentation": "document",
}
_ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "application/x-pdf": "application/pdf"}
_UNDECLARED = {"", "application/octet-stream", "application/x-www-form-urlencoded", "binary/octet-stream"}

# What some formats look like inside; the declared type must be one of those.
_ZIP = {mime for mime in _KINDS if mime.startswith(_OOXML)}
_OLE = {"application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"}
_VIDEO_BRANDS = {b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"dash", b"mmp4", b"MSNV"}


@dataclass(frozen=True, slots=True)
class MediaType:
    """A type that Meta takes."""

    mime_type: str
    kind: Kind

    @property
    def limit(self) -> int:
        """The largest size in bytes."""
        return LIMITS[self.kind]


class BadMedia(Exception):
    """A file that can't be used, and why, in a sentence for people."""


def type_of(head: bytes, declared: str) -> MediaType:
    """Return a file's type from its first HEAD_BYTES and its declared type. They must agree. Raises BadMedia.

    An undeclared type (octet-stream) is the one of the content, where that says it alone.
    """
    if not head:
        raise BadMedia("The file is empty")
    said = declared.partition(";")[0].strip().lower()
    said = _ALIASES.get(said, said)
    possible = _look(head)
    if said in _UNDECLARED:
        if len(possible) != 1:
            raise BadMedia("The content doesn't tell the type alone; declare it as Content-Type")
        said = next(iter(possible))
    if said not in _KINDS:
        raise BadMedia(f"'{said[:100]}' is no type that a header may carry: JPEG, PNG, MP4, 3GPP, PDF, text, Office")
    if said not in possible:
        raise BadMedia(f"The file is declared as {said}, but its content is something else")
    return MediaType(said, _KINDS[said])


def _look(head: bytes) -> set[str]:
    """All types that content may be."""
    if head.startswith(b"\xff\xd8\xff"):
        return {"image/jpeg"}
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return {"image/png"}
    if head.startswith(b"%PDF-"):
        return {"application/pdf"}
    if head.startswith(b"PK\x03\x04"):
        return set(_ZIP)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return set(_OLE)
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand.startswith((b"3gp", b"3g2")):
            return {"video/3gpp"}
        return {"video/mp4"} if brand in _VIDEO_BRANDS or brand.startswith(b"M4V") else set()
    return {"text/plain"} if _is_text(head) else set()


def _is_text(head: bytes) -> bool:
    if b"\x00" in head:
        return False
    for cut in range(4):  # a character may be cut at the end of the head
        try:
            head[: len(head) - cut].decode()
            return True
        except UnicodeDecodeError:
            continue
    return False
