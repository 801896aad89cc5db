"""The inbox: conversations for people who answer, and their answers, checked before they wait to be sent.

A person may talk with several of our numbers, each a conversation of its own. Where nobody says which, it is the one
with the number that the person wrote to last.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from titanflow.actors.number import reply_sender
from titanflow.domain import inbox, rendering
from titanflow.domain.rendering import MissingValue, compile_template, media_kind
from titanflow.domain.vault import Vault
from titanflow.errors import Conflict, InvalidInput, NotFound
from titanflow.meta.error_policy import rule_for
from titanflow.services import erasure
from titanflow.services import media as media_service
from titanflow.services.campaigns import tell
from titanflow.services.suppressions import person_of
from titanflow.storage import conversations, outbox, phone_numbers, suppressions, templates
from titanflow.storage.conversations import Filters, Position
from titanflow.storage.database import Database
from titanflow.storage.fast_copy import FastCopy
from titanflow.storage.outbox import MEDIA_HERE, NewReply

log = structlog.get_logger()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_USE_A_TEMPLATE = "Send an approved template; a free-form reply may follow once the person has written."


def page(db: Database, filters: Filters, *, after: str, limit: int, oldest_first: bool = False) -> dict[str, Any]:
    """Return a page of conversations. Raises InvalidInput for a cursor that is not ours."""
    rows = conversations.page(db, filters, after=_position(after), limit=limit, oldest_first=oldest_first)
    full = len(rows) == limit
    return {
        "items": [_shown(row) for row in rows],
        "next_cursor": _cursor(rows[-1]) if full else None,
        "total": conversations.count(db, filters) if full or after else len(rows),
    }


def get(db: Database, raw: str, phone_number_id: str | None) -> dict[str, Any]:
    """Return a conversation, and the numbers that the person talks with beside this one. Raises NotFound."""
    found = _of_person(db, raw)
    chosen = _chosen(found, raw, phone_number_id)
    others = [row["phone_number_id"] for row in found if row["id"] != chosen["id"]]
    return {**_shown(chosen), "other_phone_number_ids": others}


def change(db: Database, raw: str, phone_number_id: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Change assigned_to, labels, archived, read_up_to. Returns the conversation. Raises NotFound."""
    chosen = _chosen(_of_person(db, raw), raw, phone_number_id)
    conversations.change(db, chosen["id"], given)
    return get(db, raw, chosen["phone_number_id"])


def messages(
    db: Database, raw: str, phone_number_id: str | None, *, after: int, limit: int, oldest_first: bool
) -> dict[str, Any]:
    """Return a page of a conversation's messages. Raises NotFound."""
    chosen = _chosen(_of_person(db, raw), raw, phone_number_id)
    rows = conversations.messages(db, chosen["id"], after=after, limit=limit, oldest_first=oldest_first)
    return {
        "items": [_shown_message(row) for row in rows],
        "next_cursor": str(rows[-1]["id"]) if len(rows) == limit else None,
        "total": conversations.count_messages(db, chosen["id"]),
    }


