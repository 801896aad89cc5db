"""POST /{phone_number_id}/messages: one message from the door to the ledger, without a single wait."""

from dataclasses import replace
from typing import Any

import orjson

from titanflow.sandbox.answers import Answer, refused
from titanflow.sandbox.errors import Refusal
from titanflow.sandbox.lives import Life
from titanflow.sandbox.rules import Rule
from titanflow.sandbox.state import Account, Meta, Number
from titanflow.sandbox.templates import Template
from titanflow.sandbox.users import User, user_of, wa_id
from titanflow.sandbox.validation import Checked, check_message

_THROTTLE_PHASE_S = 10.0
_SLOW_S = 35.0
_HANG_S = 300.0

_UNUSABLE = {"BANNED": 131031, "RESTRICTED": 131031, "DISCONNECTED": 133010, "MIGRATED": 133010, "PENDING": 131037}


def take(
    meta: Meta,
    at: float,
    number_id: str,
    token: str,
    raw: bytes,
    *,
    marketing_path: bool = False,
    earliest: float | None = None,
) -> Answer:
    """Judge one message and return its answer. at: monotonic time at which its first byte was seen.

    earliest: since when it may have been there, if that is longer than what any request may have waited.
    """
    in_window = meta.ledger.arrived(number_id, at, earliest)
    try:
        meta.check_token(token)
        number = meta.number(number_id)
        account = meta.account(number.waba_id)
        _check_senders(meta, number, account)
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise Refusal(100, "The body is not valid JSON") from None
        if isinstance(body, dict) and body.get("status") == "read":
            return Answer(b'{"success":true}', meta.latency_s)
        message = check_message(body, account.templates, marketing_path=marketing_path)
        person = _person(meta, message)
        media = None
        if message.media_id is not None:
            media = meta.media.use(message.media_id, number_id, message.media_kind, meta.clock.now())
        about = {
            "number": number_id,
            "waba": number.waba_id,
            "template": message.template_name,
            "to": message.to,
            "echo": message.echo,
        }
        if meta.rules.any("answer"):
            rule = meta.rules.fired("answer", **about)
            if rule is not None:
                raise rule.refusal(number.waba_id)
        _throttle(meta, number, message.to, person, in_window, at)
        free = meta.in_service_window(number, person)
        over_tier = not free and not account.portfolio.passes(person, meta.clock.now())
        if over_tier and account.portfolio.at_once:
            raise Refusal(131048, "The portfolio's messaging limit is reached")
    except Refusal as error:
        meta.ledger.refused[error.code] += 1
        return refused(error, meta.latency_s)
    kind, wait_s = _doubt(meta, about)
    if kind.endswith("_before"):
        return Answer(b"", wait_s, kind=kind)
    user = user_of(message.to, meta.seed, meta.profile)
    failure = _failure(meta, account, message, about, free=free, over_tier=over_tier)
    if failure is not None:
        user = replace(user, failure=failure)
    if user.failure is not None:
        meta.ledger.failed[user.failure] += 1
    elif not free:
        account.portfolio.count(person, meta.clock.now())
    if media is not None:
        media.used += 1
    row = meta.ledger.accept(at, number_id, message.to, message.template_name, message.echo)
    if meta.stopped.get(person) and message.template_name:
        meta.ledger.sent_after_stop += 1
    held = _begin(meta, account, number, message, row, user)
    contact = {"input": message.input, "user_id": message.to} if message.by_user_id else None
    accepted = {
        "messaging_product": "whatsapp",
        "contacts": [contact or {"input": message.input, "wa_id": user.wa_id}],
        "messages": [{"id": meta.wamid(row), "message_status": "held_for_quality_assessment" if held else "accepted"}],
    }
    return Answer(orjson.dumps(accepted), wait_s, kind=kind, row=row)


