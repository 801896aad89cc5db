"""What an operator decides about conversations: words of opting out, frequent questions, bounds of auto-replies."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from titanflow.domain import faqs as rules
from titanflow.domain import opt_out as words
from titanflow.domain import stop_words
from titanflow.domain.faqs import MAX_RULES
from titanflow.domain.folding import words as words_of
from titanflow.domain.opt_out import Language
from titanflow.domain.phones import BadPhone, of_path, same_person
from titanflow.errors import Conflict, InvalidInput, NotFound
from titanflow.storage import conversation_rules, faqs, inbox_settings
from titanflow.storage.database import Database


def opt_out(db: Database) -> dict[str, Any]:
    """Return the words of opting out and in, with their answers, as they hold now."""
    confirm, languages, built_in = inbox_settings.opt_out(db)
    return {"confirm": confirm, "built_in": built_in, "languages": [asdict(one) for one in languages]}


def write_opt_out(db: Database, languages: Sequence[Language] | None, *, confirm: bool) -> dict[str, Any]:
    """Put these words in the place of all others; None: the built-in ones. Raises InvalidInput `opt_out_words`."""
    if languages is not None and (what := words.problem(languages)):
        raise InvalidInput("The words can't be used", why=what, code="opt_out_words")
    inbox_settings.write_languages(db, languages, confirm=confirm)
    return opt_out(db)


def settings(db: Database) -> dict[str, Any]:
    """Return what is chosen for all conversations."""
    with db.connection() as connection:
        return _shown(inbox_settings.read(connection))


def change_settings(db: Database, values: Mapping[str, Any]) -> dict[str, Any]:
    """Change what is given."""
    return _shown(inbox_settings.change(db, values))


def _shown(found: inbox_settings.InboxSettings) -> dict[str, Any]:
    shown = asdict(found)
    del shown["version"], shown["confirm_opt_out"]  # the latter is shown beside its words
    return shown


def add_faq(db: Database, values: Mapping[str, Any]) -> dict[str, Any]:
    """Add a rule behind all others. Raises InvalidInput `faq_keywords`, Conflict `too_many_faqs`."""
    _check_keywords(values["keywords"])
    made = faqs.add(db, values)
    if made is None:
        raise Conflict(f"There are {MAX_RULES} rules already", fix="Delete one first.", code="too_many_faqs")
    return made


def faq(db: Database, faq_id: int) -> dict[str, Any]:
    """Return a rule. Raises NotFound `faq_not_found`."""
    return _found(faqs.get(db, faq_id), faq_id)


def change_faq(db: Database, faq_id: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """Change what is given of a rule. Raises NotFound, InvalidInput `faq_keywords`."""
    _check_keywords(values.get("keywords") or ())
    return _found(faqs.change(db, faq_id, values), faq_id)


def delete_faq(db: Database, faq_id: int) -> None:
    """Delete a rule. Raises NotFound."""
    if not faqs.delete(db, faq_id):
        _found(None, faq_id)


def reorder_faqs(db: Database, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Put the rules into this order; return them. Raises Conflict `faq_order` unless it names each of them once."""
    if not faqs.reorder(db, ids):
        known = [one["id"] for one in faqs.list_all(db)]
        raise Conflict("The order must name each rule once", fix="Read /faqs again.", code="faq_order", ids=known)
    return faqs.list_all(db)


def try_faqs(db: Database, text: str) -> dict[str, Any]:
    """Say which rule would answer a text, and why: the first that is on and has a keyword in it."""
    with db.transaction() as transaction:
        found = inbox_settings.read(transaction)
        opting_out = conversation_rules.current(transaction).opt_out
        active = faqs.active(transaction)
    wish = stop_words.wish("text", {"text": {"body": text}}, opting_out.words)
    matches = rules.compiled(active).matches(text)
    first = matches[0] if matches else None
    if wish is not None:
        why = f"It is a word of opting {'out' if wish.intent == 'stop' else 'in'}, which no rule answers"
    elif not found.faqs_on:
        why = "Automatic answers are off"
    elif first is None:
        why = "No rule that is on has a keyword in it"
    else:
        why = f"'{first.keyword}' is in the text, and no rule before it has a keyword in it"
    answers = first is not None and wish is None and found.faqs_on
    return {
        "answers": answers,
        "why": why,
        "faq_id": first.faq.id if first and answers else None,
        "answer": first.faq.answer if first and answers else None,
        "matches": [{"faq_id": one.faq.id, "keyword": one.keyword} for one in matches],
    }


def switch_auto_replies(db: Database, raw: str, *, on: bool) -> dict[str, Any]:
    """Let a person's conversations be answered by themselves, or not. Raises NotFound `conversation_not_found`."""
    try:
        who = same_person(of_path(raw))
    except BadPhone:
        who = (raw,)  # a business-scoped user id
    if not faqs.switch(db, who, on=on):
        raise NotFound("There is no conversation with this person", code="conversation_not_found")
    return {"phone": who[0], "auto_replies_on": on}


def _check_keywords(keywords: Sequence[str]) -> None:
    empty = next((one for one in keywords if not words_of(one)), None)
    if empty is not None:
        raise InvalidInput(f"'{empty}' has no letter or digit that could be found", code="faq_keywords")


def _found(found: dict[str, Any] | None, faq_id: int) -> dict[str, Any]:
    if found is None:
        raise NotFound(f"There is no rule {faq_id}", code="faq_not_found")
    return found