@dataclass(frozen=True, slots=True)
class TemplateOf:
    """A template to be sent: by id, or by name and language. parameters: as of a campaign, `body.1` -> text."""

    template_id: int | None
    name: str | None
    language: str | None
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody wants to send: one of text, template, or a file alone. reply_to: id of the message it quotes."""

    text: str | None = None
    template: TemplateOf | None = None
    media_id: int | None = None
    caption: str | None = None
    reply_to: int | None = None


def reply(
    db: Database, fast_copy: FastCopy, vault: Vault, raw: str, phone_number_id: str | None, answer: Answer, *, who: str
) -> dict[str, Any]:
    """Put a reply into the outbox; it leaves in a moment. Returns it as a message.

    Raises NotFound; InvalidInput; Conflict if the person may not be written to, or the template can't be used. Window
    and do-not-send list are asked once more by the claim, at the last moment.
    """
    found = _of_person(db, raw)
    if not found:
        _is_not_erased(db, vault, raw)
    if not found and answer.template is not None and phone_number_id is not None:
        found = _begun(db, raw, phone_number_id)
    chosen = _chosen(found, raw, phone_number_id)
    content, template_id, is_marketing = _content(db, chosen, answer)
    _may_be_written(db, chosen, free_form=template_id is None, is_marketing=is_marketing)
    if is_marketing:
        _is_not_erased(db, vault, raw)
    if answer.reply_to is not None:
        quoted = conversations.message(db, chosen["id"], answer.reply_to)
        if quoted is None or quoted["wamid"] is None:
            raise NotFound(f"The conversation has no message {answer.reply_to} to quote", code="message_not_found")
        content["context"] = {"message_id": quoted["wamid"]}
    with db.transaction() as transaction:
        [message_id] = outbox.enqueue(
            transaction, [NewReply(chosen["id"], content, who[:200], template_id, answer.media_id)]
        )
    log.info("reply.queued", message_id=message_id, by=who)
    reply_sender.nudge(chosen["number_id"])
    tell(fast_copy)
    return message(db, chosen["id"], message_id)


def cancel(db: Database, raw: str, phone_number_id: str | None, message_id: int) -> dict[str, Any]:
    """Call off a reply that waits. Returns it. Raises NotFound, Conflict `not_queued` if it is too late."""
    chosen = _chosen(_of_person(db, raw), raw, phone_number_id)
    known = message(db, chosen["id"], message_id)
    if not outbox.cancel(db, message_id):
        state = known["state"] or "inbound"
        raise Conflict(f"Message {message_id} can't be called off", why=f"it is {state}", code="not_queued")
    return message(db, chosen["id"], message_id)


def message(db: Database, conversation_id: int, message_id: int) -> dict[str, Any]:
    """Return one message. Raises NotFound."""
    row = conversations.message(db, conversation_id, message_id)
    if row is None:
        raise NotFound(f"The conversation has no message {message_id}", code="message_not_found")
    return _shown_message(row)


def _of_person(db: Database, raw: str) -> list[dict[str, Any]]:
    return conversations.of_person(db, person_of(raw))


def _chosen(found: list[dict[str, Any]], raw: str, phone_number_id: str | None) -> dict[str, Any]:
    chosen = next((row for row in found if phone_number_id in (None, row["phone_number_id"])), None)
    if chosen is None:
        where = f" with number {phone_number_id}" if phone_number_id and found else ""
        raise NotFound(
            f"There is no conversation of {raw[:40]}{where}",
            fix="To begin one, send a template and name phone_number_id.",
            code="conversation_not_found",
        )
    return chosen


def _begun(db: Database, raw: str, phone_number_id: str) -> list[dict[str, Any]]:
    """A conversation that we begin ourselves."""
    if phone_numbers.get(db, phone_number_id) is None:
        raise InvalidInput(f"There is no number {phone_number_id}", code="unknown_number")
    conversations.open_conversation(db, person_of(raw)[0], phone_number_id)
    return _of_person(db, raw)


def _may_be_written(db: Database, chosen: Mapping[str, Any], *, free_form: bool, is_marketing: bool) -> None:
    ends_at = inbox.window_ends_at(chosen["last_inbound_at"])
    if free_form and (ends_at is None or ends_at <= datetime.now(UTC)):
        why = f"it ended at {ends_at:%Y-%m-%d %H:%M} UTC" if ends_at else "the person has never written to this number"
        raise Conflict(
            "The service window is closed", why=why, fix=_USE_A_TEMPLATE, code="window_closed",
            service_window_ends_at=ends_at,
        )  # fmt: skip
    stays = [one for one in suppressions.of_phones(db, person_of(chosen["phone"])) if not one.get("is_over")]
    reason = next((one["reason"] for one in stays if is_marketing or one["reason"] == "blacklisted"), None)
    if reason is not None:
        raise _suppressed(reason)


def _is_not_erased(db: Database, vault: Vault, raw: str) -> None:
    """Whoever writes again may be answered; a campaign's kind of message, or a first one, is another matter."""
    if erasure.erased_at(db, vault, person_of(raw)) is not None:
        raise _suppressed("opted_out")


