"""Which of a campaign's templates goes out on one number now, and with which media: or what it waits for.

Kept by a Dispatcher, no process of its own. It looks at the rows every few seconds, and at once after a refusal that
makes them doubtful; a file that Meta doesn't have yet is asked for, never waited for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from titanflow.actors.number import media_uploader
from titanflow.domain.outcomes import ErrorRule
from titanflow.domain.rendering import CompiledTemplate, compile_template, media_kind
from titanflow.meta.error_policy import MEDIA_CODES
from titanflow.storage import desired, media_uploads
from titanflow.storage.database import Database
from titanflow.storage.desired import SendableTemplate
from titanflow.storage.templates import NO_TEMPLATE_LEFT

log = structlog.get_logger()

_FOR_NS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing can be sent for now, and why."""

    detail: str


class TemplateChoice:
    """The choice of one campaign on one number. nudge: called when it has paused the campaign."""

    def __init__(self, db: Database, campaign_id: int, number_id: int, nudge: Callable[[], None]) -> None:
        self._db, self._campaign_id, self._number_id, self._nudge = db, campaign_id, number_id, nudge
        self._chosen: CompiledTemplate | Waiting = Waiting("")
        self._until_ns = 0
        self._media_refused = False

    def now(self, now_ns: int) -> CompiledTemplate | Waiting:
        """Return the first approved template, ready to be rendered. Raises StorageUnavailable."""
        if now_ns >= self._until_ns:
            self._chosen = self._choose()
            self._until_ns = now_ns + (0 if isinstance(self._chosen, Waiting) else _FOR_NS)
        return self._chosen

    def doubt(self, rule: ErrorRule) -> None:
        """Meta refused a message: look again before the next claim, if the template or its media may be why."""
        if rule.action == "next_template":
            self._until_ns = 0
        elif rule.code in MEDIA_CODES:
            self._until_ns, self._media_refused = 0, True

    def _choose(self) -> CompiledTemplate | Waiting:
        choices = desired.templates(self._db, self._campaign_id)
        usable = next((choice for choice in choices if choice.status == "APPROVED"), None)
        if usable is None:
            names = ", ".join(f"{choice.name} is {choice.status}" for choice in choices) or "it has none"
            return self._pause(f"{NO_TEMPLATE_LEFT}: {names}. Choose another one, then resume.")
        media_id, wanted = usable.media.get("media_id"), media_kind(usable.components, usable.variables)
        if wanted is None or not isinstance(media_id, int):
            return _compiled(usable, usable.media)
        return self._with_media(usable, media_id, wanted)

    def _with_media(self, usable: SendableTemplate, media_id: int, wanted: str) -> CompiledTemplate | Waiting:
        if self._media_refused:
            self._media_refused = False
            media_uploads.refused(self._db, self._campaign_id, self._number_id)
        file = media_uploads.of(self._db, media_id, self._number_id)
        if file is None or file.kind != wanted:
            what = f"media {media_id} is {f'of the kind {file.kind}' if file else 'gone'}"
            return self._pause(f"The header of template {usable.name} wants the kind {wanted}: {what}. Choose another.")
        if file.meta_media_id is not None:
            filename = usable.media.get("filename") or file.filename
            return _compiled(usable, {"id": file.meta_media_id, "filename": filename})
        if file.waiting:
            reason = f"The header's media can't be uploaded to Meta: {file.error}"
            if media_uploads.nobody_can(self._db, self._campaign_id, media_id):
                media_uploads.try_again(self._db, media_id)
                return self._pause(f"{reason} Resume to try again.")
            return Waiting(reason)
        media_uploader.want(media_id, self._number_id)
        return Waiting("the header's media is being uploaded to Meta for this number")

    def _pause(self, reason: str) -> Waiting:
        with self._db.connection() as connection:
            desired.pause_campaigns(connection, [self._campaign_id], by="engine", reason=reason)
        log.error("campaign.paused", campaign_id=self._campaign_id, reason=reason)
        self._nudge()
        return Waiting(reason)


def _compiled(usable: SendableTemplate, media: dict[str, object]) -> CompiledTemplate:
    return compile_template(
        usable.id, usable.name, usable.language, usable.components, variables=usable.variables, media=media
    )
