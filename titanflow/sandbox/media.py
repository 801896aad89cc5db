"""Media: what was uploaded, for which number, until when, and how often messages used it."""

import hashlib
import itertools
from dataclasses import dataclass
from typing import Any

from titanflow.sandbox.errors import Refusal

_MIB = 2**20
_KEPT_S = 30 * 86400.0
_INBOUND_S = 7 * 86400.0
URL_S = 300.0

# MIME type: (how messages call it, the largest size)
TYPES: dict[str, tuple[str, int]] = {
    "image/jpeg": ("image", 5 * _MIB),
    "image/png": ("image", 5 * _MIB),
    "video/mp4": ("video", 16 * _MIB),
    "video/3gpp": ("video", 16 * _MIB),
    "audio/aac": ("audio", 16 * _MIB),
    "audio/amr": ("audio", 16 * _MIB),
    "audio/mpeg": ("audio", 16 * _MIB),
    "audio/mp4": ("audio", 16 * _MIB),
    "audio/ogg": ("audio", 16 * _MIB),
    "image/webp": ("sticker", 500 * 1024),
    "text/plain": ("document", 100 * _MIB),
    "application/pdf": ("document", 100 * _MIB),
    "application/msword": ("document", 100 * _MIB),
    "application/vnd.ms-excel": ("document", 100 * _MIB),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ("document", 100 * _MIB),
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ("document", 100 * _MIB),
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ("document", 100 * _MIB),
}
LARGEST = max(size for _, size in TYPES.values())


@dataclass(slots=True)
class Upload:
    """One uploaded file."""

    id: str
    number: str
    mime_type: str
    kind: str
    content: bytes
    sha256: str
    expires_at: float
    used: int = 0
    fetched: int = 0

    def as_json(self, now: float) -> dict[str, Any]:
        """As the control API lists it."""
        return {
            "id": self.id,
            "number": self.number,
            "mime_type": self.mime_type,
            "file_size": len(self.content),
            "sha256": self.sha256,
            "used": self.used,
            "fetched": self.fetched,
            "expired": now >= self.expires_at,
        }


class Media:
    """All uploads, the deleted and expired ones as well."""

    def __init__(self, seed: int) -> None:
        self._ids = itertools.count(1_037_000_000_000_000 + seed * 1_000_000)
        self.uploads: dict[str, Upload] = {}
        self.deleted: set[str] = set()
        self.kept_s = _KEPT_S
        self.refused = 0

    def add(self, number: str, mime_type: str, content: bytes, now: float) -> Upload:
        """Take a file. Raises Refusal if its type or size isn't supported."""
        mime_type = mime_type.partition(";")[0].strip().lower()
        known = TYPES.get(mime_type)
        if known is None:
            self.refused += 1
            raise Refusal(100, f"Param file must be a file with one of the following types: {', '.join(TYPES)}")
        kind, largest = known
        if not content or len(content) > largest:
            self.refused += 1
            raise Refusal(131053, f"A {kind} has 1 to {largest} bytes, this one {len(content)}")
        made = Upload(
            str(next(self._ids)), number, mime_type, kind, content, hashlib.sha256(content).hexdigest(),
            now + self.kept_s,
        )  # fmt: skip
        self.uploads[made.id] = made
        return made

    def receive(self, number: str, mime_type: str, content: bytes, now: float) -> Upload:
        """Keep what a person sent, whatever it is, for a week."""
        kind = TYPES.get(mime_type.partition(";")[0].strip().lower(), ("document", 0))[0]
        made = Upload(
            str(next(self._ids)),
            number,
            mime_type,
            kind,
            content,
            hashlib.sha256(content).hexdigest(),
            now + _INBOUND_S,
        )
        self.uploads[made.id] = made
        return made

    def get(self, media_id: str, now: float) -> Upload | None:
        """Return an upload that is neither deleted nor expired."""
        known = self.uploads.get(media_id)
        return None if known is None or media_id in self.deleted or now >= known.expires_at else known

    def use(self, media_id: str, number: str, kind: str, now: float) -> Upload:
        """Find what a message names. Raises Refusal 131009 if this number can't use it, 132012 for another kind."""
        known = self.get(media_id, now)
        if known is None or known.number != number:
            raise Refusal(131009, f"Parameter value is not valid: media id {media_id} is unknown or expired")
        if known.kind != kind:
            raise Refusal(132012, f"header: Format mismatch, expected {kind}, received {known.kind}")
        return known