def _suppressed(reason: str) -> Conflict:
    return Conflict(
        "The person is on the do-not-send list",
        why=f"the reason is {reason}",
        fix="Within the service window a free-form reply may still be sent." if reason != "blacklisted" else "",
        code="suppressed",
        reason=reason,
    )


def _content(db: Database, chosen: Mapping[str, Any], answer: Answer) -> tuple[dict[str, Any], int | None, bool]:
    """Return Meta's object, the template's id (None: free-form), and whether it is marketing."""
    if answer.template is not None:
        return _template_content(db, chosen, answer.template, answer.media_id)
    if answer.media_id is not None:
        file = _file(db, answer.media_id)
        named = {"filename": file["filename"]} if file["kind"] == "document" and file["filename"] else {}
        caption = {"caption": answer.caption} if answer.caption else {}
        return {"type": file["kind"], file["kind"]: {"id": MEDIA_HERE, **caption, **named}}, None, False
    return {"type": "text", "text": {"body": answer.text}}, None, False


def _template_content(
    db: Database, chosen: Mapping[str, Any], wanted: TemplateOf, media_id: int | None
) -> tuple[dict[str, Any], int, bool]:
    template = _template(db, chosen["waba_id"], wanted)
    if template["status"] != "APPROVED":
        raise Conflict(
            f"Template {template['name']} can't be sent",
            why=f"Meta says it is {template['status']}",
            code="template_not_approved",
        )
    bound = {name: {"value": text} for name, text in wanted.parameters.items()}
    known = rendering.parameters(template["components"])
    unknown = [name for name in bound if name not in known and not re.fullmatch(r"button\.\d\.1", name)]
    if unknown:
        raise InvalidInput(
            f"Template {template['name']} has no parameter {unknown[0]}", why=f"it has {', '.join(known) or 'none'}"
        )
    media: dict[str, Any] = {}
    if media_id is not None:
        file, kind = _file(db, media_id), media_kind(template["components"], bound)
        if file["kind"] != kind:
            raise InvalidInput(
                f"Template {template['name']} can't carry media {media_id}",
                why=f"its header takes {kind or 'no file'}, the file is a {file['kind']}",
                code="unknown_media",
            )
        media = {"id": MEDIA_HERE, "filename": file["filename"]}
    rendered = compile_template(
        template["id"], template["name"], template["language"], template["components"], variables=bound, media=media
    ).render({})
    if isinstance(rendered, MissingValue):
        raise InvalidInput(
            f"Template {template['name']} needs a value for {rendered.parameter}", code="missing_parameter",
            parameter=rendered.parameter,
        )  # fmt: skip
    text = inbox.template_text(template["components"], wanted.parameters)
    content = {"type": "template", "template": rendered, "shown_text": text}
    return content, template["id"], template["category"] == "MARKETING"


def _template(db: Database, waba_id: str, wanted: TemplateOf) -> dict[str, Any]:
    found = templates.find(
        db, template_id=wanted.template_id, waba_id=waba_id, name=wanted.name, language=wanted.language
    )
    if found is None:
        named = wanted.template_id if wanted.template_id is not None else f"{wanted.name} in {wanted.language}"
        raise InvalidInput(f"There is no template {named}", code="unknown_template")
    if found["waba_id"] != waba_id:
        raise Conflict(
            f"Template {found['name']} belongs to another account than the number",
            fix="Choose one of the number's own account.",
            code="template_of_other_account",
        )
    return found


