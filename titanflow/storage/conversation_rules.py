"""What follows from what people write, in the commit that stores it: opt-outs, attribution, automatic replies.

A crash loses no automatic reply and sends none twice: it is put into the outbox in the same transaction, and a message
that Meta delivers again is not new. Rules are kept compiled and read again when their version has moved.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from titanflow.domain import faqs as domain_faqs
from titanflow.domain import opt_out
from titanflow.domain.faqs import Bounds, FaqBook, why_silent
from titanflow.domain.replies import Heard
from titanflow.domain.stop_words import said, wish
from titanflow.storage import consent, faqs, inbox_settings, replies
from titanflow.storage.database import Connection
from titanflow.storage.inbox import Received
from titanflow.storage.outbox import NewReply, enqueue

log = structlog.get_logger()

# The service window is 24 hours; what couldn't leave in the last one is no confirmation any more.
_CONFIRMED_WITHIN = timedelta(hours=23)


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules at one version."""

    version: int
    confirm: bool
    opt_out: opt_out.OptOut
    book: FaqBook
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An automatic reply that may be given. kind: faq, stop or start."""

    heard: Heard
    kind: str
    text: str
    faq_id: int | None = None


_kept: list[Rules] = []  # the latest


def follow(transaction: Connection, received: Sequence[Received]) -> None:
    """Carry out all rules for messages that are new, inside the transaction that stored them."""
    if not received:
        return
    rules = current(transaction)
    heard = [
        Heard(
            one.message,
            one.message_id,
            one.conversation_id,
            one.number_id,
            wish(one.message.type, one.message.content, rules.opt_out.words),
        )
        for one in received
    ]
    confirmable = consent.hear(transaction, heard)
    languages = replies.attribute(transaction, heard)
    candidates = [*_confirmations(rules, confirmable, languages), *_answers(rules, heard)]
    if candidates:
        _reply(transaction, rules, candidates)


def current(transaction: Connection) -> Rules:
    """Return the rules that hold now."""
    settings = inbox_settings.read(transaction)
    if not _kept or _kept[0].version != settings.version:
        rules = Rules(
            settings.version,
            settings.confirm_opt_out,
            opt_out.compiled(inbox_settings.languages(transaction) or opt_out.BUILT_IN),
            domain_faqs.compiled(faqs.active(transaction) if settings.faqs_on else []),
            Bounds(settings.faq_per_hour, settings.faq_per_day, settings.faq_max_age_minutes),
        )
        _kept[:] = [rules]
    return _kept[0]


def _confirmations(rules: Rules, confirmable: Sequence[Heard], languages: dict[int, str]) -> list[_Candidate]:
    if not rules.confirm:
        return []
    return [
        _Candidate(one, one.wish.intent, text)
        for one in confirmable
        if one.wish and (text := rules.opt_out.reply_to(one.wish, languages.get(one.message_id)))
    ]


def _answers(rules: Rules, heard: Sequence[Heard]) -> list[_Candidate]:
    if not rules.book.rules:
        return []
    found = []
    for one in heard:
        texts = said(one.message.type, one.message.content)[0] if one.wish is None else []
        matches = [match for text in texts for match in rules.book.matches(text)]
        if matches:
            found.append(_Candidate(one, "faq", matches[0].faq.answer, matches[0].faq.id))
    return found


# Whoever adds a message has locked its conversation: nobody else counts these at the same time.
_STATE = """
    SELECT conversation.id, conversation.auto_replies_on, now(),
           count(answered.at) FILTER (WHERE answered.at > now() - interval '1 hour'), count(answered.at)
    FROM conversations AS conversation
    LEFT JOIN auto_replies AS answered
        ON answered.conversation_id = conversation.id AND answered.kind = 'faq'
        AND answered.at > now() - interval '1 day'
    WHERE conversation.id = ANY(%(conversation_ids)s)
    GROUP BY conversation.id
"""

_CONFIRMED = """
    SELECT DISTINCT sender FROM auto_replies
    WHERE sender = ANY(%(senders)s) AND kind IN ('stop', 'start') AND at > now() - interval '1 day'
"""

_NOTE = """
    INSERT INTO auto_replies (inbound_id, conversation_id, sender, kind, faq_id)
    SELECT * FROM unnest(%(inbound_ids)s::bigint[], %(conversation_ids)s::bigint[], %(senders)s::text[],
                         %(kinds)s::text[], %(faq_ids)s::integer[])
"""


def _reply(transaction: Connection, rules: Rules, candidates: Sequence[_Candidate]) -> None:
    """Put what the bounds allow into the outbox."""
    asked = {
        "conversation_ids": list({one.heard.conversation_id for one in candidates}),
        "senders": list({one.heard.message.sender for one in candidates if one.kind != "faq"}),
    }
    states = {row[0]: row[1:] for row in transaction.execute(_STATE, asked).fetchall()}
    confirmed = {row[0] for row in transaction.execute(_CONFIRMED, asked)} if asked["senders"] else set()
    given: list[_Candidate] = []
    answered = Counter[int]()
    for one in candidates:
        conversation_id = one.heard.conversation_id
        is_on, now, in_last_hour, in_last_day = states[conversation_id]
        if one.kind != "faq":
            silent = _why_unconfirmed(one, confirmed, now)
            confirmed.add(one.heard.message.sender)
        else:
            silent = why_silent(
                rules.bounds,
                at=one.heard.message.at,
                now=now,
                is_off=not is_on,
                in_last_hour=in_last_hour + answered[conversation_id],
                in_last_day=in_last_day + answered[conversation_id],
            )
        if silent is None:
            given.append(one)
            answered[conversation_id] += one.kind == "faq"
    if given:
        enqueue(transaction, [_new_reply(one) for one in given])
        transaction.execute(
            _NOTE,
            {
                "inbound_ids": [one.heard.message_id for one in given],
                "conversation_ids": [one.heard.conversation_id for one in given],
                "senders": [one.heard.message.sender for one in given],
                "kinds": [one.kind for one in given],
                "faq_ids": [one.faq_id for one in given],
            },
        )
    log.info("auto_replies.decided", count=len(given), silent=len(candidates) - len(given))


def _why_unconfirmed(one: _Candidate, confirmed: set[str], now: datetime) -> str | None:
    if one.heard.message.sender in confirmed:
        return "the person had a confirmation within a day"
    if now - one.heard.message.at > _CONFIRMED_WITHIN:
        return "the message came too late for the service window"
    return None


def _new_reply(one: _Candidate) -> NewReply:
    content = {"type": "text", "text": {"body": one.text}}
    if one.kind == "faq":
        # Shown as an answer to the question, which may not be the last thing that was said.
        content = {**content, "context": {"message_id": one.heard.message.wamid}}
        return NewReply(one.heard.conversation_id, content, f"faq:{one.faq_id}")
    return NewReply(one.heard.conversation_id, content, f"opt_out:{one.kind}")