def _check_senders(meta: Meta, number: Number, account: Account) -> None:
    """Raise a Refusal if the account or the number can't send at all."""
    if account.refuse is not None:
        until = account.restricted_until
        if until is None or meta.clock.now() < until:
            raise Refusal(account.refuse)
        account.refuse = None
    if not number.registered:
        raise Refusal(133010)
    if meta.clock.now() < number.maintenance_until:
        raise Refusal(131057)
    if number.status in _UNUSABLE:
        raise Refusal(_UNUSABLE[number.status])


def _person(meta: Meta, message: Checked) -> str:
    if message.by_user_id:
        return meta.known_user_ids.get(message.to, message.to)
    return wa_id(message.to)


def _throttle(meta: Meta, number: Number, to: str, person: str, in_window: int, at: float) -> None:
    """Raise a Refusal if a limit, or the profile, says so."""
    profile = meta.profile
    allowed: float = number.mps
    if profile.throttle_share < 1 and int(at / _THROTTLE_PHASE_S) % 2:
        allowed *= profile.throttle_share
    if in_window + number.inbound.held(at) > allowed + 1:
        raise Refusal(130429, "Rate limit hit: message failed to send because of too many messages")
    if profile.pair and to not in meta.pairs and user_of(to, meta.seed, profile).pair_limited:
        meta.pairs.add(to)
        raise Refusal(131056, "pair rate limit hit")
    if not number.pairs.passes(person, meta.clock.now(), meta.pair_mode):
        raise Refusal(131056, "(Business Account, Consumer Account) pair rate limit hit")
    for code, after in profile.once.items():
        if code not in meta.fired and len(meta.ledger) >= after:
            meta.fired.add(code)
            raise Refusal(code, "The limit is reached, once in this run")
    for code, share in profile.refuse.items():
        if meta.random.random() < share:
            raise Refusal(code, "Refused by the fault profile")


def _doubt(meta: Meta, about: dict[str, str]) -> tuple[str, float]:
    """Return the kind of spoilt answer ("": none) and after how long it is given."""
    rule: Rule | None = meta.rules.fired("doubt", **about) if meta.rules.any("doubt") else None
    kind = (meta.doubt() or "") if rule is None else rule.kind
    if not kind:
        return "", meta.latency_s
    meta.ledger.faults[kind] += 1
    if rule is not None and rule.delay_s is not None:
        return kind, rule.delay_s
    if kind.startswith("hang_"):
        return kind, _HANG_S
    return kind, _SLOW_S if kind.startswith("slow_") else meta.latency_s


def _failure(
    meta: Meta, account: Account, message: Checked, about: dict[str, str], *, free: bool, over_tier: bool
) -> int | None:
    """The code with which an accepted message will fail for a reason beside its person, or None."""
    if meta.rules.any("status"):
        rule = meta.rules.fired("status", **about)
        if rule is not None:
            return rule.code
    if account.no_payment:
        return 131042
    if not message.template_name and not free:
        return 131047
    return 131048 if over_tier else None


def _begin(meta: Meta, account: Account, number: Number, message: Checked, row: int, user: User) -> bool:
    """Start the message's life. Returns True if its template's pacing holds it."""
    template: Template | None = message.template
    category = "service" if template is None else template.category.lower()
    life = Life(
        row, number.waba_id, account.portfolio.id, number.metadata, meta.wamid(row), user, message.echo,
        message.to, message.template_name, category, message.by_user_id,
    )  # fmt: skip
    if template is not None and template.pacing is not None:
        template.pacing.passed += 1
        if template.pacing.passed > template.pacing.threshold:
            template.pacing.held.append(life)
            meta.ledger.held += 1
            return True
    meta.webhooks.live(life)
    return False


def release(meta: Meta, template: Template, *, drop: bool) -> int:
    """End a template's pacing: its held messages go on, or fail with 132015. Returns how many there were."""
    pacing, template.pacing = template.pacing, None
    held: list[Any] = [] if pacing is None else pacing.held
    for life in held:
        if drop:
            if life.user.failure is None:
                meta.ledger.failed[132015] += 1
            life.user = replace(life.user, failure=132015)
        meta.webhooks.live(life)
    return len(held)