def _file(db: Database, media_id: int) -> dict[str, Any]:
    try:
        return media_service.get(db, media_id)
    except NotFound as gone:
        raise InvalidInput(gone.what, fix="Upload it to /media first.", code="unknown_media") from None


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    ends_at = inbox.window_ends_at(row["last_inbound_at"])
    shown = (
        "phone", "phone_number_id", "name", "unread", "assigned_to", "labels", "archived_at", "last_message_at",
        "last_inbound_at", "created_at",
    )  # fmt: skip
    last = None
    if row["last_id"] is not None:
        seen = inbox.shaped(row["last_type"], row["last_content"])
        last = {
            "id": row["last_id"],
            "direction": row["last_direction"],
            "kind": seen["kind"],
            "text": seen["text"],
            "state": row["last_state"],
        }
    return {
        **{name: row[name] for name in shown},
        "service_window_ends_at": ends_at,
        "service_window_open": ends_at is not None and ends_at > datetime.now(UTC),
        "last_message": last,
    }


def _shown_message(row: Mapping[str, Any]) -> dict[str, Any]:
    seen = inbox.shaped(row["type"], row["content"])
    if "media" in seen:
        seen["media"] = _shown_media(row, seen["media"])
    shown = {
        "id": row["id"],
        "direction": row["direction"],
        "kind": seen.pop("kind"),
        "text": seen.pop("text"),
        "at": row["at"],
        "wamid": row["wamid"],
        "reply_to": seen.pop("reply_to", None),
        "details": seen,
        "raw": {key: value for key, value in row["content"].items() if key != "shown_text"},
        "intent": row["intent"],
        "campaign_id": row["campaign_id"],
    }
    if row["direction"] == "inbound":
        return {**shown, "state": None, "delivery": None}
    names = ("attempt", "template_id", "error_code", "sent_at", "delivered_at", "read_at", "failed_at")
    delivery = {**{name: row[name] for name in names}, "by": row["source"], "reason": _reason(row)}
    return {**shown, "state": row["state"], "delivery": delivery}


def _shown_media(row: Mapping[str, Any], media: dict[str, Any]) -> dict[str, Any]:
    if row["direction"] == "outbound":
        return {**media, "media_id": row["media_id"], "state": None, "size_bytes": None, "url": None, "error": None}
    return {
        **media,
        "mime_type": row["file_mime_type"] or media["mime_type"],
        "media_id": None,
        "state": row["file_state"],
        "size_bytes": row["file_size_bytes"],
        "url": f"/api/v1/media/inbound/{row['id']}" if row["file_state"] == "stored" else None,
        "error": row["file_error"],
    }


def _reason(row: Mapping[str, Any]) -> str | None:
    """Why a reply is where it is, in a sentence for people; None if there is nothing to tell."""
    match row["state"]:
        case "queued":
            waits: str | None = row["error_detail"]
            held: str | None = row["held_by"]
            return held or (f"Tried before: {waits}" if waits and row["error_code"] is not None else waits)
        case "in_doubt":
            return "It may have been sent: Meta's answer never came. Meta's own report will tell."
        case "excluded":
            return f"Not sent: the person is on the do-not-send list ({row['error_detail']})"
        case "failed":
            if row["error_code"] is None:
                return str(row["error_detail"]) if row["error_detail"] else "Meta reports that it failed"
            rule = rule_for(row["error_code"])
            return f"{rule.sentence_and_code}: {row['error_detail']}" if row["error_detail"] else rule.sentence_and_code
    return None


def _cursor(row: Mapping[str, Any]) -> str:
    return f"{(row['last_message_at'] - _EPOCH) // timedelta(microseconds=1)}-{row['id']}"


def _position(cursor: str) -> Position | None:
    if not cursor:
        return None
    match = re.fullmatch(r"(\d{1,17})-(\d{1,18})", cursor)
    if match is None or int(match[1]) > 250_000_000_000_000_000:
        raise InvalidInput("cursor can't be used", fix="Take it from next_cursor of the page before.")
    return Position(_EPOCH + timedelta(microseconds=int(match[1])), int(match[2]))
